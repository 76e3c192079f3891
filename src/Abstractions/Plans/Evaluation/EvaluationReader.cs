using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>evaluation</c>.</summary>
internal static class EvaluationReader
{
    private static readonly EvaluationSpec Default = new();

    public static EvaluationSpec Read(PlanSection plan) => plan.Section("evaluation", Default, Evaluation);

    private static EvaluationSpec Evaluation(PlanSection evaluation) => new()
    {
        EveryRounds = evaluation.Integer("everyRounds", Default.EveryRounds, 1, Bounds.Rounds),
        Metric = evaluation.Choice("metric", Default.Metric),
        MaxRows = evaluation.OptionalInteger("maxRows", 1, int.MaxValue),
        MaxNewTokens = evaluation.OptionalInteger("maxNewTokens", 1, 4096),
        LocalOnly = evaluation.Flag("localOnly", Default.LocalOnly),
    };
}
