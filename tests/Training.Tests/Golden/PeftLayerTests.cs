using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
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
        var stack = new AdapterStack(layout, [new(Start(numbers, layout), null)], masks: null, CPU, model);
        var adapter = stack.Members[0];
        var optimizer = new AdamW(stack, new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 }, [AdapterState.Empty]);
        var (input, cotangent) = (numbers.Tensor("input").requires_grad_(), numbers.Tensor("output_cotangent"));
        var losses = numbers.Expected.GetProperty("losses_before_step_1_2_3");
        Tensor Frozen() => nn.functional.linear(input, model.WeightOf(layer), model.BiasOf(layer));
        Tensor Output() => adapter.Layers[Module].Forward(input, Frozen(), null);
        var trainable = numbers.Expected.GetProperty("trainable").EnumerateArray().Select(static name => name.GetString());
        Assert.Equal(trainable, adapter.Parameters.Select(Saved).Order(StringComparer.Ordinal));

        numbers.CompareOutput("merged_weight", LowRankAdapter.Values(Merged(layout, adapter, model, layer)));
        for (var step = 1; step <= 3; step++)
        {
            stack.ZeroGradients();
            var output = Output();
            var loss = (output * cotangent).sum();
            var expected = losses[step - 1].GetDouble();
            Assert.Equal(expected, loss.item<float>(), 1e-5 + 1e-5 * Math.Abs(expected));
            loss.backward();
            if (step == 1)
            {
                numbers.CompareOutput("output", LowRankAdapter.Values(output));
                numbers.CompareGradient("input_grad", input.grad!);
                foreach (var parameter in adapter.Parameters) numbers.CompareGradient("grad." + Saved(parameter), parameter.Value.grad!);
            }

            optimizer.Step([0.01]);
            if (step == 2) continue;
            foreach (var parameter in adapter.Parameters) numbers.CompareStepped($"after_step_{step}.{Saved(parameter)}", parameter.Value);
            numbers.CompareOutput($"output_after_step_{step}", LowRankAdapter.Values(Output()));
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
        var parameters = drawn.ToDictionary(static entry => entry.Key, static entry => LowRankAdapter.OnDevice(entry.Value, CPU));
        parameters[Module + ".weight"] = numbers.Tensor("param.lin.base_layer.weight");
        parameters[Module + ".bias"] = numbers.Tensor("param.lin.base_layer.bias");
        return ModelRegistry.Create(config, parameters);
    }

    private static AdapterState Start(MethodNumbers numbers, AdapterLayout layout) => new(layout.Tensors.Select(info =>
        KeyValuePair.Create(info.Name, numbers.Array("param." + Saved(info.Role.Name)) with { Shape = info.Shape })));

    private static Tensor Merged(AdapterLayout layout, LowRankAdapter adapter, CausalLanguageModel model, LinearShape layer)
    {
        using var inference = no_grad();
        Tensor Value(string role) => adapter.Parameters.Single(parameter => parameter.Info.Role.Name == role).Value;
        var moved = model.WeightOf(layer) + new LowRankLayer(layout.Spec, layer, Value(Roles.A), Value(Roles.B), null, null).Delta();
        return layout.Spec.Decomposed ? DecomposedLayer.Merged(moved, Value(Roles.Magnitude)) : moved;
    }

    private static string Saved(AdapterParameter parameter) => Saved(parameter.Info.Role.Name);

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
