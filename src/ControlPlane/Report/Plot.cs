using System.Globalization;
using System.Text;

namespace FedRLora.ControlPlane.Report;

/// <summary>A line of a legend.</summary>
/// <param name="Text">What is shown so.</param>
/// <param name="Style">The class of its mark.</param>
/// <param name="IsBox">Whether the mark is a box; else it is a line.</param>
internal sealed record LegendEntry(string Text, string Style, bool IsBox = false);

/// <summary>A picture of a run: a figure of the report, and a file of its own.</summary>
/// <param name="Name">The name of its file, without the ending.</param>
/// <param name="Title">What it shows.</param>
internal abstract record Plot(string Name, string Title)
{
    private const int Margin = 16, Head = 34, EntryHeight = 18;

    /// <summary>One more line below the title; null for none.</summary>
    public string? Note { get; init; }

    /// <summary>Whether there is nothing to draw.</summary>
    public abstract bool IsEmpty { get; }

    /// <summary>What a reader hears who does not see it.</summary>
    public virtual string About => Title;

    /// <summary>Its size, in the units of what it draws.</summary>
    public abstract (int Width, int Height) Size { get; }

    /// <summary>What its marks are; empty where nothing has to be told apart.</summary>
    public virtual IReadOnlyList<LegendEntry> Legend => [];

    /// <summary>Draws it.</summary>
    public abstract void Draw(StringBuilder svg);

    /// <summary>A <c>figure</c> element; empty where there is nothing to draw.</summary>
    public string ToHtml()
    {
        if (IsEmpty) return "";
        var html = new StringBuilder(Size.Width > LineChart.Width ? "<figure class=\"wide\">\n" : "<figure>\n")
            .Append($"<h3>{Markup.Escape(Title)}</h3>\n")
            .Append($"<svg viewBox=\"0 0 {Svg.N(Size.Width)} {Svg.N(Size.Height)}\" role=\"img\" aria-label=\"{Markup.Escape(About)}\">\n");
        Draw(html);
        html.Append("</svg>\n");
        if (Legend.Count > 0)
        {
            html.Append("<ul class=\"legend\">\n");
            foreach (var entry in Legend)
            {
                html.Append("<li><svg viewBox=\"0 0 26 10\" aria-hidden=\"true\">");
                Mark(html, entry, 0, 0);
                html.Append($"</svg>{Markup.Escape(entry.Text)}</li>\n");
            }

            html.Append("</ul>\n");
        }

        return html.Append(Note is null ? "" : $"<p class=\"note\">{Markup.Escape(Note)}</p>\n").Append("</figure>\n").ToString();
    }

    /// <summary>A file that needs nothing else, in light and dark.</summary>
    public string ToFile()
    {
        var (width, bottom) = (Size.Width + 2 * Margin, Head + Size.Height + 8);
        string[] notes = [.. Note is null ? [] : (string[])[Note]];
        var height = bottom + (Legend.Count + notes.Length) * EntryHeight + Margin;
        var svg = new StringBuilder("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
            .Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" ")
            .Append(CultureInfo.InvariantCulture, $"width=\"{width}\" height=\"{height}\" ")
            .Append("role=\"img\" aria-labelledby=\"title about\">\n")
            .Append($"<title id=\"title\">{Markup.Escape(Title)}</title>\n<desc id=\"about\">{Markup.Escape(About)}</desc>\n")
            .Append($"<style>\n{ReportStyle.OfPlots}</style>\n");
        svg.Box("paper", 0, 0, width, height);
        svg.Append(CultureInfo.InvariantCulture, $"<text class=\"title\" x=\"{Margin}\" y=\"22\">{Markup.Escape(Title)}</text>\n")
            .Append(CultureInfo.InvariantCulture, $"<g transform=\"translate({Margin} {Head})\">\n");
        Draw(svg);
        svg.Append("</g>\n");
        foreach (var entry in Legend)
        {
            Mark(svg, entry, Margin, bottom + 4);
            svg.Text(Margin + 34, bottom + 13, "start", entry.Text);
            bottom += EntryHeight;
        }

        foreach (var note in notes) svg.Text(Margin, bottom + 13, "start", note);
        return svg.Append("</svg>\n").ToString();
    }

    private static void Mark(StringBuilder svg, LegendEntry entry, double x, double y)
    {
        if (entry.IsBox) svg.Box(entry.Style, x + 1, y, 24, 10);
        else svg.Line(entry.Style, x + 1, y + 5, x + 25, y + 5);
    }
}
