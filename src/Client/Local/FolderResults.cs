using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Report;
using FedRLora.Grains.Clients;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

namespace FedRLora.Client.Local;

/// <summary>What a run folder has committed so far, read without a silo, also of a run that is going on.</summary>
internal sealed record FolderResults
{
    /// <summary>The plan's text.</summary>
    public required string PlanYaml { get; init; }

    /// <summary>The plan.</summary>
    public required FederationPlan Plan { get; init; }

    /// <summary>Every committed round, with round 0.</summary>
    public required IReadOnlyList<RoundSummary> Rounds { get; init; }

    /// <summary>The rounds of the local-only reference; null where there is none, or none yet.</summary>
    public IReadOnlyList<RoundSummary>? LocalOnly { get; init; }

    /// <summary>The last scores beside the reference's, row by row; null without a reference.</summary>
    public IReadOnlyDictionary<string, ScoreComparison>? VersusLocal { get; init; }

    /// <summary>Reads them.</summary>
    /// <exception cref="BadInputException">Nothing is committed, or the folder's plan is none.</exception>
    /// <exception cref="CorruptBlobException">A manifest is missing or was changed.</exception>
    public static async Task<FolderResults> ReadAsync(RunDirectory run, CancellationToken cancellationToken)
    {
        run.RequireStore();
        var file = run.RequirePlan();
        var plan = file.Require();
        using var store = run.OpenStore();
        var rounds = await RoundsAsync(store, run.Record.Plan, cancellationToken);
        if (rounds.Count == 0)
            throw new BadInputException($"{run.Path}: nothing is committed yet; go on with: {OwnCommand.Line("resume", run.Path)}");
        var results = new FolderResults { PlanYaml = file.Yaml, Plan = plan, Rounds = rounds };
        var reference = LocalOnlyRun.Of(run.Record.Plan);
        if (!run.Record.LocalOnly || await RoundsAsync(store, reference, cancellationToken) is not { Count: > 0 } alone) return results;
        return results with { LocalOnly = alone, VersusLocal = await CompareAsync(store, plan, run.Record.Plan, cancellationToken) };
    }

    /// <summary>The last scores of a run beside those of its local-only reference, row by row.</summary>
    public static Task<IReadOnlyDictionary<string, ScoreComparison>> CompareAsync(
        IBlobStore store, FederationPlan plan, string run, CancellationToken cancellationToken) => RowComparison.OfAsync(
        store, plan.Clients.Where(static client => client.Data.Test is not null).Select(static client => (client.Site, client.Id)), run,
        LocalOnlyRun.Of(run), cancellationToken);

    /// <summary>What a report says of how the run came about.</summary>
    public static ReportFacts FactsOf(RunDirectory run, FederationPlan plan) => new(
        TimeProvider.System.GetUtcNow(), ReportFacts.VersionOf(typeof(Program)), Hosts: 1, run.Record.ForkedFrom,
        PlanSizes.Of(plan, run.Record.Root).Sizes?.Bytes);

    private static async Task<IReadOnlyList<RoundSummary>> RoundsAsync(IBlobStore store, string job, CancellationToken cancellationToken)
    {
        var log = new CommitLog(store, job);
        if (await log.ReadAsync(cancellationToken) is not { } current) return [];
        var rounds = new List<RoundSummary>();
        foreach (var (manifest, sha256) in await log.ManifestsAsync(0, current.Round, current, cancellationToken))
            rounds.Add(await log.SummaryAsync(manifest, sha256, cancellationToken));
        return rounds;
    }
}
