using System.Globalization;
using System.Text;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>A line of a chart.</summary>
/// <param name="Name">For the legend.</param>
/// <param name="Points">Round and value, in the order of rounds.</param>
internal sealed record Series(string Name, IReadOnlyList<(int Round, double Value)> Points)
{
    /// <summary>A level to compare with, drawn dotted in the series' colour.</summary>
    public double? Baseline { get; init; }

    /// <summary>Lowest and highest of what the line is drawn for, in the order of rounds; drawn behind the lines.</summary>
    public IReadOnlyList<(int Round, double Low, double High)> Band { get; init; } = [];

    /// <summary>Standard errors of values, drawn as one above and one below.</summary>
    public IReadOnlyList<(int Round, double Value, double Error)> Errors { get; init; } = [];

    /// <summary>Classes of its colour and dashes; null for those of its place.</summary>
    public string? Style { get; init; }
}

/// <summary>Values over rounds: axes, ticks, a legend, a tip on every point.</summary>
internal sealed record LineChart(string Name, string Title, IReadOnlyList<Series> Series) : Plot(Name, Title)
{
    /// <summary>Lines that colours and dashes tell apart.</summary>
    public const int MostTold = 3 * Colours;

    /// <summary>Its width.</summary>
    public const int Width = 480;

    private const int Height = 270;
    private const int Left = 70;
    private const int Right = 12;
    private const int Top = 10;
    private const int Bottom = 38;
    private const int Colours = 8;
    private const int MostPoints = 60;

    /// <summary>Whether the scale begins at zero.</summary>
    public bool FromZero { get; init; }

    /// <summary>How a value is written; by default with the decimals of the scale.</summary>
    public Func<double, string>? Format { get; init; }

    /// <summary>A level to compare every line with.</summary>
    public double? Baseline { get; init; }

    /// <summary>What the dotted lines are; null where there are none.</summary>
    public string? BaselineName { get; init; }

    /// <summary>What the bands are, where there are any.</summary>
    public string? BandName { get; init; }

    /// <inheritdoc/>
    public override (int Width, int Height) Size => (Width, Height);

    /// <inheritdoc/>
    public override bool IsEmpty => Series.All(static series => series.Points.Count == 0);

