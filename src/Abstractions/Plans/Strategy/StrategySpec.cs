namespace FedRLora.Abstractions.Plans;

/// <summary>The round: who takes part, what closes it, what is done with the updates.</summary>
public sealed record StrategySpec
{
    /// <summary>Committed rounds of the job.</summary>
    public int Rounds { get; init; } = 10;

    /// <summary>Selection.</summary>
    public SelectionSpec Selection { get; init; } = new();

    /// <summary>Aggregation.</summary>
    public AggregationSpec Aggregation { get; init; } = new();

    /// <summary>Server optimizer.</summary>
    public ServerOptimizerSpec ServerOptimizer { get; init; } = new();

    /// <summary>When a round closes without its stragglers; none by default.</summary>
    public TimeSpan? Deadline { get; init; }

    /// <summary>Share of the cohort that must report for a round to count, in (0, 1].</summary>
    public double Quorum { get; init; } = 1.0;

    /// <summary>Tries at a round before the job stops.</summary>
    public int MaxAttempts { get; init; } = 3;

    /// <summary>What to do when a site is gone.</summary>
    public SiteLoss SiteLoss { get; init; } = SiteLoss.Wait;

    /// <summary>What closes a round.</summary>
    public TriggerSpec Trigger { get; init; } = new();

    /// <summary>A time budget for each client; null waits for all.</summary>
    public TimeBudgetSpec? TimeBudget { get; init; }

    /// <summary>When a client is left out; null never.</summary>
    public QuarantineSpec? Quarantine { get; init; }

    /// <summary>How often a client tries its work again by itself before it reports a failure.</summary>
    public int ClientRetries { get; init; } = 1;
}

/// <summary>What to do when a site has no live silo left.</summary>
public enum SiteLoss
{
    /// <summary>Wait for it, until the deadline if one is set.</summary>
    Wait,

    /// <summary>The site leaves the round if the quorum holds, and rejoins at the next.</summary>
    Continue,
}
