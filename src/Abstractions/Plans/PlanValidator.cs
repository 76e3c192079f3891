namespace FedRLora.Abstractions.Plans;

/// <summary>Values of a plan that do not go together.</summary>
/// <param name="Message">What is wrong and what to do.</param>
/// <param name="Paths">The values that it rests on, the one to look at first in front; for example <c>adapter.initB</c>.</param>
public sealed record PlanConflict(string Message, params IReadOnlyList<string> Paths);

/// <summary>
/// The rules about values that must go together, from the checks of each section. <see cref="PlanReader"/> checks each value by itself.
/// </summary>
public static class PlanValidator
{
    /// <summary>Every conflict of <paramref name="plan"/>; none if it can run.</summary>
    public static IReadOnlyList<PlanConflict> Conflicts(FederationPlan plan) =>
    [
        .. Start(plan.Adapter), .. Heads(plan.Adapter), .. Sharing(plan.Adapter), .. TrainingChecks.Of(plan), .. StrategyChecks.Of(plan),
        .. TriggerChecks.Of(plan), .. AggregationChecks.Of(plan), .. TaskChecks.Of(plan), .. ClientChecks.Of(plan),
        .. EvaluationChecks.Of(plan), .. FaultChecks.Of(plan),
    ];

    private static IEnumerable<PlanConflict> Start(AdapterSpec adapter) => adapter.From is null ? DrawnStart(adapter) : GivenStart(adapter);

    private static IEnumerable<PlanConflict> GivenStart(AdapterSpec adapter)
    {
        if (adapter.Heads > 1)
            yield return new($"the adapter that from names has one head, the plan asks for {adapter.Heads}; give heads: 1.", "adapter.heads", "adapter.from");
        if (!adapter.TrainsA && !adapter.TrainsB)
            yield return new("neither A nor B trains; set trainsA or trainsB to true.", "adapter.trainsB", "adapter.trainsA");
    }

    private static IEnumerable<PlanConflict> DrawnStart(AdapterSpec adapter)
    {
        var (zeroA, zeroB) = (adapter.InitA.Law == InitLaw.Zero, adapter.InitB.Law == InitLaw.Zero);
        if (adapter.Start == Plans.Start.Anchored && (zeroA || zeroB))
            yield return new("an anchored start needs initA and initB that are not zero; give stable: 64, or start: exact.", zeroB ? "adapter.initB" : "adapter.initA", "adapter.start");
        if (adapter.Start == Plans.Start.Exact && !zeroA && !zeroB)
            yield return new("an exact start needs initA or initB zero, or the fresh adapter changes the model; give initB: zero, or start: anchored.", "adapter.start", "adapter.initB", "adapter.initA");
        if (adapter.Start == Plans.Start.Exact && zeroA && zeroB)
            yield return new("initA and initB are both zero, a saddle that training never leaves; give one of them kaimingUniform, gaussian or stable.", "adapter.initA", "adapter.initB", "adapter.start");
        if (!adapter.TrainsA && !adapter.TrainsB)
            yield return new("neither A nor B trains; set trainsA or trainsB to true.", "adapter.trainsB", "adapter.trainsA");
        else if (!adapter.TrainsB && zeroB && !zeroA)
            yield return new("B is zero and does not train, so the adapter stays zero; set trainsB: true, or give initB another law.", "adapter.trainsB", "adapter.initB", "adapter.initA");
        else if (!adapter.TrainsA && zeroA && !zeroB)
            yield return new("A is zero and does not train, so the adapter stays zero; set trainsA: true, or give initA another law.", "adapter.trainsA", "adapter.initA", "adapter.initB");
    }

    private static IEnumerable<PlanConflict> Heads(AdapterSpec adapter)
    {
        if (adapter.Heads > 1 && adapter.Routing == Routing.ByTask)
            yield return new($"byTask gives a client one head, the plan asks for {adapter.Heads}; give heads: 1, or routing: mean, sum or softmax.", "adapter.routing", "adapter.heads");
        if (adapter.Heads == 1 && adapter.Routing == Routing.Softmax)
            yield return new("softmax over one head is constant; give heads: 2 or more, or routing: byTask.", "adapter.routing", "adapter.heads");
        if (adapter is { Decomposed: true, Heads: > 1, Routing: Routing.Softmax })
            yield return new("a decomposed weight has one norm for all inputs, a router has none; give routing: mean, or decomposed: false.", "adapter.decomposed", "adapter.routing");
        if (adapter is { Decomposed: true, ScopeMagnitude: Scope.Seed })
            yield return new("scope seed redraws the magnitudes and would lose their training; give scopeMagnitude: job or client.", "adapter.scopeMagnitude", "adapter.decomposed");
        if (adapter.Dropout is { Site: DropoutSite.None, P: > 0 })
            yield return new("p has no effect where site is none; give site: input or hidden, or p: 0.", "adapter.dropout.p", "adapter.dropout.site");
    }

    private static IEnumerable<PlanConflict> Sharing(AdapterSpec adapter) =>
    [
        .. Sharing("A", adapter.TrainsA, adapter.ScopeA, adapter.SeedA),
        .. Sharing("B", adapter.TrainsB, adapter.ScopeB, adapter.SeedB),
    ];

    private static IEnumerable<PlanConflict> Sharing(string tensor, bool trains, Scope scope, SeedPolicy seed)
    {
        var (trainsPath, scopePath, seedPath) = ($"adapter.trains{tensor}", $"adapter.scope{tensor}", $"adapter.seed{tensor}");
        if (scope == Scope.Seed && trains)
            yield return new($"scope seed redraws {tensor} and would lose its training; set trains{tensor}: false, or scope{tensor}: job or client.", scopePath, trainsPath);
        if (scope == Scope.Job && !trains)
            yield return new($"{tensor} does not train, so there is nothing to aggregate; set scope{tensor}: seed, or trains{tensor}: true.", scopePath, trainsPath);
        if (scope == Scope.Job && seed != SeedPolicy.Common)
            yield return new($"clients that aggregate {tensor} start from one value; set seed{tensor}: common, or scope{tensor}: client.", seedPath, scopePath);
    }
}
