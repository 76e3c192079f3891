using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>A bar for each round, cut into what it took its time for.</summary>
internal sealed record Timeline(IReadOnlyList<RoundAggregate> Rounds) : Plot("timeline", "Seconds of rounds, by part")
{
    private const int Wide = 980, High = 240, Left = 70, Right = 12, Top = 10, Bottom = 38;

    private const string Whole = "";

    private static readonly (string Part, string Style, string About)[] Parts =
    [
        (RoundTiming.Retry, "s7", "retry: in attempts that were given up"),
        (RoundTiming.Select, "s6", "select: drawing the cohort"),
        (RoundTiming.Train, "s0", "train: to the median report of the cohort"),
        (RoundTiming.Wait, "s1", "wait: for stragglers, from the median report to the close"),
        (RoundTiming.Confirm, "s5", "confirm: at the sites"),
        (RoundTiming.Aggregate, "s2", "aggregate: updates to one state"),
        (RoundTiming.Evaluate, "s3", "evaluate: scoring"),
        (RoundTiming.Commit, "s4", "commit: writing the round"),
        (Whole, "none", "not told apart: its parts were not written down"),
    ];

    /// <inheritdoc/>
    public override (int Width, int Height) Size => (Wide, High);

    /// <inheritdoc/>
    public override bool IsEmpty => Rounds.All(static round => PartsOf(round).Count == 0);

    /// <inheritdoc/>
    public override string About
    {
        get
        {
            var all = Rounds.Select(static round => PartsOf(round).Sum(static part => part.Value));
            double[] seconds = [.. all.Where(static one => one > 0)];
            return $"{Title}: {Words.Count(seconds.Length, "round")}, the longest {Words.Seconds(seconds.Max())}, "
                + $"all of them {Words.Seconds(seconds.Sum())}.";
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<LegendEntry> Legend =>
    [
        .. Parts.Where(part => Rounds.Any(round => PartsOf(round).ContainsKey(part.Part)))
            .Select(static part => new LegendEntry(part.About, $"bar {part.Style}", true)),
    ];

    /// <inheritdoc/>
    public override void Draw(StringBuilder svg)
    {
        var bars = Rounds.Select(static round => (round, parts: PartsOf(round))).ToList();
        var y = Axis.Over(bars.Select(static bar => bar.parts.Sum(static part => part.Value)), fromZero: true);
        var (first, last) = (Rounds[0].Round, Rounds[^1].Round);
        var step = (double)(Wide - Left - Right) / (last - first + 1);
        var width = step > 4 ? step - Math.Min(4, step * 0.2) : step;
        foreach (var tick in y.Ticks)
        {
            svg.Line("grid", Left, Y(tick), Wide - Right, Y(tick));
            svg.Text(Left - 8, Y(tick) + 4, "end", y.Label(tick) + " s");
        }

        var paths = Parts.ToDictionary(static part => part.Part, static _ => new StringBuilder());
        foreach (var (round, parts) in bars)
        {
            var sum = 0.0;
            foreach (var (part, seconds) in Parts.Select(part => (part.Part, parts.GetValueOrDefault(part.Part))))
            {
                if (seconds <= 0) continue;
                paths[part].Append($"M{Svg.N(X(round.Round))} {Svg.N(Y(sum))}h{Svg.N(width)}V{Svg.N(Y(sum += seconds))}h{Svg.N(-width)}z");
            }

            if (round.Timing is { Attempts: > 1 } timing && step > 6)
                svg.Text(X(round.Round) + width / 2, Math.Max(10, Y(sum) - 3), "middle", $"×{timing.Attempts}", "attempts");
        }

        foreach (var (part, style, about) in Parts.Where(part => paths[part.Part].Length > 0))
            svg.Append($"<path class=\"bar {style}\" d=\"{paths[part]}\"><title>{Markup.Escape(about)}</title></path>\n");
        var axis = Axis.Whole(first, last, ticks: 12);
        foreach (var tick in axis.Ticks.Where(tick => tick <= last))
            svg.Text(X(tick) + width / 2, High - Bottom + 17, "middle", tick.ToString(CultureInfo.InvariantCulture));
        svg.Line("axis", Left, High - Bottom, Wide - Right, High - Bottom);
        svg.Text((Left + Wide - Right) / 2.0, High - 4, "middle", "round");

        double X(double round) => Left + (round - first) * step;
        double Y(double seconds) => High - Bottom - y.Share(seconds) * (High - Top - Bottom);
    }

    // Its parts where they were written down, else the whole; nothing where that was not measured.
    private static IReadOnlyDictionary<string, double> PartsOf(RoundAggregate round) =>
        round.Timing is { Parts.Count: > 0 } timing ? timing.Parts
        : round.Seconds is { } seconds ? new Dictionary<string, double> { [Whole] = seconds } : new Dictionary<string, double>();
}
