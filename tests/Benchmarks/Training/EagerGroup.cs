using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>The eager reference for several clients: one after the other, their batches already on the device.</summary>
internal sealed class EagerGroup : IDisposable
{
    private readonly EagerReference[] _clients;
    private readonly (Tensor Ids, Tensor Labels)[] _batches;

    public EagerGroup(CausalLanguageModel model, int rank, IReadOnlyList<EncodedRow[]> batches)
    {
        _clients = [.. batches.Select(_ => new EagerReference(model, rank))];
        using var scope = NewDisposeScope();
        _batches = [.. batches.Select(batch => Batches.Padded(batch, model.Device))];
        scope.Detach(_batches.SelectMany(static batch => new[] { batch.Ids, batch.Labels }));
    }

    /// <summary>A step of every client.</summary>
    public void Step()
    {
        foreach (var (client, (ids, labels)) in _clients.Zip(_batches)) client.Step(ids, labels);
    }

    /// <summary>Gives the first client an adapter.</summary>
    public void Load(AdapterState values) => _clients[0].Load(values);

    /// <summary>The first client's loss.</summary>
    public float Loss()
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        return _clients[0].Loss(_batches[0].Ids, _batches[0].Labels).item<float>();
    }

    public void Dispose()
    {
        foreach (var client in _clients) client.Dispose();
        foreach (var (ids, labels) in _batches)
        {
            ids.Dispose();
            labels.Dispose();
        }
    }
}
