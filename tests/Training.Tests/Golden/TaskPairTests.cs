using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>
/// MTLoRA's layer. The reference has one shared output and one for each task, whose pair sees an input of its own; here a client has one
/// input and one task. So a task's output is put together from two members: one whose task head is zero on the shared input, and one whose
/// shared head is zero on the task's, without what the frozen layer makes of it. A shared pair's gradients add up over all outputs.
/// </summary>
public sealed class TaskPairTests
{
    private static readonly LinearShape NoLayer = new(LayerNumbers.Module, 1, 1);

    public static TheoryData<string> Folders => Fixtures.Of("method/mtlora/lora");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Outputs_gradients_and_steps_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        var (adds, tasks) = (ModeOf(folder) == "matrixv2",
            numbers.Config.GetProperty("tasks").EnumerateArray().Select(static task => task.GetString()!).ToList());
        var shape = NoLayer with
        {
            InWidth = numbers.Config.GetProperty("in").GetInt32(),
            OutWidth = numbers.Config.GetProperty("out").GetInt32(),
        };
        var frozen = new FrozenLinear(shape, numbers.Tensor("param.linear.weight"), numbers.Optional("param.linear.bias"));
        Tensor Rows(string name) => numbers.Tensor(name) is var all ? all.reshape(-1, all.shape[^1]) : all;
        // One for each task, with all that a client of it trains: the shared pair is the same in all of them.
        var holders = tasks.ToDictionary(static task => task, task => new Holder(numbers, shape, task), StringComparer.Ordinal);
        for (var step = 1; step <= numbers.Recorded[^1]; step++)
        {
            var (loss, inputGradient) = (0.0, zeros_like(Rows("input")));
            var shared = Output(holders[tasks[0]], Rows("input"), Rows("output_cotangent"), withShared: true, withTask: false);
            Took("output", shared, Rows("output_cotangent"));
            var atShared = new List<IReadOnlyDictionary<string, Tensor>> { shared.Gradients };
            var own = new Dictionary<string, IReadOnlyDictionary<string, Tensor>>(StringComparer.Ordinal);
            foreach (var task in tasks)
            {
                var cotangent = Rows("output_cotangent_task_" + task);
                var first = Output(holders[task], Rows("input"), cotangent, withShared: adds, withTask: false);
                var second = Output(holders[task], Rows("input_task_" + task), cotangent, withShared: false, withTask: true);
                var alone = Output(holders[task], Rows("input_task_" + task), cotangent, withShared: false, withTask: false);
                var output = first.Output.Plus(second.Output) - alone.Output;
                Took("output_task_" + task, (output, first.InputGradient, first.Gradients), cotangent);
                if (step == 1) numbers.CompareGradient("grad_of_input_task_" + task, second.InputGradient - alone.InputGradient);
                if (adds) atShared.Add(first.Gradients);
                own.Add(task, second.Gradients);
            }

            numbers.CompareLoss(step, loss);
            if (step == 1) numbers.CompareGradient("input_grad", inputGradient);
            foreach (var task in tasks)
            {
                foreach (var (role, name) in Holder.Names(task))
                {
                    var gradient = role is Roles.A or Roles.B
                        ? atShared.Select(gradients => gradients[role]).Aggregate(static (one, next) => one.Plus(next))
                        : own[task][role];
                    if (step == 1) numbers.CompareGradient("grad." + name, gradient);
                    holders[task].Set(role, gradient);
                }

                holders[task].Step(numbers.Rate);
                if (!numbers.Recorded.Contains(step)) continue;
                foreach (var (role, name) in Holder.Names(task))
                    numbers.CompareStepped($"after_step_{step}.{name}", holders[task].Value(role));
            }

            void Took(
                string name, (Tensor Output, Tensor InputGradient, IReadOnlyDictionary<string, Tensor> Gradients) result, Tensor cotangent)
            {
                if (step == 1) numbers.CompareOutput(name, TensorData.Values(result.Output));
                loss += (result.Output * cotangent).sum().item<float>();
                inputGradient = inputGradient.Plus(result.InputGradient);
            }
        }

        (Tensor Output, Tensor InputGradient, IReadOnlyDictionary<string, Tensor> Gradients) Output(
            Holder holder, Tensor input, Tensor cotangent, bool withShared, bool withTask)
        {
            var off = new List<string>();
            if (!withShared) off.Add(Roles.B);
            if (!withTask) off.Add(TaskBranch.B);
            using var frame = new FramedLayer([holder.Without(off), holder.Without(off)], frozen);
            var (output, inputGradient) = frame.Run([input, input.narrow(0, 0, 1)], [cotangent, cotangent.narrow(0, 0, 1)])[0];
            return (output, inputGradient, holder.Layout.Tensors.ToDictionary(
                static info => info.Role.Name, info => frame.Stack.GradientOf(0, info.Name)!.clone(), StringComparer.Ordinal));
        }
    }

    private static string? ModeOf(string folder)
    {
        using var numbers = new MethodNumbers(folder);
        return numbers.Config.GetProperty("shared_mode").GetString();
    }

    /// <summary>The tensors of a task's client and their optimizer.</summary>
    private sealed class Holder
    {
        private readonly AdapterStack _stack;
        private readonly AdamW _optimizer;

        public Holder(MethodNumbers numbers, LinearShape shape, string task)
        {
            var ranks = numbers.Config.GetProperty("r");
            var spec = AdapterCatalog.Methods["mtlora"].Spec with
            {
                Rank = ranks.GetProperty("shared").GetInt32(), Alpha = numbers.Config.GetProperty("shared_scale").GetDouble(),
                TaskBranch = new(ranks.GetProperty(task).GetInt32(),
                    numbers.Config.GetProperty("task_scale").GetProperty(task).GetDouble()),
                Dropout = Dropout.None,
            };
            Layout = AdapterLayout.For(spec, [shape]);
            var names = Names(task).ToDictionary(static pair => pair.Role, static pair => pair.Name, StringComparer.Ordinal);
            _stack = new AdapterStack(
                [new(Layout, new(Layout.Tensors.Select(info => KeyValuePair.Create(
                    info.Name, numbers.Array("param." + names[info.Role.Name]) with { Shape = info.Shape }))), null)],
                masks: null, CPU, model: null);
            _optimizer = new AdamW(_stack, new TrainingSpec { WeightDecay = numbers.WeightDecay, ClipNorm = 0 }, [AdapterState.Empty]);
        }

        public AdapterLayout Layout { get; }

        public static IEnumerable<(string Role, string Name)> Names(string task) =>
        [
            (Roles.A, "lora_shared_A"), (Roles.B, "lora_shared_B"), (TaskBranch.A, "lora_tasks_A." + task),
            (TaskBranch.B, "lora_tasks_B." + task),
        ];

        public Tensor Value(string role) =>
            _stack.Member(0).Parameters.Single(parameter => parameter.Info.Role.Name == role).Value;

        public void Set(string role, Tensor gradient) => _stack.GradientOf(0, InfoOf(role).Name)!.copy_(gradient);

        public void Step(double rate) => _optimizer.Step([rate]);

        public ClientAdapter Without(IReadOnlyList<string> off) => new(Layout, new(Layout.Tensors.Select(info => KeyValuePair.Create(
            info.Name, new NamedArray(info.Shape,
                off.Contains(info.Role.Name) ? new float[NamedArray.Count(info.Shape)] : TensorData.Values(Value(info.Role.Name)))))),
            null);

        private AdapterTensor InfoOf(string role) => Layout.Tensors.Single(info => info.Role.Name == role);
    }
}
