using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>MultiLoRA's layer: pairs side by side, each output of each with a scale of its own.</summary>
public sealed class MultiLoraTests
{
    public static TheoryData<string> Folders => Fixtures.Of("method/mtl-lora/multilora");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Output_gradients_steps_and_merged_weight_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        using var layer = new LayerNumbers(numbers, SpecOf(numbers), Saved);

        layer.CompareTrained();
        if (numbers.Has("merged_weight")) layer.CompareMergedWeight();
        layer.CompareSteps();
    }

    private static AdapterSpec SpecOf(MethodNumbers numbers) => AdapterCatalog.Methods["multilora"].Spec with
    {
        Rank = numbers.Config.GetProperty("r").GetInt32(), Alpha = numbers.Config.GetProperty("lora_alpha").GetDouble(),
        Heads = numbers.Config.GetProperty("heads").GetInt32(), Dropout = Dropout.None,
    };

    private static string Saved(string role) => role switch
    {
        Roles.A => "lora_A",
        Roles.B => "lora_B",
        HeadScale.Role => "lora_scaling",
        _ => throw new ArgumentOutOfRangeException(nameof(role)),
    };
}
