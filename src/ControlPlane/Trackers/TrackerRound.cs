using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Trackers;

/// <summary>A number of a round under the name that every tracker has it by.</summary>
/// <param name="Name">Letters, digits, dashes, dots, underscores, spaces and slashes: what all trackers take.</param>
/// <param name="Value">A finite number.</param>
internal readonly record struct TrackerPoint(string Name, double Value);

/// <summary>A committed round as trackers get it: each name at most once, and no point where there is no number.</summary>
/// <param name="Step">The round.</param>
/// <param name="At">When it was committed.</param>
/// <param name="Points">Its numbers.</param>
internal sealed record TrackerRound(int Step, DateTimeOffset At, IReadOnlyList<TrackerPoint> Points)
{
    private static readonly (string Name, ClientOutcome Outcome)[] Counted =
    [
        ("trained", ClientOutcome.Trained), ("late", ClientOutcome.Late), ("failed", ClientOutcome.Failed),
        ("refused", ClientOutcome.Refused), ("in quarantine", ClientOutcome.Quarantined),
    ];

    /// <summary>The points of a round, the same numbers as its line of metrics.jsonl has.</summary>
    /// <param name="round">The round.</param>
    /// <param name="at">When it was committed: <see cref="PointTimes"/>.</param>
    public static TrackerRound Of(RoundView round, DateTimeOffset at)
    {
        var few = RoundAggregate.Of(round);
        var points = new List<TrackerPoint>();
        Spread("loss", few.Loss);
        if (few.Score is not null) Spread("score", few.Score);
        foreach (var task in few.Tasks ?? [])
        {
            var name = Identifiers.Of(task.Task);
            Add($"loss by task/{name}", task.Loss.Mean);
            Add($"score by task/{name}", task.Score?.Mean);
            Add($"base/{name}", task.Base);
        }

        if (few.Norm is not null) Spread("update norm", few.Norm);
        if (few.ClientSeconds is not null) Spread("client seconds", few.ClientSeconds);
        Add("agreement", few.Coherence);
        Add("bytes sent", few.UpdateBytes);
        Add("seconds", few.Seconds);
        var parts = round.Timing?.Parts ?? new Dictionary<string, double>();
        foreach (var (part, seconds) in parts.OrderBy(static part => part.Key, StringComparer.Ordinal))
            Add($"seconds by part/{part}", seconds);
        if (round.Round > 0)
        {
            foreach (var (name, outcome) in Counted) Add($"clients/{name}", few.Outcomes.GetValueOrDefault(outcome));
        }

        return new(round.Round, at, points);

        void Spread(string name, Spread spread)
        {
            Add($"{name}/mean", spread.Mean);
            Add($"{name}/p10", spread.P10);
            Add($"{name}/median", spread.Median);
            Add($"{name}/p90", spread.P90);
            Add($"{name}/worst", spread.Worst);
            Add($"{name}/left out", spread.N + spread.LeftOut > 0 ? spread.LeftOut : null);
        }

        void Add(string name, double? value)
        {
            if (ClientRow.Finite(value) is { } number) points.Add(new(name, number));
        }
    }
}

/// <summary>
/// When rounds were committed, in their order from round 0. One of which nobody wrote that down comes its seconds after the one before,
/// the first of such a run in 1970: the times are the same however often they are asked for.
/// </summary>
internal sealed class PointTimes
{
    private DateTimeOffset _last = DateTimeOffset.UnixEpoch;

    /// <summary>When the next round was committed.</summary>
    public DateTimeOffset Next(RoundView round) =>
        _last = round.Timing?.CommittedAt ?? _last.AddSeconds(Math.Max(0, ClientRow.Finite(round.Seconds) ?? 0));
}
