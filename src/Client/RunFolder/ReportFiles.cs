using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Report;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.RunFolder;

/// <summary>The report of a run in its folder, with its pictures as files beside it.</summary>
internal static class ReportFiles
{
    /// <summary>The page's name.</summary>
    public const string Page = "report.html";

    // By what says most of a run.
    private static readonly string[] Pictures = ["score.svg", "loss.svg", "heldout-loss.svg"];

    /// <summary>Writes them; what was there is replaced.</summary>
    public static void Write(string folder, StoreMode mode, ReportContent report)
    {
        var plots = Plots(folder);
        StorePermissions.MakeFolder(plots, mode);
        foreach (var plot in report.Plots.Files) OutputFile.Replace(Path.Combine(plots, $"{plot.Name}.svg"), mode, plot.ToFile());
        OutputFile.Replace(Path.Combine(folder, Page), mode, HtmlReport.Render(report));
    }

    /// <summary>The picture of a run; null where there is none.</summary>
    public static string? PictureOf(string folder) =>
        Pictures.Select(name => Path.Combine(Plots(folder), name)).FirstOrDefault(File.Exists);

    private static string Plots(string folder) => Path.Combine(folder, "plots");
}
