using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>One layer of PEFT's LoRA, rsLoRA and DoRA: outputs, gradients, AdamW steps and the merged weight.</summary>
public sealed class PeftLayerTests
{
    public static TheoryData<string> Folders => Fixtures.Of("method/peft/lora", "method/peft/lora+*");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Output_gradients_steps_and_merged_weight_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        using var layer = new LayerNumbers(numbers, SpecOf(numbers), Saved, "lin.base_layer.");

        layer.CompareTrained();
        if (numbers.Has("merged_weight")) layer.CompareMergedWeight();
        layer.CompareSteps();
    }

    private static AdapterSpec SpecOf(MethodNumbers numbers) => new()
    {
        Rank = numbers.Config.GetProperty("r").GetInt32(),
        Alpha = numbers.Config.GetProperty("lora_alpha").GetDouble(),
        Dropout = Dropout.None,
        Scaling = numbers.Config.GetProperty("use_rslora").GetBoolean() ? Scaling.AlphaOverSqrtRank : Scaling.AlphaOverRank,
        Decomposed = numbers.Config.GetProperty("use_dora").GetBoolean(),
    };

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
