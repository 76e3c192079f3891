using FedRLora.Training.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>Some members of a stack, as a pass over the base sees them.</summary>
/// <param name="layers">The members' adapters by module.</param>
/// <param name="masks">Each member's by module; null without dropout.</param>
internal sealed class StackSlice(
    IReadOnlyDictionary<string, BottleneckLayer> layers, IReadOnlyList<IReadOnlyDictionary<string, LayerMasks>>? masks)
{
    private List<(LayerMasks Masks, Tensor[] States)>? _masksBefore;

    /// <summary>The members' adapter of a module; null where it has none.</summary>
    public BottleneckLayer? Layer(string module) => layers.GetValueOrDefault(module);

    /// <summary>Every member's masks of a module, from which some will be drawn now; null without dropout.</summary>
    public IReadOnlyList<LayerMasks>? MasksFor(string module)
    {
        if (masks is null) return null;
        LayerMasks[] own = [.. masks.Select(member => member[module])];
        _masksBefore?.AddRange(own.Select(static member => (member, member.States())));
        return own;
    }

    /// <summary>Runs a layer and says which masks it drew from, and their states before; those are the caller's to dispose.</summary>
    public IReadOnlyList<(LayerMasks Masks, Tensor[] States)> DrawnBy(Action layer)
    {
        _masksBefore = [];
        layer();
        var drawn = _masksBefore;
        _masksBefore = null;
        return drawn;
    }
}
