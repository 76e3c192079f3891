using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Views;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.RunFolder;

/// <summary>The metrics of a run as files: see <see cref="MetricsText"/>.</summary>
internal static class MetricsFiles
{
    /// <summary>Writes the files; what was there is replaced.</summary>
    public static void Write(string folder, StoreMode mode, FederationPlan plan, IReadOnlyList<RoundSummary> rounds)
    {
        StorePermissions.MakeFolder(folder, mode);
        var views = rounds.Select(round => RoundView.Of(round, plan)).ToList();
        OutputFile.Replace(Path.Combine(folder, "metrics.csv"), mode, MetricsText.Csv(views));
        OutputFile.Replace(Path.Combine(folder, "metrics-by-task.csv"), mode, MetricsText.TaskCsv(views));
        OutputFile.Replace(
            Path.Combine(folder, "metrics.jsonl"), mode, string.Concat(views.Select(static view => MetricsText.JsonLine(view) + "\n")));
    }
}
