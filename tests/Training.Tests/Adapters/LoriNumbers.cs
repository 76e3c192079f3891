using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Golden;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>The layers of LoRI's reference numbers, by the names that its published code saw.</summary>
internal static class LoriNumbers
{
    private const string Prefix = "base_model.model.", Base = ".base.weight";

    public static IReadOnlyList<LinearShape> Layers(MethodNumbers numbers) =>
    [
        .. numbers.Names.Where(
            static name => name.StartsWith("param.", StringComparison.Ordinal) && name.EndsWith(Base, StringComparison.Ordinal))
            .Order(StringComparer.Ordinal).Select(name =>
            {
                var shape = numbers.Array(name).Shape;
                return new LinearShape(name["param.".Length..^Base.Length][Prefix.Length..], (int)shape[1], (int)shape[0]);
            }),
    ];

    public static string Saved(LinearShape layer) => Prefix + layer.Module;

    public static AdapterSpec Spec(MethodNumbers numbers, MaskSpan span, double sparsity) => AdapterCatalog.Methods["lori-s"].Spec with
    {
        Rank = numbers.Config.GetProperty("r").GetInt32(), Alpha = numbers.Config.GetProperty("lora_alpha").GetDouble(),
        Dropout = Dropout.None, TargetModules = [.. Layers(numbers).Select(static layer => layer.Module)],
        Lifecycle = [new(RoundSet.Parse("1")!, new LifecycleAction.CalibrateMask(sparsity, span))],
    };

    /// <summary>The heads as they are when masks are calibrated.</summary>
    public static AdapterState Heads(MethodNumbers numbers) => new(Layers(numbers).Select(layer =>
    {
        var heads = numbers.Array($"param.{Saved(layer)}.lora_B.default.weight");
        return KeyValuePair.Create($"{layer.Module}.B", heads with { Shape = [1, .. heads.Shape] });
    }));
}
