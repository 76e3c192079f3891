using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Rendering;

/// <summary>Where a run stands, and the rounds that the reader has not seen: of a run in this process, and of one on silos.</summary>
internal sealed record RunSnapshot
{
    /// <summary>The run.</summary>
    public required string Run { get; init; }

    /// <summary>The plan's name.</summary>
    public required string Name { get; init; }

    /// <summary>Where it stands.</summary>
    public required JobStatus Status { get; init; }

    /// <summary>Why it stopped.</summary>
    public string? Reason { get; init; }

    /// <summary>Rounds of the plan.</summary>
    public required int Rounds { get; init; }

    /// <summary>The open round; the last one when the run is over.</summary>
    public required int Round { get; init; }

    /// <summary>The attempt at the open round.</summary>
    public int Attempt { get; init; } = 1;

    /// <summary>train, confirm, evaluate, aggregate, commit or idle.</summary>
    public required string Phase { get; init; }

    /// <summary>Clients of the cohort that have reported in this phase.</summary>
    public int Reported { get; init; }

    /// <summary>Clients of the cohort.</summary>
    public int Cohort { get; init; }

    /// <summary>What it waits for, or why it does not go on.</summary>
    public HoldView? Hold { get; init; }

    /// <summary>Files that were reported and not found, a line for each client.</summary>
    public IReadOnlyList<string> Missing { get; init; } = [];

    /// <summary>Committed rounds after those that the reader knows.</summary>
    public IReadOnlyList<RoundSummary> NewRounds { get; init; } = [];

    /// <summary>What a coordinator says.</summary>
    public static RunSnapshot Of(JobProgress run) => new()
    {
        Run = run.JobId, Name = run.Name, Status = run.Status, Reason = run.Reason, Rounds = run.Rounds, Round = run.Round,
        Attempt = run.Attempt, Phase = run.Phase, Reported = run.Reported, Cohort = run.Cohort, Hold = HoldView.From(run.Hold),
        Missing = run.Missing, NewRounds = run.NewRounds,
    };
}