    /// <inheritdoc/>
    public override string About
    {
        get
        {
            var last = Series.Where(static series => series.Points.Count > 0).Select(series => (series.Name, series.Points[^1])).Take(6)
                .Select(one => string.Create(
                    CultureInfo.InvariantCulture, $"{one.Name} {Written(one.Item2.Value)} in round {one.Item2.Round}"));
            return $"{Title}. Last values: {string.Join("; ", last)}.";
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<LegendEntry> Legend
    {
        get
        {
            var bands = BandName is not null && Series.Any(static s => s.Band.Count > 0);
            if (Series.Count < 2 && BaselineName is null && !bands) return [];
            return
            [
                .. Series.Select((series, i) => new LegendEntry(series.Name, LineClass(series, i))),
                .. BaselineName is null ? [] : (LegendEntry[])[new(BaselineName, "baseline s7")],
                .. bands ? (LegendEntry[])[new(BandName!, $"band {(Series[0].Style is null ? "s7" : Colour(Series[0], 0))}", true)] : [],
                .. Series.Any(static s => s.Errors.Count > 0)
                    ? (LegendEntry[])[new("one standard error over the test rows above and below", "error s7")] : [],
            ];
        }
    }

    /// <inheritdoc/>
    public override void Draw(StringBuilder svg)
    {
        var values = Series.SelectMany(static s => s.Points.Select(static p => p.Value)
            .Concat(s.Band.SelectMany(static p => new[] { p.Low, p.High }))
            .Concat(s.Errors.SelectMany(static p => new[] { p.Value - p.Error, p.Value + p.Error }))
            .Concat(s.Baseline is { } baseline && s.Points.Count > 0 ? [baseline] : [])).ToList();
        if (Baseline is { } common) values.Add(common);
        var last = Series.SelectMany(static s => s.Points.Select(static p => p.Round)).Max();
        var (x, y) = (Axis.Whole(0, last), Axis.Over(values, FromZero));
        foreach (var tick in y.Ticks)
        {
            svg.Line("grid", Left, Y(tick), Width - Right, Y(tick));
            svg.Text(Left - 8, Y(tick) + 4, "end", Format?.Invoke(tick) ?? y.Label(tick));
        }

        DrawRounds(svg, x, last, X);
        if (Baseline is { } level) svg.Line("baseline s7", Left, Y(level), Width - Right, Y(level));
        for (var i = 0; i < Series.Count; i++) DrawBand(svg, Series[i], i, X, Y);
        for (var i = 0; i < Series.Count; i++) DrawLine(svg, Series[i], i, X, Y);

        double X(double round) => Left + 4 + x.Share(round) * (Width - Left - Right - 8);
        double Y(double value) => Height - Bottom - y.Share(value) * (Height - Top - Bottom);
    }

    private static void DrawRounds(StringBuilder svg, Axis axis, int last, Func<double, double> x)
    {
        foreach (var tick in axis.Ticks.Where(tick => tick <= last))
        {
            svg.Line("axis", x(tick), Height - Bottom, x(tick), Height - Bottom + 4);
            svg.Text(x(tick), Height - Bottom + 17, "middle", axis.Label(tick));
        }

        svg.Line("axis", Left, Height - Bottom, Width - Right, Height - Bottom);
        svg.Text((Left + Width - Right) / 2.0, Height - 4, "middle", "round");
    }

    private static void DrawBand(StringBuilder svg, Series series, int index, Func<double, double> x, Func<double, double> y)
    {
        if (series.Band.Count == 0) return;
        var outline = series.Band.Select(p => (p.Round, p.High)).Concat(series.Band.Reverse().Select(p => (p.Round, High: p.Low)));
        svg.Append($"<polygon class=\"band {Colour(series, index)}\" points=\"")
            .AppendJoin(' ', outline.Select(p => $"{Svg.N(x(p.Round))},{Svg.N(y(p.High))}")).Append("\" />\n");
    }

    private static void DrawLine(StringBuilder svg, Series series, int index, Func<double, double> x, Func<double, double> y)
    {
        if (series.Points.Count == 0) return;
        var colour = Colour(series, index);
        if (series.Baseline is { } baseline) svg.Line($"baseline {colour}", Left, y(baseline), Width - Right, y(baseline));
        svg.Append($"<polyline class=\"{LineClass(series, index)}\" points=\"")
            .AppendJoin(' ', series.Points.Select(p => $"{Svg.N(x(p.Round))},{Svg.N(y(p.Value))}")).Append("\" />\n");
        if (series.Points.Count > MostPoints) return;
        foreach (var (round, value, error) in series.Errors)
        {
            var (at, low, high) = (x(round), y(value - error), y(value + error));
            svg.Append($"<path class=\"error {colour}\" d=\"M{Svg.N(at)} {Svg.N(low)}V{Svg.N(high)}M{Svg.N(at - 3)} {Svg.N(low)}h6")
                .Append($"M{Svg.N(at - 3)} {Svg.N(high)}h6\" />\n");
        }

        foreach (var (round, value) in series.Points)
            svg.Append(CultureInfo.InvariantCulture, $"<circle class=\"point {colour}\" cx=\"{Svg.N(x(round))}\" cy=\"{Svg.N(y(value))}\" ")
                .Append(CultureInfo.InvariantCulture, $"r=\"3.2\"><title>{Markup.Escape(series.Name)}, round {round}: {Exact.Of(value)}")
                .Append(Around(series, round)).Append("</title></circle>\n");
    }

    // What is drawn around a point, to the last digit.
    private static string Around(Series series, int round) => string.Concat(
        series.Errors.Where(error => error.Round == round).Select(static error => $" ± {Exact.Of(error.Error)}"))
        + string.Concat(series.Band.Where(band => band.Round == round)
            .Select(static band => $", band {Exact.Of(band.Low)} to {Exact.Of(band.High)}"));

    private string Written(double value) => Format?.Invoke(value) ?? Words.Score(value);

    private static string LineClass(Series series, int index) => series.Style is { } style ? $"line {style}"
        : $"line {Colour(series, index)}{(index / Colours % 3) switch { 1 => " dashed", 2 => " dotted", _ => "" }}";

    private static string Colour(Series series, int index) => series.Style?.Split(' ')[0] ?? $"s{index % Colours}";
}
