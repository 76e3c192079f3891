namespace FedRLora.Abstractions.Plans;

/// <summary>Whether each fault names clients that exist, and only what its kind uses.</summary>
internal static class FaultChecks
{
    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        if (plan.Faults.Count == 0)
            return [];
        var ids = plan.Clients.Select(static client => client.Id).ToHashSet(StringComparer.Ordinal);
        return plan.Faults.SelectMany((fault, index) => Of(plan, fault, $"faults[{index}]", ids));
    }

    private static IEnumerable<PlanConflict> Of(FederationPlan plan, FaultSpec fault, string path, HashSet<string> ids)
    {
        var kind = char.ToLowerInvariant(fault.Kind.ToString()[0]) + fault.Kind.ToString()[1..];
        string[] common = [$"{path}.kind", path];
        if (fault.Clients.Count > 0 && fault.Share is not null)
            yield return new("clients are named already; remove one of share and clients.", [$"{path}.share", $"{path}.clients"]);
        if (fault.Clients.Count == 0 && fault.Share is null)
            yield return new("it happens to nobody; give clients: [ID, ...] or share: 0.3.", [path, $"{path}.share", $"{path}.clients"]);
        for (var i = 0; i < fault.Clients.Count; i++)
        {
            // A client whose own id could not be read, which is then empty, may be the one that is meant.
            if (!ids.Contains(fault.Clients[i]) && !ids.Contains(""))
                yield return new($"\"{fault.Clients[i]}\" is the id of no client of this plan.", $"{path}.clients[{i}]", "clients");
        }

        if (fault.Kind == FaultKind.Silent && plan.Strategy.Deadline is null)
            yield return new(
                "a round would wait for a silent client for ever; give strategy.deadline, or kind: fail.",
                [.. common, "strategy.deadline"]);
        if (fault.Kind == FaultKind.Delay && fault.Delay is null)
            yield return new("a delay has to be given; give delay: 30s.", [.. common, $"{path}.delay"]);
        if (fault.Kind != FaultKind.Delay && fault.Delay is not null)
            yield return new($"{kind} does not use it; remove it, or give kind: delay.", [$"{path}.delay", .. common]);
        if (fault.Kind is not (FaultKind.Huge or FaultKind.SignFlip) && fault.Scale is not null)
            yield return new($"{kind} does not use it; remove it, or give kind: huge or signFlip.", [$"{path}.scale", .. common]);
        foreach (var wrong in Rounds(plan, fault.Rounds, $"{path}.rounds"))
            yield return wrong;
    }

    private static IEnumerable<PlanConflict> Rounds(FederationPlan plan, FaultRounds rounds, string path)
    {
        if (rounds.From > plan.Strategy.Rounds)
            yield return new($"{rounds.From} is after the last of {plan.Strategy.Rounds} rounds.", $"{path}.from", "strategy.rounds");
        if (rounds.To < rounds.From)
            yield return new($"{rounds.To} is before the first round, {rounds.From}.", $"{path}.to", $"{path}.from");
        if (rounds.Lasting is not null && rounds.Every is null)
            yield return new("it is a part of a period; give every, or remove it.", $"{path}.lasting", $"{path}.every");
        if (rounds.Lasting > rounds.Every)
            yield return new($"{rounds.Lasting} rounds exceed the period of {rounds.Every}.", $"{path}.lasting", $"{path}.every");
    }
}
