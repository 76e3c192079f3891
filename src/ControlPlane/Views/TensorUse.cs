using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>Of a tensor of a method: who owns it, who receives it, and how large it is.</summary>
/// <param name="Tensor">Its role.</param>
/// <param name="Scope">Who owns it.</param>
/// <param name="ReceivedBy">Who receives it, in words.</param>
/// <param name="Bytes">Of one client's; null where no model says it.</param>
/// <param name="BytesEachWay">Of it, what leaves a client in a round, and as much comes back; null where no model says it.</param>
/// <param name="LeavesTheSite">Whether the coordinator aggregates it: it trains, and belongs to more than its client.</param>
internal sealed record TensorUse(string Tensor, Scope Scope, string ReceivedBy, long? Bytes, long? BytesEachWay, bool LeavesTheSite)
{

    /// <summary>Every tensor of a method.</summary>
    /// <param name="spec">The method.</param>
    /// <param name="bytesOf">Bytes of one client's tensors by their role on a model; null where none is known.</param>
    public static IReadOnlyList<TensorUse> Of(AdapterSpec spec, IReadOnlyDictionary<string, long>? bytesOf) => [.. spec.Roles.Select(role =>
    {
        var (policy, bytes) = (spec.Tensor(role.Name), bytesOf?[role.Name]);
        var moves = spec.Moves(role.Name);
        return new TensorUse(role.Name, policy.Scope, ReceivedByOf(policy.Scope), bytes, bytes is null || moves ? bytes : 0, moves);
    })];

    /// <summary>Bytes that leave a client in a round, and as many come back, by the scope of their tensors; null without sizes.</summary>
    public static IReadOnlyDictionary<string, long>? ByScope(IReadOnlyList<TensorUse> tensors) =>
        tensors.All(static tensor => tensor.Bytes is null) ? null
        : tensors.Where(static tensor => tensor.LeavesTheSite).GroupBy(static tensor => Words.Named(tensor.Scope)).ToDictionary(
            static scope => scope.Key, static scope => scope.Sum(static tensor => tensor.BytesEachWay!.Value));

    /// <summary>What leaves a site and comes back, in a sentence.</summary>
    public static string Leaves(IReadOnlyList<TensorUse> tensors, AdapterSpec spec) => $"Leaves the site: {Leaving(tensors, spec)}.";

    /// <summary>What leaves a site under a plan, in a sentence.</summary>
    public static string Leaves(IReadOnlyList<TensorUse> tensors, FederationPlan plan) => $"Leaves the site: {Leaving(tensors, plan)}.";

    /// <summary>What leaves a site under a plan, beside a title that says so.</summary>
    public static string Leaving(IReadOnlyList<TensorUse> tensors, FederationPlan plan) =>
        Leaving(tensors, plan.Adapter) + (plan.Telemetry.SendsSteps ? "; besides, points of steps (telemetry.steps: hub)" : "");

    /// <summary>What leaves a site and comes back, beside a title that says so.</summary>
    public static string Leaving(IReadOnlyList<TensorUse> tensors, AdapterSpec spec)
    {
        var (sent, bytes) = (tensors.Where(static tensor => tensor.LeavesTheSite).ToList(), ByScope(tensors));
        if (sent.Count == 0) return $"no tensor{Received(spec)}";
        var scopes = sent.GroupBy(static tensor => Words.Named(tensor.Scope)).ToList();
        var each = string.Join(" and ", scopes.Select(scope => $"{string.Join(" and ", scope.Select(static tensor => tensor.Tensor))} "
            + $"(scope {scope.Key}{(bytes is null || scopes.Count == 1 ? "" : $", {Words.Bytes(bytes[scope.Key])}")})"));
        var all = bytes is null ? "" : $": {Words.Bytes(bytes.Values.Sum())} a client and round, and as much comes back";
        return $"what training changed in {each}{all}{(spec.Statistics.Count == 0 ? "" : Besides(spec, isCounted: bytes is null))}"
            + Received(spec);
    }

    // What was computed from the weight when the run began, and travels one way.
    private static string Received(AdapterSpec spec)
    {
        var computed = spec.Roles.Where(role => role.IsDrawn && spec.Tensor(role.Name).Init.IsFromWeight).ToList();
        if (computed.Count == 0) return "";
        var what = string.Join(" and ", computed.Select(role => spec.Moves(role.Name) ? $"the start of {role.Name}" : role.Name));
        return $"; clients receive {what}, computed once from the weight";
    }

    // Their lengths follow from the objective and the layers.
    private static string Besides(AdapterSpec spec, bool isCounted) =>
        $"; besides, statistics ({string.Join(" and ", spec.Statistics.Select(static family => family.Name))}), of which all clients "
        + $"receive the sum{(isCounted ? "" : ", not counted here")}";

    private static string ReceivedByOf(Scope scope) => scope switch
    {
        Scope.Job => "all clients",
        Scope.Task => "clients of its task",
        Scope.Client => "nobody",
        Scope.Seed => "nobody: redrawn",
        _ => throw new ArgumentOutOfRangeException(nameof(scope), scope, "no scope of a tensor"),
    };
}
