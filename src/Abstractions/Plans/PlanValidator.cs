using FedRLora.Abstractions.Plans.Checks;

namespace FedRLora.Abstractions.Plans;

/// <summary>Values of a plan that do not go together.</summary>
/// <param name="Message">What is wrong and what to do.</param>
/// <param name="Paths">The values that it rests on, the one to look at first in front; for example <c>adapter.initB</c>.</param>
public sealed record PlanConflict(string Message, params IReadOnlyList<string> Paths);

/// <summary>
/// The rules about values that must go together (METHODS-CORE 7.2). <see cref="PlanReader"/> checks each value by itself.
/// </summary>
public static class PlanValidator
{
    /// <summary>Every conflict of <paramref name="plan"/>; none if it can run.</summary>
    public static IReadOnlyList<PlanConflict> Conflicts(FederationPlan plan) =>
    [
        .. Start(plan.Adapter), .. Heads(plan.Adapter), .. Sharing(plan.Adapter), .. Training(plan), .. Strategy(plan.Strategy),
        .. Trigger(plan), .. AggregationChecks.Of(plan), .. TaskChecks.Of(plan), .. Clients(plan.Clients), .. Evaluation(plan),
        .. FaultChecks.Of(plan),
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

    private static IEnumerable<PlanConflict> Training(FederationPlan plan)
    {
        var (training, adapter) = (plan.Training, plan.Adapter);
        if (training.WarmHeadSteps > training.Steps)
            yield return new($"{training.WarmHeadSteps} exceeds the {training.Steps} steps of a round, of which they are a part.", "training.warmHeadSteps", "training.steps");
        for (var i = 0; i < plan.Clients.Count; i++)
        {
            if (plan.Clients[i].Steps is { } steps && training.WarmHeadSteps > steps)
                yield return new($"{steps} steps are fewer than the {training.WarmHeadSteps} of training.warmHeadSteps, which are a part of them.", Client(i, "steps"), "training.warmHeadSteps");
        }

        var ownsTrained = (adapter.TrainsA && adapter.ScopeA == Scope.Client) || (adapter.TrainsB && adapter.ScopeB == Scope.Client) || (adapter.HasRouter && adapter.ScopeRouter == Scope.Client)
            || (adapter.Decomposed && adapter.ScopeMagnitude == Scope.Client);
        if (training.WarmHeadSteps > 0 && !ownsTrained)
            yield return new("no trained tensor stays with its client, so there is no head to warm; give warmHeadSteps: 0, or scopeB: client.", "training.warmHeadSteps", "adapter.scopeA", "adapter.scopeB", "adapter.scopeRouter", "adapter.method");
        var rounds = plan.Strategy.Rounds;
        var total = (long)rounds * training.Steps;
        if (training.WarmupSteps > total && plan.Clients.Any(static client => client.Steps is null))
        {
            yield return new(
                $"{training.WarmupSteps} exceeds the run's {total} steps ({rounds} rounds of {training.Steps}).",
                "training.warmupSteps", "training.steps", "strategy.rounds");
        }

        for (var i = 0; i < plan.Clients.Count; i++)
        {
            if (plan.Clients[i].Steps is { } own && training.WarmupSteps > (long)rounds * own)
            {
                yield return new(
                    $"{own} steps in {rounds} rounds are fewer than the {training.WarmupSteps} of training.warmupSteps: "
                    + "the rate would end below its peak.",
                    Client(i, "steps"), "training.warmupSteps", "strategy.rounds");
            }
        }
    }

    private static IEnumerable<PlanConflict> Strategy(StrategySpec strategy)
    {
        if (strategy.Selection is { Rule: SelectionRule.All, Fraction: < 1 })
            yield return new("a fraction needs rule: uniform; rule all takes every client.", "strategy.selection.fraction", "strategy.selection.rule");
        if (strategy.Selection is { Rule: SelectionRule.All, Overselect: > 1 })
            yield return new("there is nobody to select beyond every client; give rule: uniform and a fraction, or overselect: 1.", "strategy.selection.overselect", "strategy.selection.rule");
        if (strategy is { TimeBudget: not null, Quorum: >= 1 })
            yield return new("a round waits for every client while quorum is 1, whatever its time budget; give a quorum below 1.", "strategy.timeBudget", "strategy.quorum");
        if (strategy.SiteLoss == SiteLoss.Continue && strategy.Quorum >= 1)
            yield return new("a round cannot go on without a site while quorum is 1; give a quorum below 1, or siteLoss: wait.", "strategy.siteLoss", "strategy.quorum");
    }

    private static IEnumerable<PlanConflict> Trigger(FederationPlan plan)
    {
        var (strategy, trigger) = (plan.Strategy, plan.Strategy.Trigger);
        if (trigger.Rule != TriggerRule.Buffered)
        {
            if (trigger != new TriggerSpec())
                yield return new("bufferSize, concurrency, stalenessExponent and maxStaleness belong to rule: buffered.", "strategy.trigger", "strategy.trigger.rule");
            yield break;
        }

        var concurrency = trigger.Concurrency ?? plan.Clients.Count;
        if (concurrency > plan.Clients.Count)
            yield return new($"{concurrency} clients cannot be at work, the plan has {plan.Clients.Count}.", "strategy.trigger.concurrency", "clients");
        else if (trigger.BufferSize > concurrency)
            yield return new($"a buffer of {trigger.BufferSize} is never full while {concurrency} clients are at work; give bufferSize: {concurrency} or less.", "strategy.trigger.bufferSize", "strategy.trigger.concurrency", "clients");
        if (strategy.Selection is not { Rule: SelectionRule.All, Fraction: 1.0, Overselect: 1.0 })
            yield return new("buffered rounds draw from the idle clients up to trigger.concurrency; leave selection out.", "strategy.selection", "strategy.trigger.rule");
        if (strategy is { Deadline: not null, Quorum: >= 1 })
            yield return new("a deadline closes a buffered round with what has come, which quorum: 1 forbids; give a quorum below 1, or no deadline.", "strategy.deadline", "strategy.quorum", "strategy.trigger.rule");
        if (strategy.TimeBudget is not null)
            yield return new("buffered rounds wait for nobody; leave timeBudget out, or give trigger.maxStaleness.", "strategy.timeBudget", "strategy.trigger.rule");
        if (plan.Checkpoints.KeepLast is { } kept && (trigger.MaxStaleness is not { } oldest || oldest >= kept))
            yield return new($"{kept} kept rounds must exceed the staleness of any work that goes on; give trigger.maxStaleness: {kept - 1} or less.", "checkpoints.keepLast", "strategy.trigger.maxStaleness", "strategy.trigger.rule");
        if (plan.Training.GroupSize > 1)
            yield return new("clients of buffered rounds start at different times, so none are trained together; give groupSize: 1.", "training.groupSize", "strategy.trigger.rule");
    }

    private static IEnumerable<PlanConflict> Clients(IReadOnlyList<ClientSpec> clients)
    {
        if (clients.Count == 0)
            yield return new("the list is empty; give at least one client.", "clients");
        var seen = new Dictionary<string, int>(StringComparer.OrdinalIgnoreCase);
        for (var i = 0; i < clients.Count; i++)
        {
            if (clients[i].Id.Length > 0 && !seen.TryAdd(clients[i].Id, i))
                yield return new($"\"{clients[i].Id}\" is the id of clients[{seen[clients[i].Id]}] already; ids differ in more than the case of letters.", Client(i, "id"));
        }
    }

    private static IEnumerable<PlanConflict> Evaluation(FederationPlan plan)
    {
        if (plan.Clients.Count == 0 || plan.Clients.Any(static client => client.Data.Test is not null))
            yield break;
        var tests = plan.Clients.Select(static (_, i) => Client(i, "data.test"));
        if (plan.Evaluation.Metric != Metric.Auto)
            yield return new("no client has test rows to score; give at least one client data.test.", ["evaluation.metric", .. tests]);
        if (plan.Evaluation.LocalOnly)
            yield return new("no client has test rows to compare by; give at least one client data.test.", ["evaluation.localOnly", .. tests]);
    }

    private static string Client(int index, string key) => $"clients[{index}].{key}";
}
