using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters.Algebra.Gates;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>From declarations to algebra: a new part is a line here.</summary>
internal static class AdapterMethods
{
    private static readonly Dictionary<Type, Func<AdapterSpec, IGate>> Gates = new()
    {
        [typeof(Routing.ByTask)] = static spec => new EqualGate(spec.Heads, 1),
        [typeof(Routing.Mean)] = static spec => new EqualGate(spec.Heads, 1.0 / spec.Heads),
        [typeof(Routing.Sum)] = static spec => new EqualGate(spec.Heads, 1),
        [typeof(Routing.Softmax)] = static spec => new SoftmaxGate(spec.Heads),
    };

    /// <summary>The algebra of a method.</summary>
    public static AdapterMethod Of(AdapterSpec spec)
    {
        AdapterMethod method = new LowRank(spec.Heads, Gates[spec.Routing.GetType()](spec));
        if (spec.Start == Start.Anchored) method = new Anchored(method);
        return spec.Decomposed ? new Decomposed(method) : method;
    }
}
