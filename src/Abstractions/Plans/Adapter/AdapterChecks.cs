namespace FedRLora.Abstractions.Plans;

/// <summary>Which values of an adapter go together.</summary>
internal static class AdapterChecks
{
    public static IEnumerable<PlanConflict> Of(AdapterSpec adapter) =>
    [
        .. adapter.From is null ? [.. DrawnStart(adapter), .. WeightStartChecks.Of(adapter)] : GivenStart(adapter),
        .. adapter.Parts.SelectMany(part => part.Conflicts(adapter)),
        .. Dropout(adapter), .. adapter.Objectives.SelectMany(term => term.Conflicts(adapter)), .. Twice(adapter),
        .. adapter.Roles.SelectMany(role => Sharing(role, adapter.Tensor(role.Name))),
    ];

    /// <summary>Where the plan may say a policy's value: in a short key, or below <c>tensors</c>.</summary>
    public static string[] PathsOf(string role, string key) =>
        [$"adapter.{key}{AdapterParts.Role(role).KeyEnd}", $"adapter.tensors.{role}.{key}"];

    private static IEnumerable<PlanConflict> Twice(AdapterSpec adapter) =>
        from term in adapter.Objectives.GroupBy(static term => term.Rule)
        where term.Count() > 1
        select new PlanConflict($"{term.Key} stands there {term.Count()} times; give it once.", "adapter.objectives");

    private static IEnumerable<PlanConflict> GivenStart(AdapterSpec adapter)
    {
        if (adapter.Heads > 1)
        {
            yield return new(
                $"the adapter that from names has one head, the plan asks for {adapter.Heads}; give heads: 1.", "adapter.heads",
                "adapter.from");
        }
        else if (adapter.Routing.Roles.Concat(adapter.TaskBranch.Roles).FirstOrDefault() is { } other)
        {
            yield return new(
                $"the adapter that from names has no {other.Name}, which the method has; name a method of A and B.", "adapter.from");
        }

        if (adapter.Lifecycle.Any(static step => step.What is LifecycleAction.CalibrateMask))
        {
            yield return new(
                "calibrateMask begins the heads again at zero, which loses those that from names; leave one of the two out.",
                "adapter.from");
        }

        if (NothingTrains(adapter) is { } conflict)
            yield return conflict;
    }

    private static PlanConflict? NothingTrains(AdapterSpec adapter)
    {
        var factors = Factors(adapter);
        if (factors.Any(role => adapter.Tensor(role.Name).Trains))
            return null;
        return new(
            $"neither {Listed(factors, "nor", static role => role.Name)} trains; set "
            + $"{Listed(factors, "or", static role => "trains" + role.KeyEnd)} to true.",
            PathsOf(factors.Reverse(), "trains"));
    }

    // What is added is the product of these, so that it is zero where one of them is.
    private static IEnumerable<PlanConflict> DrawnStart(AdapterSpec adapter)
    {
        var factors = Factors(adapter);
        var zero = factors.Where(role => adapter.Tensor(role.Name).Init.IsZero).ToList();
        static string Init(TensorRole role) => "init" + role.KeyEnd;
        if (adapter.Start == Start.Anchored && zero is [.., var one])
        {
            yield return new(
                $"an anchored start needs {Listed(factors, "and", Init)} that are not zero; give stable: 64, or start: exact.",
                [.. PathsOf(one.Name, "init"), "adapter.start"]);
        }

        if (adapter.Start == Start.Exact && zero.Count == 0)
        {
            yield return new(
                $"an exact start needs {Listed(factors, "or", Init)} zero, or the fresh adapter changes the model; "
                + $"give {Init(factors[^1])}: zero, or start: anchored.",
                ["adapter.start", .. PathsOf(factors.Reverse(), "init")]);
        }

        if (adapter.Start == Start.Exact && zero.Count > 1)
        {
            yield return new(
                $"{Listed(zero, "and", Init)} are {(zero.Count == 2 ? "both" : "all")} zero, a saddle that training never leaves; "
                + "give one of them kaimingUniform, gaussian or stable.",
                [.. PathsOf(zero, "init"), "adapter.start"]);
        }

        if (NothingTrains(adapter) is { } conflict)
        {
            yield return conflict;
        }
        else if (zero is [var only] && !adapter.Tensor(only.Name).Trains)
        {
            yield return new(
                $"{only.Name} is zero and does not train, so the adapter stays zero; set trains{only.KeyEnd}: true, "
                + $"or give {Init(only)} another law.",
                [.. PathsOf(only.Name, "trains"), .. PathsOf([only, .. factors.Where(role => role != only)], "init")]);
        }
    }

    private static IReadOnlyList<TensorRole> Factors(AdapterSpec adapter) => [.. adapter.Roles.Where(static role => role.IsFactor)];

    private static string[] PathsOf(IEnumerable<TensorRole> roles, string key) => [.. roles.SelectMany(role => PathsOf(role.Name, key))];

    // A and B; A, B and C.
    private static string Listed(IReadOnlyList<TensorRole> roles, string last, Func<TensorRole, string> name) =>
        $"{string.Join(", ", roles.SkipLast(1).Select(name))} {last} {name(roles[^1])}";

    private static IEnumerable<PlanConflict> Dropout(AdapterSpec adapter)
    {
        if (adapter.Dropout is { Site: DropoutSite.None, P: > 0 })
        {
            yield return new(
                "p has no effect where site is none; give site: input or hidden, or p: 0.", "adapter.dropout.p", "adapter.dropout.site");
        }
    }

    private static IEnumerable<PlanConflict> Sharing(TensorRole role, TensorPolicy tensor)
    {
        var (name, end) = (role.Name, role.KeyEnd);
        var (trains, scope, seed) = (PathsOf(name, "trains"), PathsOf(name, "scope"), PathsOf(name, "seed"));
        if (role.IsDrawn && tensor is { Scope: Scope.Seed, Trains: true })
        {
            yield return new(
                $"scope seed redraws {name} and would lose its training; set trains{end}: false, or scope{end}: job, task or client.",
                [.. scope, .. trains]);
        }

        // A start that is computed once is the same for all of a scope, with nothing to aggregate.
        if (tensor is { IsAggregated: true, Trains: false } && !(role.IsDrawn && tensor.Init.IsFromWeight))
        {
            // What is computed from the weight is not redrawn from a seed.
            yield return new(
                $"{name} does not train, so there is nothing to aggregate; "
                + $"set scope{end}: {(role.IsDrawn ? "seed" : "client")}, or trains{end}: true.",
                [.. scope, .. trains]);
        }

        if (tensor.Seed == SeedPolicy.Common) yield break;
        if (!role.IsDrawn)
            yield return new($"{name} begins as in the weight, the same for every client; set seed{end}: common.", seed);
        else if (tensor.Scope == Scope.Job)
        {
            yield return new(
                $"clients that aggregate {name} start from one value; set seed{end}: common, or scope{end}: client.", [.. seed, .. scope]);
        }
        else if (tensor is { Scope: Scope.Task, Seed: SeedPolicy.PerClient })
        {
            yield return new(
                $"clients of a task, which aggregate {name}, start from one value; set seed{end}: perTask or common, "
                + $"or scope{end}: client.",
                [.. seed, .. scope]);
        }
    }
}
