using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>An adapter in a mode: evaluating, or training with the masks of one client's round.</summary>
internal sealed class AdapterPass : ILayerAdapters, IDisposable
{
    private readonly LowRankAdapter _adapter;
    private readonly Dictionary<string, LayerMasks>? _masks;

    private AdapterPass(LowRankAdapter adapter, Dictionary<string, LayerMasks>? masks) => (_adapter, _masks) = (adapter, masks);

    /// <summary>Without dropout.</summary>
    public static AdapterPass Evaluating(LowRankAdapter adapter) => new(adapter, null);

    /// <summary>With dropout; the pass is used for all steps of the round in turn.</summary>
    public static AdapterPass Training(LowRankAdapter adapter, Dictionary<string, LayerMasks> masks) => new(adapter, masks);

    public Tensor Adapt(string module, Tensor x, Tensor y) =>
        _adapter.Layers.TryGetValue(module, out var layer) ? layer.Forward(x, y, _masks?[module]) : y;

    public Tensor AdaptEmbedding(string module, Tensor ids, Tensor y) => Adapt(module, ids, y);

    public void Dispose()
    {
        foreach (var masks in _masks?.Values ?? Enumerable.Empty<LayerMasks>()) masks.Dispose();
    }
}
