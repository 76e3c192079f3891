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
        [typeof(Routing.TopK)] = static spec => TopK(spec, (Routing.TopK)spec.Routing),
        [typeof(Routing.RankTopK)] = static spec => RankTopK((Routing.RankTopK)spec.Routing),
        [typeof(Routing.Pool)] = static spec => new PoolGate((Routing.Pool)spec.Routing),
        [typeof(Routing.TaskSoftmax)] = static spec => new TaskSoftmaxGate(spec.Heads, ((Routing.TaskSoftmax)spec.Routing).Tau),
    };

    /// <summary>The algebra of a method.</summary>
    public static AdapterMethod Of(AdapterSpec spec)
    {
        AdapterMethod method = new LowRank(LowRankForm.Of(spec), Gates[spec.Routing.GetType()](spec));
        if (spec.Start == Start.Anchored) method = new Anchored(method);
        if (spec.TaskBranch is { Exists: true } pair) method = new Beside(method, TaskBranch.A, TaskBranch.B, pair.Rank, pair.Scale);
        if (spec.Links > 0) method = new Beside(method, FrozenLinks.A, FrozenLinks.B, links: spec.Links);
        return spec.Decomposed ? new Decomposed(method) : method;
    }

    private static TopKGate TopK(AdapterSpec spec, Routing.TopK rule) =>
        new(spec.Heads, rule.K, rule.Temperature, spec.Objectives.OfType<Objective.GateLoss>().Sum(static term => term.Beta));

    private static RankTopKGate RankTopK(Routing.RankTopK rule) => new(rule.K, rule.Partition, rule.Rate);
}
