namespace FedRLora.Abstractions.Plans;

/// <summary>Whether a server optimizer has its own parameters and no others.</summary>
internal static class ServerOptimizerChecks
{
    private const string Section = "strategy.serverOptimizer";

    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        var spec = plan.Strategy.ServerOptimizer;
        var used = StrategyNames.ParametersOfServer(spec.Rule);
        (string Key, bool Given)[] parameters =
        [
            ("learningRate", spec.LearningRate is not null), ("momentum", spec.Momentum is not null), ("beta1", spec.Beta1 is not null),
            ("beta2", spec.Beta2 is not null), ("tau", spec.Tau is not null), ("variant", spec.Variant is not null),
        ];
        foreach (var (key, _) in parameters.Where(parameter => parameter.Given && !used.Contains(parameter.Key)))
        {
            yield return new(
                $"{spec.Rule} does not use it, only {string.Join(", ", used)}; remove it.", $"{Section}.{key}", $"{Section}.rule");
        }
    }
}
