using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>strategy</c> and the sections in it; <see cref="AggregationReader"/> reads the rule.</summary>
internal static class StrategyReader
{
    private static readonly StrategySpec Default = new();

    public static StrategySpec Read(PlanSection plan) => plan.Section("strategy", Default, Strategy);

    private static StrategySpec Strategy(PlanSection strategy)
    {
        strategy.RefuseYet("updateTransforms", "transforms", "secureAggregation");
        return new()
        {
            Rounds = strategy.Integer("rounds", Default.Rounds, 1, Bounds.Rounds),
            Selection = strategy.Section("selection", Default.Selection, Selection, shorthand: "rule"),
            Aggregation = AggregationReader.Read(strategy),
            ServerOptimizer = strategy.Section("serverOptimizer", Default.ServerOptimizer, ServerOptimizer, shorthand: "rule"),
            Deadline = strategy.Duration("deadline", Bounds.Wait),
            Quorum = strategy.Number("quorum", Default.Quorum, Above(0, 1)),
            MaxAttempts = strategy.Integer("maxAttempts", Default.MaxAttempts, 1, 100),
            SiteLoss = strategy.Choice("siteLoss", Default.SiteLoss),
            Trigger = strategy.Section("trigger", Default.Trigger, Trigger, shorthand: "rule"),
            TimeBudget = strategy.Section<TimeBudgetSpec?>("timeBudget", null, TimeBudget, shorthand: "factor"),
            Quarantine = strategy.Section<QuarantineSpec?>("quarantine", null, Quarantine, shorthand: "after"),
            ClientRetries = strategy.Integer("clientRetries", Default.ClientRetries, 0, 10),
        };
    }

    private static SelectionSpec Selection(PlanSection selection) => new()
    {
        Rule = selection.Choice("rule", Default.Selection.Rule),
        Fraction = selection.Number("fraction", Default.Selection.Fraction, Above(0, 1)),
        Overselect = selection.Number("overselect", Default.Selection.Overselect, Closed(1, 10)),
    };

    private static ServerOptimizerSpec ServerOptimizer(PlanSection optimizer) => new()
    {
        Rule = optimizer.Name("rule", Default.ServerOptimizer.Rule, StrategyNames.ServerOptimizers),
        LearningRate = optimizer.OptionalNumber("learningRate", Above(0, 100)),
        Momentum = optimizer.OptionalNumber("momentum", Below(0, 1)),
        Beta1 = optimizer.OptionalNumber("beta1", Below(0, 1)),
        Beta2 = optimizer.OptionalNumber("beta2", Below(0, 1)),
        Tau = optimizer.OptionalNumber("tau", Above(0, 1)),
        Variant = optimizer.Choice("variant", ServerVariant.Reddi) is var variant && optimizer.Has("variant") ? variant : null,
    };

    private static TriggerSpec Trigger(PlanSection trigger) => new()
    {
        Rule = trigger.Choice("rule", Default.Trigger.Rule),
        BufferSize = trigger.Integer("bufferSize", Default.Trigger.BufferSize, 1, Bounds.Rounds),
        Concurrency = trigger.OptionalInteger("concurrency", 1, Bounds.Rounds),
        StalenessExponent = trigger.Number("stalenessExponent", Default.Trigger.StalenessExponent, Closed(0, 10)),
        MaxStaleness = trigger.OptionalInteger("maxStaleness", 0, Bounds.Rounds),
    };

    private static TimeBudgetSpec TimeBudget(PlanSection budget)
    {
        var spec = new TimeBudgetSpec();
        return new()
        {
            Factor = budget.Number("factor", spec.Factor, Closed(1, 1000)),
            AtLeast = budget.Duration("atLeast", Bounds.Wait) ?? spec.AtLeast,
        };
    }

    private static QuarantineSpec Quarantine(PlanSection quarantine) => new()
    {
        After = quarantine.Integer("after", new QuarantineSpec().After, 1, 1000),
        Rounds = quarantine.OptionalInteger("rounds", 1, Bounds.Rounds),
    };
}
