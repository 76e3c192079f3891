using static FedRLora.Abstractions.Plans.LowRankFactors;

namespace FedRLora.Abstractions.Plans;

/// <summary>Whether what happens in rounds can happen to the method, and whether something trains in each of them.</summary>
internal static class LifecycleChecks
{
    private const string Path = "adapter.lifecycle";

    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        var adapter = plan.Adapter;
        if (adapter.Lifecycle.Count == 0) return [];
        PlanConflict[] names = [.. Names(adapter)];
        return [.. names, .. Merging(adapter), .. Masking(plan), .. names.Length > 0 ? [] : EveryRoundTrains(plan)];
    }

    private static IEnumerable<PlanConflict> Names(AdapterSpec adapter) => adapter.Lifecycle
        .Select(static step => step.What).OfType<LifecycleAction.Train>().SelectMany(static train => train.Tensors).Distinct()
        .Where(name => name is not (LifecycleAction.Train.Heads or LifecycleAction.Train.Shared) && !adapter.Has(name))
        .Select(name => new PlanConflict(
            $"the method has no {name} that could train; name one of {string.Join(", ", adapter.Roles.Select(static role => role.Name))}.",
            Path, "adapter.method"));

    private static IEnumerable<PlanConflict> Merging(AdapterSpec adapter)
    {
        if (!Has<LifecycleAction.MergeAndRedraw>(adapter)) yield break;
        var law = ((string[])[A, B]).FirstOrDefault(role => adapter.Tensor(role).Init.IsFromWeight);
        (bool Is, string What, string[] Paths)[] refused =
        [
            (adapter.Heads > 1, "several heads", ["adapter.heads"]),
            (adapter.Core.Form != CoreForm.None, "a core", ["adapter.core"]),
            (adapter.HeadScale != HeadScaleForm.None, "a head scale", ["adapter.headScale"]),
            (adapter.Has(TaskBranch.A), "a task pair", ["adapter.taskBranch"]),
            (adapter.Start == Start.Anchored, "an anchored start", ["adapter.start"]),
            (adapter.Routing is not (Routing.ByTask or Routing.Mean), "a routing", ["adapter.routing"]),
            (adapter.Decomposed, "a decomposed weight", ["adapter.decomposed"]),
            (Has<LifecycleAction.CalibrateMask>(adapter), "a mask", []),
            (law is not null, "a start computed from the weight", law is null ? [] : AdapterChecks.PathsOf(law, "init")),
        ];
        foreach (var (_, what, paths) in refused.Where(static one => one.Is))
        {
            yield return new(
                $"mergeAndRedraw makes links of A and B alone: not with {what}; leave one of the two out.",
                [Path, .. paths, "adapter.method"]);
        }
    }

    private static IEnumerable<PlanConflict> Masking(FederationPlan plan)
    {
        var adapter = plan.Adapter;
        var steps = adapter.Lifecycle.Where(static step => step.What is LifecycleAction.CalibrateMask).ToList();
        if (steps.Count == 0) yield break;
        var times = Enumerable.Range(1, plan.Strategy.Rounds)
            .Count(round => steps.Any(step => step.Rounds.Contains(round, plan.Strategy.Rounds)));
        if (steps.Count > 1 || times > 1)
            yield return new("a mask is calibrated once; give calibrateMask one round, such as {rounds: 1, calibrateMask: 0.9}.", Path);
        var heads = adapter.Tensor(B);
        if (adapter.Start != Start.Exact || !heads.Init.IsZero)
        {
            yield return new(
                "calibrateMask begins the heads again, which leaves the model as it is only from zero; give start: exact and initB: zero.",
                [Path, "adapter.start", .. AdapterChecks.PathsOf(B, "init"), "adapter.method"]);
        }

        if (!heads.Trains || heads.Scope == Scope.Seed)
        {
            yield return new(
                "calibrateMask chooses among entries of B, which does not train; set trainsB: true.",
                [Path, .. AdapterChecks.PathsOf(B, "trains"), "adapter.method"]);
        }
    }

    private static IEnumerable<PlanConflict> EveryRoundTrains(FederationPlan plan)
    {
        for (var round = 1; round <= plan.Strategy.Rounds; round++)
        {
            var now = plan.AdapterAt(round);
            if (now.Tensors.Values.Any(static tensor => tensor is { Trains: true, Scope: not Scope.Seed })) continue;
            // said elsewhere
            if (!plan.Adapter.Tensors.Values.Any(static tensor => tensor is { Trains: true, Scope: not Scope.Seed })) break;
            yield return new(
                $"nothing trains in round {round}: what its step names is frozen or not there; name a tensor that trains.",
                Path, "adapter.method");
            break;
        }
    }

    private static bool Has<T>(AdapterSpec adapter) where T : LifecycleAction => adapter.Lifecycle.Any(static step => step.What is T);
}
