using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Devices;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>
/// Dropout masks of one layer: a CPU generator for each head, seeded by round, client, module and head and advanced from step to
/// step, so that a retry of the round repeats them on any device.
/// </summary>
internal sealed class LayerMasks : IDisposable
{
    private readonly double _keep;
    private readonly Generator[] _generators;

    public LayerMasks(AdapterSpec spec, string module, ulong planSeed, int round, string client)
    {
        _keep = 1 - spec.Dropout.P;
        var masks = spec.Dropout.Masks == MaskSharing.PerHead ? spec.Heads : 1;
        _generators = [.. Enumerable.Range(0, masks)
            .Select(head => new Generator(Seed.For(planSeed, round, client, $"dropout/{module}/head{head}"), CPU))];
    }

    /// <summary>The masks of every adapted layer for a client's round; each is disposed by the caller.</summary>
    public static Dictionary<string, LayerMasks> Of(AdapterLayout layout, ulong planSeed, int round, string client) => layout.Targets
        .ToDictionary(static target => target.Module, target => new LayerMasks(layout.Spec, target.Module, planSeed, round, client),
            StringComparer.Ordinal);

    /// <summary>The next mask of each head, or one for all: 0 with probability p, else 1/(1-p).</summary>
    public IEnumerable<Tensor> Draw(long[] shape, Device device) => _generators
        .Select(generator => device.To(empty(shape, ScalarType.Float32, CPU).bernoulli_(_keep, generator).div_(Living.Of((float)_keep))));

    /// <summary>Where the masks are: one state for each generator, which belong to no dispose scope.</summary>
    public Tensor[] States() => [.. _generators.Select(static generator => generator.get_state().DetachFromDisposeScope())];

    /// <summary>Goes back to where the masks were.</summary>
    public void Rewind(IEnumerable<Tensor> states)
    {
        foreach (var (generator, state) in _generators.Zip(states)) generator.set_state(state);
    }

    public void Dispose()
    {
        foreach (var generator in _generators) generator.Dispose();
    }
}
