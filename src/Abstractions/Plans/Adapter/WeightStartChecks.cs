using static FedRLora.Abstractions.Plans.LowRankFactors;

namespace FedRLora.Abstractions.Plans;

/// <summary>What goes together with a start that is computed from the frozen weight, once, when a run begins.</summary>
internal static class WeightStartChecks
{
    public static IEnumerable<PlanConflict> Of(AdapterSpec adapter)
    {
        foreach (var role in adapter.Roles.Where(role => role.IsDrawn && adapter.Tensor(role.Name).Init.IsFromWeight))
        {
            foreach (var conflict in Of(adapter, role, adapter.Tensor(role.Name))) yield return conflict;
        }

        var (a, b) = (adapter.Tensor(A).Init.Law, adapter.Tensor(B).Init.Law);
        var pair = IsPair(a) ? a : b;
        if ((IsPair(a) || IsPair(b)) && a != b)
        {
            yield return new(
                $"{Word(pair)} gives A and B of one decomposition; give initA and initB the same law.",
                [.. AdapterChecks.PathsOf(IsPair(a) ? B : A, "init"), .. AdapterChecks.PathsOf(IsPair(a) ? A : B, "init")]);
        }

        if ((IsPair(a) || b == InitLaw.Subspace) && (adapter.Heads > 1 || adapter.Downs == Downs.PerHead))
        {
            yield return new(
                "a start computed from the weight is one for a layer, so every head would be the same; give heads: 1, or another law.",
                ["adapter.heads", .. AdapterChecks.PathsOf(B, "init"), .. AdapterChecks.PathsOf(A, "init")]);
        }

        if (adapter.SubspaceFrom.Count > 0 && b != InitLaw.Subspace)
        {
            yield return new(
                "no tensor begins with a subspace; give initB: subspace, or remove subspaceFrom.",
                ["adapter.subspaceFrom", .. AdapterChecks.PathsOf(B, "init")]);
        }
    }

    private static IEnumerable<PlanConflict> Of(AdapterSpec adapter, TensorRole role, TensorPolicy tensor)
    {
        var (law, end) = (Word(tensor.Init.Law), role.KeyEnd);
        var init = AdapterChecks.PathsOf(role.Name, "init");
        if (tensor.Init.Law == InitLaw.Subspace ? role.Name != B : role.Name is not (A or B))
        {
            yield return new(
                $"{law} gives no {role.Name}, {(tensor.Init.Law == InitLaw.Subspace ? "but B alone" : "but A and B")}; "
                + $"give init{end} another law.", init);
            yield break;
        }

        if (tensor.Scope == Scope.Seed)
        {
            yield return new(
                $"{law} is computed once and not redrawn from a seed; set scope{end}: job, task or client.",
                [.. AdapterChecks.PathsOf(role.Name, "scope"), .. init]);
        }

        if (tensor.Seed != SeedPolicy.Common)
        {
            yield return new(
                $"{law} begins as in the weight, the same for every client; set seed{end}: common.",
                [.. AdapterChecks.PathsOf(role.Name, "seed"), .. init]);
        }
    }

    private static bool IsPair(InitLaw law) => law is InitLaw.Pissa or InitLaw.Olora or InitLaw.Svd;

    private static string Word(InitLaw law) => law.ToString().ToLowerInvariant();
}
