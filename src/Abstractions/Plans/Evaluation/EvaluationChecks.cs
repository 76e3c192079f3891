namespace FedRLora.Abstractions.Plans;

/// <summary>Whether a client has rows to score, where scores are asked for.</summary>
internal static class EvaluationChecks
{
    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        if (plan.Clients.Count == 0 || plan.Clients.Any(static client => client.Data.Test is not null))
            yield break;
        var tests = plan.Clients.Select(static (_, i) => ClientChecks.Path(i, "data.test"));
        if (plan.Evaluation.Metric != Metric.Auto)
            yield return new("no client has test rows to score; give at least one client data.test.", ["evaluation.metric", .. tests]);
        if (plan.Evaluation.LocalOnly)
            yield return new(
                "no client has test rows to compare by; give at least one client data.test.", ["evaluation.localOnly", .. tests]);
    }
}
