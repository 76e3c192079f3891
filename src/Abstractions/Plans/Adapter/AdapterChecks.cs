using static FedRLora.Abstractions.Plans.LowRankFactors;

namespace FedRLora.Abstractions.Plans;

/// <summary>Which values of an adapter go together.</summary>
internal static class AdapterChecks
{
    public static IEnumerable<PlanConflict> Of(AdapterSpec adapter) =>
    [
        .. adapter.From is null ? DrawnStart(adapter) : GivenStart(adapter), .. adapter.Parts.SelectMany(part => part.Conflicts(adapter)),
        .. Dropout(adapter), .. adapter.Roles.SelectMany(role => Sharing(role, adapter.Tensor(role.Name))),
    ];

    /// <summary>Where the plan may say a policy's value: in a short key, or below <c>tensors</c>.</summary>
    public static string[] PathsOf(string role, string key) =>
        [$"adapter.{key}{AdapterParts.Role(role).KeyEnd}", $"adapter.tensors.{role}.{key}"];

    private static IEnumerable<PlanConflict> GivenStart(AdapterSpec adapter)
    {
        if (adapter.Heads > 1)
        {
            yield return new(
                $"the adapter that from names has one head, the plan asks for {adapter.Heads}; give heads: 1.", "adapter.heads",
                "adapter.from");
        }

        if (!adapter.Tensor(A).Trains && !adapter.Tensor(B).Trains)
            yield return NothingTrains;
    }

    private static PlanConflict NothingTrains =>
        new("neither A nor B trains; set trainsA or trainsB to true.", [.. PathsOf(B, "trains"), .. PathsOf(A, "trains")]);

    private static IEnumerable<PlanConflict> DrawnStart(AdapterSpec adapter)
    {
        var (a, b) = (adapter.Tensor(A), adapter.Tensor(B));
        var (zeroA, zeroB) = (a.Init.Law == InitLaw.Zero, b.Init.Law == InitLaw.Zero);
        var (initA, initB) = (PathsOf(A, "init"), PathsOf(B, "init"));
        if (adapter.Start == Start.Anchored && (zeroA || zeroB))
        {
            yield return new(
                "an anchored start needs initA and initB that are not zero; give stable: 64, or start: exact.",
                [.. zeroB ? initB : initA, "adapter.start"]);
        }

        if (adapter.Start == Start.Exact && !zeroA && !zeroB)
        {
            yield return new(
                "an exact start needs initA or initB zero, or the fresh adapter changes the model; give initB: zero, or start: anchored.",
                ["adapter.start", .. initB, .. initA]);
        }

        if (adapter.Start == Start.Exact && zeroA && zeroB)
        {
            yield return new(
                "initA and initB are both zero, a saddle that training never leaves; give one of them kaimingUniform, gaussian or stable.",
                [.. initA, .. initB, "adapter.start"]);
        }

        if (!a.Trains && !b.Trains)
        {
            yield return NothingTrains;
        }
        else if (!b.Trains && zeroB && !zeroA)
        {
            yield return new(
                "B is zero and does not train, so the adapter stays zero; set trainsB: true, or give initB another law.",
                [.. PathsOf(B, "trains"), .. initB, .. initA]);
        }
        else if (!a.Trains && zeroA && !zeroB)
        {
            yield return new(
                "A is zero and does not train, so the adapter stays zero; set trainsA: true, or give initA another law.",
                [.. PathsOf(A, "trains"), .. initA, .. initB]);
        }
    }

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
                $"scope seed redraws {name} and would lose its training; set trains{end}: false, or scope{end}: job or client.",
                [.. scope, .. trains]);
        }

        if (tensor is { Scope: Scope.Job, Trains: false })
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
    }
}
