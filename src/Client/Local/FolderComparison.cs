using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Clients;

namespace FedRLora.Client.Local;

/// <summary>Run folders side by side, read without a silo, also while they run.</summary>
internal static class FolderComparison
{
    /// <summary>Compares run folders with the first of them.</summary>
    /// <param name="folders">The folders.</param>
    /// <param name="names">What each is called.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">One is no run folder, or has no plan any more.</exception>
    public static async Task<Comparison> OfAsync(
        IReadOnlyList<string> folders, IReadOnlyList<string> names, CancellationToken cancellationToken)
    {
        var first = RunDirectory.Open(folders[0]);
        var runs = new List<ComparedRun>();
        foreach (var (folder, name) in folders.Zip(names))
        {
            var run = RunDirectory.Open(folder);
            run.RequireStore();
            var file = run.RequirePlan();
            runs.Add(new(name, file.Yaml, file.Require(), await FolderResults.RoundsAsync(run, cancellationToken),
                runs.Count == 0 ? null : await VersusAsync(run, first, cancellationToken)));
        }

        return Comparison.Of(runs);
    }

    private static async Task<IReadOnlyDictionary<string, ScoreComparison>> VersusAsync(
        RunDirectory run, RunDirectory first, CancellationToken cancellationToken)
    {
        using var own = run.OpenStore();
        using var other = first.OpenStore();
        return await RowComparison.BesideAsync(
            (own, run.Record.Plan, Sites(run)), (other, first.Record.Plan, Sites(first)), cancellationToken);

        static Dictionary<string, string> Sites(RunDirectory run) => run.RequirePlan().Require().Clients
            .Where(static client => client.Data.Test is not null)
            .ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
    }
}
