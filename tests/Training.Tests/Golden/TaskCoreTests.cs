using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>
/// MTL-LoRA's layer. The reference takes samples of several tasks in one batch; here a client has one task, so each sample is a member
/// with its task's core and weights. The members' gradients of A and B, which they have in common, add up to the reference's.
/// </summary>
public sealed class TaskCoreTests
{
    private const string Module = "layer";

    public static TheoryData<string> Layers => Fixtures.Of("layer/lambdas");

    [SharedTheory, MemberData(nameof(Layers))]
    public void Output_gradients_and_a_step_match_the_reference(string place)
    {
        using var scope = NewDisposeScope();
        var (folder, name) = Fixtures.Split(place);
        var settings = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement.GetProperty(name);
        using var file = SafetensorsFile.Open(SharedFolder.Of(folder, name + ".safetensors"));
        Tensor Read(string tensor) => TorchSharp.torch.tensor(file.ReadFloat32(tensor), [.. file.Describe(tensor).Shape]);
        int[] tasks = [.. file.ReadFloat32("task_index").Select(static task => (int)task)];
        var isFull = file.Describe("param.lora_lambdas").Shape.Count == 3;
        var spec = AdapterCatalog.Methods["mtl-lora"].Spec with
        {
            Rank = settings.GetProperty("r").GetInt32(), Alpha = settings.GetProperty("lora_alpha").GetDouble(),
            Heads = settings.GetProperty("B_num").GetInt32(), Core = new(isFull ? CoreForm.Full : CoreForm.Diagonal),
            Routing = new Routing.TaskSoftmax(settings.GetProperty("B_scale").GetDouble()), Dropout = Dropout.None,
        };
        Assert.Equal(settings.GetProperty("scaling").GetDouble(), spec.ScalingFactor, 12);
        var shape = new LinearShape(Module, (int)file.Describe("param.weight").Shape[1], (int)file.Describe("param.weight").Shape[0]);
        var layout = AdapterLayout.For(spec, [shape]);
        Tensor Of(string prefix, string role, int task) => role switch
        {
            Roles.A => Read(prefix + "lora_A")[0],
            Roles.B => Read(prefix + "lora_B"),
            Core.Role => Read(prefix + "lora_lambdas")[task].unsqueeze(0),
            _ => Read(prefix + "lora_B_w")[task],
        };
        ClientAdapter Member(string prefix, int task) => new(layout, new(layout.Tensors.Select(info =>
            KeyValuePair.Create(info.Name, new NamedArray(info.Shape, TensorData.Values(Of(prefix, info.Role.Name, task)))))), null);
        using var frame = new FramedLayer(
            [.. tasks.Select(task => Member("param.", task))],
            new FrozenLinear(shape, Read("param.weight"), file.Header.Tensors.ContainsKey("param.bias") ? Read("param.bias") : null));
        List<Tensor> Samples(string tensor) => [.. Enumerable.Range(0, tasks.Length).Select(sample => Read(tensor)[sample])];

        var trained = frame.Run(Samples("input"), Samples("output_cotangent"));

        for (var member = 0; member < tasks.Length; member++)
        {
            Compare(Samples("output")[member], trained[member].Output, "output");
            Compare(Samples("input_grad")[member], trained[member].InputGradient, "input_grad");
        }

        // As the reference has them: one A and one B for all samples, a row for each task.
        foreach (var info in layout.Tensors)
        {
            var gradients = Enumerable.Range(0, tasks.Length).Select(member => frame.Stack.GradientOf(member, info.Name)!).ToList();
            if (info.Role.Name is Roles.A or Roles.B)
            {
                var sum = gradients.Aggregate(static (one, next) => one.Plus(next));
                Compare(Of("grad.", info.Role.Name, 0), sum, info.Name);
                foreach (var gradient in gradients) gradient.copy_(sum);
                continue;
            }

            foreach (var task in tasks.Distinct())
            {
                var own = gradients.Index().Where(entry => tasks[entry.Index] == task).Select(static entry => entry.Item).ToList();
                var sum = own.Aggregate(static (one, next) => one.Plus(next));
                Compare(Of("grad.", info.Role.Name, task), sum, info.Name);
                foreach (var gradient in own) gradient.copy_(sum);
            }
        }

        new AdamW(frame.Stack, new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 }, [.. tasks.Select(static _ => AdapterState.Empty)])
            .Step([.. tasks.Select(static _ => 0.01)]);
        foreach (var info in layout.Tensors)
        {
            for (var member = 0; member < tasks.Length; member++)
            {
                var value = frame.Stack.Member(member).Parameters.Single(parameter => parameter.Info == info).Value;
                Compare(Of("after_adamw_step.", info.Role.Name, tasks[member]), value, info.Name + " after the step");
            }
        }

        var after = frame.Run(Samples("input"), Samples("output_cotangent"));
        for (var member = 0; member < tasks.Length; member++)
            Compare(Samples("output_after_step")[member], after[member].Output, "output_after_step");
    }

    // 1e-5 of the tensor's largest element.
    private static void Compare(Tensor reference, Tensor actual, string what)
    {
        var expected = TensorData.Values(reference);
        Close.Assert(expected, TensorData.Values(actual), what, 1e-5 * expected.Max(Math.Abs), 0);
    }
}
