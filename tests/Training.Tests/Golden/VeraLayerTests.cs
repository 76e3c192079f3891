using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>
/// PEFT's VeRA on two layers that share one frozen pair, y = lin2(tanh(lin(x))): outputs, gradients, AdamW steps and both merged
/// weights.
/// </summary>
public sealed class VeraLayerTests
{
    private const int Members = 3;

    public static TheoryData<string> Folders => Fixtures.Of("method/peft/vera");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Output_gradients_steps_and_merged_weights_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        using var first = new Layer(numbers, "lin");
        using var second = new Layer(numbers, "lin2");
        foreach (var (name, layer) in ((string, Layer)[])[("merged_weight", first), ("merged_weight_2", second)])
            if (numbers.Has(name)) numbers.CompareOutput(name, TensorData.Values(layer.Merged()));
        for (var step = 1; step <= numbers.Recorded[^1]; step++)
        {
            var (output, inputGradient) = Through(numbers, first, second);
            foreach (var member in (int[])[0, 2])
            {
                numbers.CompareLoss(step, (output[member] * Ragged(numbers, "output_cotangent")[member]).sum().item<float>());
                if (step > 1) continue;
                numbers.CompareOutput("output", TensorData.Values(output[member]));
                numbers.CompareGradient("input_grad", inputGradient[member]);
                foreach (var layer in (Layer[])[first, second]) layer.CompareGradients(member);
            }

            foreach (var layer in (Layer[])[first, second]) layer.Optimizer.Step([.. Enumerable.Repeat(numbers.Rate, Members)]);
            if (!numbers.Recorded.Contains(step)) continue;
            var after = Through(numbers, first, second).Output;
            foreach (var member in (int[])[0, 2])
            {
                foreach (var layer in (Layer[])[first, second]) layer.CompareStepped(member, step);
                numbers.CompareOutput($"output_after_step_{step}", TensorData.Values(after[member]));
            }
        }
    }

    // Forward through both; the second's input gradient is what the first is run backwards with.
    private static (IReadOnlyList<Tensor> Output, IReadOnlyList<Tensor> InputGradient) Through(
        MethodNumbers numbers, Layer first, Layer second)
    {
        var input = Ragged(numbers, "input");
        var hidden = first.Run(input, null).Select(static member => member.Output.tanh()).ToList();
        foreach (var layer in (Layer[])[first, second]) layer.Frame.Stack.ZeroGradients();
        var behind = second.Run(hidden, Ragged(numbers, "output_cotangent"));
        var cotangents = behind.Zip(hidden, static (member, tanh) => member.InputGradient * (ones_like(tanh) - tanh * tanh)).ToList();
        var before = first.Run(input, cotangents);
        return ([.. behind.Select(static member => member.Output)], [.. before.Select(static member => member.InputGradient)]);
    }

    // Two members have all rows, one has the first half of them.
    private static List<Tensor> Ragged(MethodNumbers numbers, string name)
    {
        var all = numbers.Tensor(name);
        all = all.reshape(-1, all.shape[^1]);
        return [all, all.narrow(0, 0, (all.shape[0] + 1) / 2), all];
    }

    private sealed class Layer : IDisposable
    {
        private readonly MethodNumbers _numbers;
        private readonly AdapterLayout _layout;
        private readonly Tensor _weight;
        private readonly string _name;

        public Layer(MethodNumbers numbers, string name)
        {
            (_numbers, _name, _weight) = (numbers, name, numbers.Tensor($"param.{name}.base_layer.weight"));
            var layer = new LinearShape(name, (int)_weight.shape[1], (int)_weight.shape[0]);
            var spec = AdapterCatalog.Methods["vera"].Spec;
            _layout = AdapterLayout.For(
                spec with { Rank = numbers.Config.GetProperty("r").GetInt32(), Dropout = Dropout.None, TargetModules = [name] }, [layer]);
            var values = new AdapterState(_layout.Tensors.Select(info => KeyValuePair.Create(info.Name, ValueOf(info))));
            Frame = new FramedLayer(
                [.. Enumerable.Repeat(new ClientAdapter(_layout, values, null), Members)],
                new FrozenLinear(layer, _weight, numbers.Optional($"param.{name}.base_layer.bias")));
            Optimizer = new AdamW(
                Frame.Stack, new TrainingSpec { WeightDecay = numbers.WeightDecay, ClipNorm = 0 },
                [.. Enumerable.Repeat(AdapterState.Empty, Members)]);
        }

        public FramedLayer Frame { get; }

        public AdamW Optimizer { get; }

        public IReadOnlyList<(Tensor Output, Tensor InputGradient)> Run(IReadOnlyList<Tensor> inputs, IReadOnlyList<Tensor>? cotangents) =>
            Frame.Run(inputs, cotangents ?? [.. inputs.Select(input => zeros(input.shape[0], _weight.shape[0]))]);

        public Tensor Merged()
        {
            using var inference = no_grad();
            var target = _layout.Targets[0];
            return _weight.Plus(Bottleneck.Delta(_layout.Method, Frame.Stack.Member(0).Of(target), target.Scaling)[0]);
        }

        public void CompareGradients(int member)
        {
            foreach (var info in _layout.Tensors.Where(static info => info.Trains))
                _numbers.CompareGradient($"grad.{_name}.{Saved(info)}.default", Frame.Stack.GradientOf(member, info.Name)!);
        }

        public void CompareStepped(int member, int step)
        {
            foreach (var parameter in Frame.Stack.Member(member).Parameters.Where(static parameter => parameter.Info.Trains))
                _numbers.CompareStepped($"after_step_{step}.{_name}.{Saved(parameter.Info)}.default", parameter.Value);
        }

        public void Dispose() => Frame.Dispose();

        // Of the pair each layer takes the first columns of A and the first rows of B.
        private NamedArray ValueOf(AdapterTensor info)
        {
            if (info.Trains) return _numbers.Array($"param.{_name}.{Saved(info)}.default") with { Shape = info.Shape };
            var whole = _numbers.Tensor(info.Role.Name == Roles.A ? "buffer.lin.vera_A.default" : "buffer.lin.vera_B.default");
            var part = whole.narrow(0, 0, info.Shape[^2]).narrow(1, 0, info.Shape[^1]);
            return new(info.Shape, TensorData.Values(part));
        }

        private static string Saved(AdapterTensor info) => info.Role.Name switch
        {
            Core.Role => "vera_lambda_d",
            HeadScale.Role => "vera_lambda_b",
            _ => throw new ArgumentOutOfRangeException(nameof(info)),
        };
    }
}
