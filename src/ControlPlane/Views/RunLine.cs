using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>What a run waits for, or why it does not go on, in its parts.</summary>
/// <param name="Kind">What kind.</param>
/// <param name="Text">One line for a person.</param>
/// <param name="Sites">The sites it waits for.</param>
/// <param name="Clients">The clients it waits for, the first few.</param>
/// <param name="ClientCount">How many clients it waits for.</param>
/// <param name="Have">Clients that are in; null where it is not the point.</param>
/// <param name="Of">Of how many.</param>
/// <param name="Need">The updates that the quorum needs; null where it is not the point.</param>
/// <param name="Seconds">How long it lasts.</param>
/// <param name="SecondsLeft">How long until the deadline ends it.</param>
/// <param name="Lines">Reasons in a line each: of clients that failed, of a pause, of what has changed.</param>
/// <param name="Identity">Equal as long as it is the same that holds, whatever the clock says and whoever reports meanwhile.</param>
public sealed record HoldView(
    HoldKind Kind, string Text, IReadOnlyList<string> Sites, IReadOnlyList<string> Clients, int ClientCount, int? Have, int? Of, int? Need,
    double? Seconds, double? SecondsLeft, IReadOnlyList<string> Lines, string Identity)
{
    /// <summary>The parts of a hold; null for none.</summary>
    public static HoldView? From(Hold? hold) => hold is null ? null : new(
        hold.Kind, hold.Text, [.. hold.Sites.Select(static site => site.Site)], hold.Clients, hold.ClientCount,
        hold.Of > 0 ? hold.Have : null, hold.Of > 0 ? hold.Of : null, hold.Need > 0 ? hold.Need : null,
        hold.For?.TotalSeconds, hold.Left?.TotalSeconds, hold.Lines, hold.Identity);
}

/// <summary>A run in a list of runs.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">Its name.</param>
/// <param name="Name">The plan's name.</param>
/// <param name="Status">Where it stands.</param>
/// <param name="Committed">Rounds with an update that are committed.</param>
/// <param name="Round">The open round; the last one when it is over.</param>
/// <param name="Rounds">Rounds of the plan.</param>
/// <param name="Phase">train, confirm, evaluate, aggregate, commit or idle.</param>
/// <param name="Reason">Why it stopped.</param>
/// <param name="Hold">What it waits for.</param>
public sealed record RunLine(
    int Schema, string Run, string Name, JobStatus Status, int Committed, int Round, int Rounds, string Phase, string? Reason,
    HoldView? Hold)
{
    /// <summary>A run as its coordinator tells of it.</summary>
    public static RunLine Of(JobProgress run) => new(
        Json.Schema, run.JobId, run.Name, run.Status, CommittedOf(run), run.Round, run.Rounds, run.Phase, run.Reason,
        HoldView.From(run.Hold));

    /// <summary>Rounds with an update: the open one, and round 0, are none.</summary>
    public static int CommittedOf(JobProgress run) => run.Status == JobStatus.Finished ? run.Rounds : Math.Max(0, run.Round - 1);
}

/// <summary>The runs of a cluster.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Runs">By name.</param>
public sealed record RunList(int Schema, IReadOnlyList<RunLine> Runs);
