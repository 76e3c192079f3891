using System.Globalization;
using System.Text;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>Runs of a sweep that differ in their seed alone, or one by itself.</summary>
/// <param name="Name">What they have in common.</param>
/// <param name="Runs">Each with its mean over clients, and that one's standard error over the test rows where it is known.</param>
internal sealed record PlottedGroup(string Name, IReadOnlyList<(string Run, double Score, double? Error)> Runs)
{
    /// <summary>The mean over the runs.</summary>
    public double Mean => Runs.Average(static run => run.Score);
}

/// <summary>The means of a sweep's runs: a row for each group.</summary>
/// <param name="Metric">Of all of them.</param>
/// <param name="Groups">The rows from above.</param>
internal sealed record SweepPlot(string Metric, IReadOnlyList<PlottedGroup> Groups)
    : Plot("sweep", $"Mean {Metric} over clients, by run")
{
    private const int Wide = 760, RowHeight = 30, Top = 6, Bottom = 26, Right = 70;
    private const int MostLetters = 40;
    private const double LetterWidth = 6.7;
    private const double LongLabels = 1e5; // of a run that diverged; from here on a tick is written with a power of ten

    private int Left => 16 + (int)(LetterWidth * Math.Min(MostLetters, Groups.Max(static group => group.Name.Length)));

    /// <inheritdoc/>
    public override (int Width, int Height) Size => (Wide, Top + Groups.Count * RowHeight + Bottom);

    /// <inheritdoc/>
    public override bool IsEmpty => Groups.Count == 0;

    /// <inheritdoc/>
    public override string About => $"{Title}: "
        + string.Join("; ", Groups.Select(static group => $"{group.Name} {Words.Score(group.Mean)}")) + ".";

    /// <inheritdoc/>
    public override IReadOnlyList<LegendEntry> Legend =>
    [
        .. Groups.Any(static group => group.Runs.Count > 1)
            ? (LegendEntry[])[new("the mean of a row; its points are its runs, one for each seed", "line s1")] : [],
        .. Groups.Any(static group => group.Runs.Any(static run => run.Error is not null))
            ? (LegendEntry[])[new("one standard error over the test rows to either side of a run", "error s0")] : [],
    ];

    /// <inheritdoc/>
    public override void Draw(StringBuilder svg)
    {
        var (left, bottom) = (Left, Top + Groups.Count * RowHeight);
        var x = Axis.Over(Groups.SelectMany(static group => group.Runs)
            .SelectMany(static run => new[] { run.Score - (run.Error ?? 0), run.Score + (run.Error ?? 0) }), ticks: 8);
        foreach (var tick in x.Ticks)
        {
            svg.Line("grid", X(tick), Top, X(tick), bottom);
            svg.Text(X(tick), bottom + 17, "middle", Math.Max(-x.Min, x.Max) < LongLabels ? x.Label(tick) : Words.Score(tick));
        }

        for (var row = 0; row < Groups.Count; row++)
        {
            var (group, y) = (Groups[row], Top + (row + 0.5) * RowHeight);
            var isCut = group.Name.Length > MostLetters;
            svg.Text(left - 8, y + 4, "end", isCut ? $"{group.Name[..(MostLetters - 1)]}…" : group.Name, isCut ? group.Name : null);
            svg.Text(Wide - Right + 8, y + 4, "start", Words.Score(group.Mean), Exact.Of(group.Mean));
            for (var i = 0; i < group.Runs.Count; i++)
                DrawRun(svg, group.Runs[i], y + (i - (group.Runs.Count - 1) / 2.0) * Math.Min(7.0, 20.0 / group.Runs.Count), X);
            if (group.Runs.Count > 1) svg.Line("line s1", X(group.Mean), y - 12, X(group.Mean), y + 12);
        }

        svg.Line("axis", left, bottom, Wide - Right, bottom);

        double X(double score) => left + 4 + x.Share(score) * (Wide - Right - left - 8);
    }

    private static void DrawRun(StringBuilder svg, (string Run, double Score, double? Error) run, double y, Func<double, double> x)
    {
        if (run.Error is { } error) svg.Line("error s0", x(run.Score - error), y, x(run.Score + error), y);
        svg.Append(CultureInfo.InvariantCulture, $"<circle class=\"point s0\" cx=\"{Svg.N(x(run.Score))}\" cy=\"{Svg.N(y)}\" r=\"3.2\">")
            .Append(CultureInfo.InvariantCulture, $"<title>{Markup.Escape(run.Run)}: {Exact.Of(run.Score)}")
            .Append(run.Error is null ? "" : $" ± {Exact.Of(run.Error)}").Append("</title></circle>\n");
    }
}
