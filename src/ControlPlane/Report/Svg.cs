using System.Globalization;
using System.Text;

namespace FedRLora.ControlPlane.Report;

/// <summary>Elements of SVG, with numbers as it reads them.</summary>
internal static class Svg
{
    /// <summary>A place or a size, to a hundredth.</summary>
    public static string N(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    /// <summary>A straight line.</summary>
    public static void Line(this StringBuilder svg, string style, double x1, double y1, double x2, double y2) =>
        svg.Append($"<line class=\"{style}\" x1=\"{N(x1)}\" y1=\"{N(y1)}\" x2=\"{N(x2)}\" y2=\"{N(y2)}\" />\n");

    /// <summary>A text.</summary>
    public static void Text(this StringBuilder svg, double x, double y, string anchor, string text, string? tip = null) =>
        svg.Append($"<text x=\"{N(x)}\" y=\"{N(y)}\" text-anchor=\"{anchor}\">")
            .Append(tip is null ? "" : $"<title>{Markup.Escape(tip)}</title>").Append(Markup.Escape(text)).Append("</text>\n");

    /// <summary>A box of a legend or a bar.</summary>
    public static void Box(this StringBuilder svg, string style, double x, double y, double width, double height) =>
        svg.Append($"<rect class=\"{style}\" x=\"{N(x)}\" y=\"{N(y)}\" width=\"{N(width)}\" height=\"{N(height)}\" />\n");
}
