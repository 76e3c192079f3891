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

    /// <summary>Lowest and highest of what the line is the mean of, in the order of rounds; drawn behind the lines.</summary>
    public IReadOnlyList<(int Round, double Low, double High)> Band { get; init; } = [];
}

/// <summary>Values over rounds as SVG: axes, ticks, a legend, a tip on every point.</summary>
internal sealed record LineChart(string Title, IReadOnlyList<Series> Series)
{
    /// <summary>Lines that colours and dashes tell apart.</summary>
    public const int MostTold = 3 * Colours;

    private const int Width = 480;
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

    /// <summary>A <c>figure</c> element; empty where there is nothing to draw.</summary>
    public string ToHtml()
    {
        var values = Series.SelectMany(static s => s.Points.Select(static p => p.Value)
            .Concat(s.Band.SelectMany(static p => new[] { p.Low, p.High }))
            .Concat(s.Baseline is { } baseline && s.Points.Count > 0 ? [baseline] : [])).ToList();
        if (values.Count > 0 && Baseline is { } common)
            values.Add(common);
        var rounds = Series.SelectMany(static s => s.Points.Select(static p => p.Round)).ToList();
        if (values.Count == 0)
            return "";
        var (x, y) = (Axis.Whole(0, rounds.Max()), Axis.Over(values, FromZero));

        var html = new StringBuilder($"<figure>\n<h3>{Markup.Escape(Title)}</h3>\n<svg viewBox=\"0 0 {Width} {Height}\" role=\"img\" "
            + $"aria-label=\"{Markup.Escape(Title)}\">\n");
        foreach (var tick in y.Ticks)
        {
            html.Append(Line("grid", Left, Y(tick), Width - Right, Y(tick)));
            html.Append(Text(Left - 8, Y(tick) + 4, "end", Format?.Invoke(tick) ?? y.Label(tick)));
        }

        foreach (var tick in x.Ticks.Where(tick => tick <= rounds.Max()))
        {
            html.Append(Line("axis", X(tick), Height - Bottom, X(tick), Height - Bottom + 4));
            html.Append(Text(X(tick), Height - Bottom + 17, "middle", x.Label(tick)));
        }

        html.Append(Line("axis", Left, Height - Bottom, Width - Right, Height - Bottom));
        html.Append(Text((Left + Width - Right) / 2.0, Height - 4, "middle", "round"));
        if (Baseline is { } level)
            html.Append(Line("baseline s7", Left, Y(level), Width - Right, Y(level)));
        for (var i = 0; i < Series.Count; i++)
            DrawBand(html, Series[i], i, X, Y);
        for (var i = 0; i < Series.Count; i++)
            Draw(html, Series[i], i, X, Y);
        html.Append("</svg>\n");
        AppendLegend(html);
        return html.Append("</figure>\n").ToString();

        double X(double round) => Left + 4 + x.Share(round) * (Width - Left - Right - 8);
        double Y(double value) => Height - Bottom - y.Share(value) * (Height - Top - Bottom);
    }

    private static void DrawBand(StringBuilder html, Series series, int index, Func<double, double> x, Func<double, double> y)
    {
        if (series.Band.Count == 0) return;
        var outline = series.Band.Select(p => (p.Round, p.High)).Concat(series.Band.Reverse().Select(p => (p.Round, High: p.Low)));
        html.Append(CultureInfo.InvariantCulture, $"<polygon class=\"band {Colour(index)}\" "
            + $"points=\"{string.Join(' ', outline.Select(p => $"{N(x(p.Round))},{N(y(p.High))}"))}\" />\n");
    }

    private void Draw(StringBuilder html, Series series, int index, Func<double, double> x, Func<double, double> y)
    {
        if (series.Points.Count == 0)
            return;
        if (series.Baseline is { } baseline)
            html.Append(Line($"baseline {Colour(index)}", Left, y(baseline), Width - Right, y(baseline)));
        html.Append(CultureInfo.InvariantCulture, $"<polyline class=\"{LineClass(index)}\" "
            + $"points=\"{string.Join(' ', series.Points.Select(p => $"{N(x(p.Round))},{N(y(p.Value))}"))}\" />\n");
        if (series.Points.Count > MostPoints)
            return;
        foreach (var (round, value) in series.Points)
            html.Append(CultureInfo.InvariantCulture, $"<circle class=\"point {Colour(index)}\" cx=\"{N(x(round))}\" cy=\"{N(y(value))}\" "
                + $"r=\"3.2\"><title>{Markup.Escape(series.Name)}, round {round}: "
                + $"{Markup.Escape(Format?.Invoke(value) ?? Words.Number(value, "0.0000"))}</title></circle>\n");
    }

    private void AppendLegend(StringBuilder html)
    {
        var bands = BandName is not null && Series.Any(static s => s.Band.Count > 0);
        if (Series.Count < 2 && BaselineName is null && !bands)
            return;
        html.Append("<ul class=\"legend\">\n");
        for (var i = 0; i < Series.Count; i++)
            html.Append(CultureInfo.InvariantCulture, $"<li><svg viewBox=\"0 0 26 10\" aria-hidden=\"true\"><line class=\"{LineClass(i)}\" "
                + $"x1=\"1\" y1=\"5\" x2=\"25\" y2=\"5\" /></svg>{Markup.Escape(Series[i].Name)}</li>\n");
        if (BaselineName is not null)
            html.Append(CultureInfo.InvariantCulture, $"<li><svg viewBox=\"0 0 26 10\" aria-hidden=\"true\"><line class=\"baseline s7\" "
                + $"x1=\"1\" y1=\"5\" x2=\"25\" y2=\"5\" /></svg>{Markup.Escape(BaselineName)}</li>\n");
        if (bands)
            html.Append(CultureInfo.InvariantCulture, $"<li><svg viewBox=\"0 0 26 10\" aria-hidden=\"true\"><rect class=\"band s7\" "
                + $"x=\"1\" y=\"0\" width=\"24\" height=\"10\" /></svg>{Markup.Escape(BandName!)}</li>\n");
        html.Append("</ul>\n");
    }

    private static string LineClass(int index) =>
        $"line {Colour(index)}{(index / Colours % 3) switch { 1 => " dashed", 2 => " dotted", _ => "" }}";

    private static string Colour(int index) => $"s{index % Colours}";

    private static string Line(string style, double x1, double y1, double x2, double y2) =>
        $"<line class=\"{style}\" x1=\"{N(x1)}\" y1=\"{N(y1)}\" x2=\"{N(x2)}\" y2=\"{N(y2)}\" />\n";

    private static string Text(double x, double y, string anchor, string text) =>
        $"<text x=\"{N(x)}\" y=\"{N(y)}\" text-anchor=\"{anchor}\">{Markup.Escape(text)}</text>\n";

    private static string N(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);
}
