using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>
/// A published layer against a method on one layer of a model, by the batched path: three members side by side, of which the second has
/// the first half of the rows.
/// </summary>
internal sealed class LayerNumbers : IDisposable
{
    public const string Module = "model.layers.0.mlp.gate_proj";

    private static readonly int[] Whole = [0, 2];

    private readonly Func<string, string> _saved;
    private readonly FramedLayer _frame;
    private readonly AdamW _optimizer;

    /// <param name="numbers">The published numbers.</param>
    /// <param name="spec">The method.</param>
    /// <param name="saved">What the published layer calls a role.</param>
    /// <param name="weight">What it calls the frozen weight, before <c>weight</c> and <c>bias</c>.</param>
    public LayerNumbers(MethodNumbers numbers, AdapterSpec spec, Func<string, string> saved, string weight = "")
    {
        (Numbers, _saved) = (numbers, saved);
        Layer = new LinearShape(Module, numbers.Config.GetProperty("in").GetInt32(), numbers.Config.GetProperty("out").GetInt32());
        Layout = AdapterLayout.For(spec, [Layer]);
        Model = FrozenLayer(numbers, Layer, weight);
        var start = new ClientAdapter(Layout, new(Layout.Tensors.Select(info =>
            KeyValuePair.Create(info.Name, numbers.Array("param." + saved(info.Role.Name)) with { Shape = info.Shape }))), null);
        _frame = new FramedLayer([start, start, start], Model.Frozen(Layer), Model);
        _optimizer = new AdamW(
            _frame.Stack, new TrainingSpec { WeightDecay = numbers.WeightDecay, ClipNorm = 0 },
            [AdapterState.Empty, AdapterState.Empty, AdapterState.Empty]);
    }

    public MethodNumbers Numbers { get; }

    public LinearShape Layer { get; }

    public AdapterLayout Layout { get; }

    public CausalLanguageModel Model { get; }

    public AdapterStack Stack => _frame.Stack;

    public void Dispose()
    {
        _frame.Dispose();
        Model.Dispose();
    }

    /// <summary>What the published layer trains is what the method trains.</summary>
    public void CompareTrained() => Assert.Equal(
        Numbers.Expected.GetProperty("trainable").EnumerateArray().Select(static name => name.GetString()!).Order(StringComparer.Ordinal),
        Layout.Tensors.Where(static info => info.Trains).Select(info => _saved(info.Role.Name)).Order(StringComparer.Ordinal));

    /// <summary>W0 + dW, of a method that is one matrix.</summary>
    public void CompareMergedWeight()
    {
        using var inference = no_grad();
        var (method, target) = (Layout.MethodOf(Layout.Targets[0]), Layout.Targets[0]);
        var tensors = Stack.Member(0).Of(target);
        var moved = Model.WeightOf(Layer).Plus(Bottleneck.Delta(method, tensors, target.Scaling)[0]);
        if (method.HasColumns) moved = moved * method.Columns(tensors, Decomposed.Norms(moved))[0].unsqueeze(1);
        Numbers.CompareOutput("merged_weight", TensorData.Values(moved));
    }

    /// <summary>Losses, outputs, gradients, and tensors and outputs after the steps that are recorded.</summary>
    public void CompareSteps()
    {
        for (var step = 1; step <= Numbers.Recorded[^1]; step++)
        {
            Stack.ZeroGradients();
            var trained = Run();
            foreach (var member in Whole)
            {
                var (output, inputGradient) = trained[member];
                Numbers.CompareLoss(step, (output * Rows("output_cotangent")).sum().item<float>());
                if (step > 1) continue;
                Numbers.CompareOutput("output", TensorData.Values(output));
                Numbers.CompareGradient("input_grad", inputGradient);
                foreach (var info in Layout.Tensors.Where(static info => info.Trains))
                    Numbers.CompareGradient("grad." + _saved(info.Role.Name), Stack.GradientOf(member, info.Name)!);
            }

            _optimizer.Step([Numbers.Rate, Numbers.Rate, Numbers.Rate]);
            if (!Numbers.Recorded.Contains(step)) continue;
            var after = Run();
            foreach (var member in Whole)
            {
                foreach (var parameter in Stack.Member(member).Parameters.Where(static parameter => parameter.Info.Trains))
                    Numbers.CompareStepped($"after_step_{step}.{_saved(parameter.Info.Role.Name)}", parameter.Value);
                Numbers.CompareOutput($"output_after_step_{step}", TensorData.Values(after[member].Output));
            }
        }
    }

    /// <summary>The frozen layer of a model, which is some model but for it.</summary>
    public static CausalLanguageModel FrozenLayer(MethodNumbers numbers, LinearShape layer, string weight)
    {
        var bias = numbers.Optional($"param.{weight}bias");
        var config = TinyLlama.Config with
        {
            HiddenSize = layer.InWidth, IntermediateSize = layer.OutWidth, MlpBias = bias is not null,
        };
        var parameters = TinyLlama.Arrays(config)
            .ToDictionary(static entry => entry.Key, static entry => TensorData.OnDevice(entry.Value, CPU));
        parameters[Module + ".weight"] = numbers.Tensor($"param.{weight}weight");
        if (bias is not null) parameters[Module + ".bias"] = bias;
        return ModelRegistry.Create(config, parameters);
    }

    private IReadOnlyList<(Tensor Output, Tensor InputGradient)> Run()
    {
        List<Tensor> Ragged(string name)
        {
            var all = Rows(name);
            return [all, all.narrow(0, 0, (all.shape[0] + 1) / 2), all];
        }

        return _frame.Run(Ragged("input"), Ragged("output_cotangent"));
    }

    private Tensor Rows(string name)
    {
        var all = Numbers.Tensor(name);
        return all.reshape(-1, all.shape[^1]);
    }
}
