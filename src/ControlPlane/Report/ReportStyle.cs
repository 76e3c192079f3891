using FedRLora.ControlPlane.Wall;

namespace FedRLora.ControlPlane.Report;

/// <summary>Style sheets of the report and its plots: the wall's colours, light on paper.</summary>
internal static class ReportStyle
{
    private static readonly string Tokens = WallAssets.Text("tokens.css");

    // The colours for light pages, above those for dark ones.
    private static readonly string OnPaper = $"@media print {{ :root:root:root {{{Light()}}} }}\n";

    /// <summary>Of a plot that is a file.</summary>
    public static string OfPlots { get; } = Tokens + Read("plot.css") + OnPaper;

    /// <summary>Of the report.</summary>
    public static string OfReport { get; } = Tokens + Read("report.css") + Read("plot.css") + OnPaper;

    private static string Light()
    {
        var from = Tokens.IndexOf(":root {", StringComparison.Ordinal) + ":root {".Length;
        return Tokens[from..Tokens.IndexOf('}', from)].Replace("light dark", "light", StringComparison.Ordinal);
    }

    private static string Read(string name)
    {
        using var stream = typeof(ReportStyle).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
