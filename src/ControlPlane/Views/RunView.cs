using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>A run as the page, the terminal and the API show it: where it stands, its sites and clients, its rounds so far.</summary>
public sealed record RunView
{
    /// <summary>The version of the schema.</summary>
    public int Schema { get; init; } = Json.Schema;

    /// <summary>Of a snapshot: why it is sent in the place of the events before it; null where there were none to send.</summary>
    public string? Reason { get; init; }

    /// <summary>Its name.</summary>
    public required string Run { get; init; }

    /// <summary>When this was so.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>Where it stands.</summary>
    public required RunState State { get; init; }

    /// <summary>The run of the same plan that shares nothing, where the plan asks for one; it begins when this one is finished.</summary>
    public string? LocalOnlyRun { get; init; }

    /// <summary>Its sites, in ordinal order.</summary>
    public required IReadOnlyList<SiteNow> Sites { get; init; }

    /// <summary>Every client of the open round, in ordinal order.</summary>
    public required IReadOnlyList<ClientState> Clients { get; init; }

    /// <summary>The committed rounds; the last one alone says its tasks one by one.</summary>
    public required IReadOnlyList<RoundAggregate> Rounds { get; init; }
}

/// <summary>Where a run stands.</summary>
public sealed record RunState
{
    /// <summary>The version of the schema.</summary>
    public int Schema { get; init; } = Json.Schema;

    /// <summary>The plan's name.</summary>
    public required string Name { get; init; }

    /// <summary>Whether it runs, or how it ended.</summary>
    public required JobStatus Status { get; init; }

    /// <summary>One line for a person: where it stands, and why.</summary>
    public required string Text { get; init; }

    /// <summary>Why it stopped.</summary>
    public string? Reason { get; init; }

    /// <summary>What it waits for.</summary>
    public HoldView? Hold { get; init; }

    /// <summary>Rounds of the plan.</summary>
    public required int Rounds { get; init; }

    /// <summary>The last committed round; null before round 0.</summary>
    public int? Committed { get; init; }

    /// <summary>The digest of its manifest, which is that of the run so far.</summary>
    public string? Sha256 { get; init; }

    /// <summary>The open round; the last one when it is over.</summary>
    public required int Round { get; init; }

    /// <summary>The attempt at it.</summary>
    public required int Attempt { get; init; }

    /// <summary>train, confirm, evaluate, aggregate, commit or idle.</summary>
    public required string Phase { get; init; }

    /// <summary>Clients that have reported in this phase.</summary>
    public required int Reported { get; init; }

    /// <summary>Of how many.</summary>
    public required int Cohort { get; init; }

    /// <summary>Files that were reported and that their site did not find, a line for each client, the first few.</summary>
    public IReadOnlyList<string> Missing { get; init; } = [];

    /// <summary>Sites of the plan without a live silo, in ordinal order.</summary>
    public IReadOnlyList<string> AbsentSites { get; init; } = [];

    /// <summary>Seconds in committed rounds, of those that were measured.</summary>
    public double? ElapsedSeconds { get; init; }

    /// <summary>Seconds of a round: the median of the last ten that were measured, without round 0.</summary>
    public double? MedianSeconds { get; init; }

    /// <summary>When it ends if each round takes as long; null where it does not run, or no round was measured.</summary>
    public DateTimeOffset? ForecastEnd { get; init; }

    /// <summary>Since when its coordinator has not answered, so that all of this may be old; null where it answers.</summary>
    public DateTimeOffset? StaleSince { get; init; }

    /// <summary>Why not, in one line.</summary>
    public string? StaleReason { get; init; }
}

/// <summary>A site of a run.</summary>
public sealed record SiteNow
{
    /// <summary>The site.</summary>
    public required string Site { get; init; }

    /// <summary>Its clients in the plan.</summary>
    public required int Clients { get; init; }

    /// <summary>Whether it has no live silo.</summary>
    public required bool Absent { get; init; }

    /// <summary>How long it has had none; null where it has one, or that was before anybody looked.</summary>
    public double? AbsentSeconds { get; init; }

    /// <summary>The silo that served it last, of a site that has none.</summary>
    public string? LastSilo { get; init; }

    /// <summary>When a client of it last reported; null where none has since this silo follows the run.</summary>
    public DateTimeOffset? LastHeard { get; init; }
}

/// <summary>A client in the open round.</summary>
/// <param name="Client">The client.</param>
/// <param name="Task">Its task.</param>
/// <param name="Site">Its site.</param>
/// <param name="Phase">Train or evaluate.</param>
/// <param name="Stage">What it does.</param>
/// <param name="Seconds">From its assignment to its report; null where it has not reported, or that was not measured.</param>
/// <param name="Reason">Why it failed, or is not waited for.</param>
public sealed record ClientState(
    string Client, string Task, string Site, RoundPhase Phase, ClientStage Stage, double? Seconds, string? Reason);

/// <summary>
/// Clients of the open round of the state before that do something else now; a state of another round or attempt begins with none.
/// </summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Clients">The clients.</param>
public sealed record ClientChanges(int Schema, IReadOnlyList<ClientState> Clients);
