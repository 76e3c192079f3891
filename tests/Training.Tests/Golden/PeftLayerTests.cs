using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>One layer of PEFT's LoRA, rsLoRA and DoRA: outputs, gradients, three AdamW steps and the merged weight.</summary>
public sealed class PeftLayerTests
{
    private const string Module = "model.layers.0.mlp.gate_proj";

    public static TheoryData<string> Folders => Fixtures.Of("method/peft/lora", "method/peft/lora+*");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Output_gradients_steps_and_merged_weight_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        var layer = new LinearShape(Module, numbers.Config.GetProperty("in").GetInt32(), numbers.Config.GetProperty("out").GetInt32());
        var layout = AdapterLayout.For(SpecOf(numbers), [layer]);
        using var model = FrozenLayer(numbers, layer);
        var start = new ClientAdapter(layout, Start(numbers, layout), null);
        using var frame = new FramedLayer([start, start, start], model.Frozen(layer), model);
        var optimizer = new AdamW(
            frame.Stack, new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 },
            [AdapterState.Empty, AdapterState.Empty, AdapterState.Empty]);
        var trainable = numbers.Expected.GetProperty("trainable").EnumerateArray().Select(static name => name.GetString());
        Assert.Equal(trainable, layout.Tensors.Select(static info => Saved(info.Role.Name)).Order(StringComparer.Ordinal));
        // Two members have all rows, one has the first half of them.
        List<Tensor> Ragged(string name)
        {
            var all = numbers.Tensor(name);
            all = all.reshape(-1, all.shape[^1]);
            return [all, all.narrow(0, 0, all.shape[0] / 2), all];
        }

        numbers.CompareOutput("merged_weight", TensorData.Values(Merged(frame.Stack.Member(0), model, layer)));
        var losses = numbers.Expected.GetProperty("losses_before_step_1_2_3");
        for (var step = 1; step <= 3; step++)
        {
            frame.Stack.ZeroGradients();
            var trained = frame.Run(Ragged("input"), Ragged("output_cotangent"));
            foreach (var member in (int[])[0, 2])
            {
                var (output, inputGradient) = trained[member];
                var expected = losses[step - 1].GetDouble();
                Assert.Equal(expected, (output * Ragged("output_cotangent")[member]).sum().item<float>(), 1e-5 + 1e-5 * Math.Abs(expected));
                if (step > 1) continue;
                numbers.CompareOutput("output", TensorData.Values(output));
                numbers.CompareGradient("input_grad", inputGradient);
                foreach (var info in layout.Tensors)
                    numbers.CompareGradient("grad." + Saved(info.Role.Name), frame.Stack.GradientOf(member, info.Name)!);
            }

            optimizer.Step([0.01, 0.01, 0.01]);
            if (step == 2) continue;
            var after = frame.Run(Ragged("input"), Ragged("output_cotangent"));
            foreach (var member in (int[])[0, 2])
            {
                foreach (var parameter in frame.Stack.Member(member).Parameters)
                    numbers.CompareStepped($"after_step_{step}.{Saved(parameter.Info.Role.Name)}", parameter.Value);
                numbers.CompareOutput($"output_after_step_{step}", TensorData.Values(after[member].Output));
            }
        }
    }

    private static AdapterSpec SpecOf(MethodNumbers numbers) => new()
    {
        Rank = numbers.Config.GetProperty("r").GetInt32(),
        Alpha = numbers.Config.GetProperty("lora_alpha").GetDouble(),
        Dropout = Dropout.None,
        Scaling = numbers.Config.GetProperty("use_rslora").GetBoolean() ? Scaling.AlphaOverSqrtRank : Scaling.AlphaOverRank,
        Decomposed = numbers.Config.GetProperty("use_dora").GetBoolean(),
    };

    // Some model, in which one layer is the reference's.
    private static CausalLanguageModel FrozenLayer(MethodNumbers numbers, LinearShape layer)
    {
        var config = TinyLlama.Config with { HiddenSize = layer.InWidth, IntermediateSize = layer.OutWidth, MlpBias = true };
        var drawn = TinyLlama.Arrays(config);
        var parameters = drawn.ToDictionary(static entry => entry.Key, static entry => TensorData.OnDevice(entry.Value, CPU));
        parameters[Module + ".weight"] = numbers.Tensor("param.lin.base_layer.weight");
        parameters[Module + ".bias"] = numbers.Tensor("param.lin.base_layer.bias");
        return ModelRegistry.Create(config, parameters);
    }

    private static AdapterState Start(MethodNumbers numbers, AdapterLayout layout) => new(layout.Tensors.Select(info =>
        KeyValuePair.Create(info.Name, numbers.Array("param." + Saved(info.Role.Name)) with { Shape = info.Shape })));

    private static Tensor Merged(PlacedAdapter adapter, CausalLanguageModel model, LinearShape layer)
    {
        using var inference = no_grad();
        var (method, target) = (adapter.Layout.Method, adapter.Layout.Targets[0]);
        var moved = model.WeightOf(layer).Plus(Bottleneck.Delta(method, adapter.Of(target), target.Scaling)[0]);
        return method.HasColumns ? moved * method.Columns(adapter.Of(target), Decomposed.Norms(moved))[0].unsqueeze(1) : moved;
    }

    private static string Saved(string role)
    {
        var name = role switch
        {
            Roles.A => "lora_A",
            Roles.B => "lora_B",
            Roles.Magnitude => "lora_magnitude_vector",
            _ => throw new ArgumentOutOfRangeException(nameof(role)),
        };
        return $"lin.{name}.default.weight";
    }
}
