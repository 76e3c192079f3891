using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Views;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Coordination;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.Local;

/// <summary>Where the run of a folder stands.</summary>
internal enum FolderStatus
{
    /// <summary>A process runs in the folder.</summary>
    Running,

    /// <summary>All rounds are committed, those of its local-only reference too.</summary>
    Finished,

    /// <summary>No process runs in it, and rounds are missing; it can be resumed.</summary>
    Stopped,

    /// <summary>It stopped for its reason.</summary>
    Failed,
}

/// <summary>A run folder in a list, read without a silo.</summary>
internal sealed record FolderRun
{
    private const int MostUnscored = 1_000;

    /// <summary>The folder.</summary>
    public required string Folder { get; init; }

    /// <summary>The plan's name.</summary>
    public required string Plan { get; init; }

    /// <summary>Its method.</summary>
    public required string Method { get; init; }

    /// <summary>Where it stands.</summary>
    public required FolderStatus Status { get; init; }

    /// <summary>The last committed round; null before round 0.</summary>
    public int? Committed { get; init; }

    /// <summary>Rounds of the plan.</summary>
    public required int Rounds { get; init; }

    /// <summary>The metric of <see cref="Score"/>.</summary>
    public string? Metric { get; init; }

    /// <summary>The mean over clients of the last round that was scored; null where metrics differ.</summary>
    public double? Score { get; init; }

    /// <summary>The mean training loss of the last committed round.</summary>
    public double? Loss { get; init; }

    /// <summary>When the last round was committed; of a run without one, when it was begun.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>The digest of the last committed round's manifest.</summary>
    public string? Sha256 { get; init; }

    /// <summary>Why it does not go on.</summary>
    public string? Reason { get; init; }

    /// <summary>Reads a run folder.</summary>
    /// <exception cref="BadInputException">It is none, or part of it is missing.</exception>
    /// <exception cref="CorruptBlobException">What it committed was changed.</exception>
    /// <exception cref="StoreUnavailableException">It cannot be read.</exception>
    public static async Task<FolderRun> ReadAsync(string folder, CancellationToken cancellationToken)
    {
        var run = RunDirectory.Open(folder);
        var plan = run.RequirePlan().Require();
        run.RequireStore();
        var isRunning = run.IsInUse;
        using var store = run.OpenStore();
        var log = new CommitLog(store, run.Record.Plan);
        var current = await log.ReadAsync(cancellationToken);
        var (status, reason) = isRunning ? (FolderStatus.Running, null) : await StandsAsync(run, plan, store, current, cancellationToken);
        var found = new FolderRun
        {
            Folder = folder, Plan = plan.Name, Method = plan.Adapter.Method, Status = status, Reason = reason,
            Committed = current?.Round, Rounds = plan.Strategy.Rounds, Sha256 = current?.ManifestSha256,
            At = run.LastWritten(current is null ? null : Keys.Current(run.Record.Plan)),
        };
        return current is null ? found : await found.WithScoreAsync(log, current, plan, cancellationToken);
    }

    private async Task<FolderRun> WithScoreAsync(
        CommitLog log, CurrentRound current, FederationPlan plan, CancellationToken cancellationToken)
    {
        var (round, sha256, found) = (current.Round, current.ManifestSha256, this);
        for (var tries = 0; tries < MostUnscored; tries++)
        {
            var manifest = await log.ManifestAsync(round, sha256, cancellationToken);
            var view = RoundView.Of(new() { Manifest = manifest, ManifestSha256 = sha256, Seconds = 0 }, plan);
            if (tries == 0) found = found with { Loss = view.MeanLoss };
            if (view.MeanScore is { } score)
                return found with { Score = score, Metric = RoundView.SharedMetric(RoundView.Compared(view.Clients)) };
            if (round == 0 || manifest.Previous is not { } previous) break;
            (round, sha256) = (round - 1, previous);
        }

        return found;
    }

    private static async Task<(FolderStatus Status, string? Reason)> StandsAsync(
        RunDirectory run, FederationPlan plan, DirectoryBlobStore store, CurrentRound? current, CancellationToken cancellationToken)
    {
        if (current?.Round >= plan.Strategy.Rounds)
        {
            if (!run.Record.LocalOnly) return (FolderStatus.Finished, null);
            var alone = await new CommitLog(store, LocalOnlyRun.Of(run.Record.Plan)).ReadAsync(cancellationToken);
            return alone?.Round >= plan.Strategy.Rounds
                ? (FolderStatus.Finished, null)
                : (FolderStatus.Stopped, $"its local-only reference has committed {alone?.Round ?? 0} of {plan.Strategy.Rounds} rounds");
        }

        var key = Keys.Memory(run.Record.Plan);
        if (await store.ReadBytesAsync(key, cancellationToken) is not { } bytes) return (FolderStatus.Stopped, null);
        var state = JsonSerializer.Deserialize<JobMemory>(BlobStates.RequireSealed(bytes, key))?.State;
        return (state?.Phase is Phase.Failed ? FolderStatus.Failed : FolderStatus.Stopped, state?.Reason);
    }
}

/// <summary>Run folders below others.</summary>
internal static class RunFolders
{
    /// <summary>Where <c>simulate</c> puts them.</summary>
    public const string Default = "runs";

    /// <summary>A folder that is a run's, whole or not; else those in it and in its folders, and what of them is none.</summary>
    public static (IReadOnlyList<string> Runs, IReadOnlyList<string> Others) Below(string folder)
    {
        if (IsRun(folder)) return ([folder], []);
        var (runs, others) = (new List<string>(), new List<string>());
        foreach (var child in ChildrenOf(folder))
        {
            var inner = IsRun(child) ? [child] : ChildrenOf(child).Where(IsRun).ToList();
            if (inner.Count == 0) others.Add(child);
            runs.AddRange(inner);
        }

        return (runs, others);
    }

    // Either is enough: the run that lost the other one says so.
    private static bool IsRun(string folder) => File.Exists(Path.Combine(folder, RunDirectory.RecordFile))
        || (Directory.Exists(Path.Combine(folder, "store")) && File.Exists(Path.Combine(folder, RunDirectory.PlanFileName)));

    // A folder that may not be looked into holds none that could be read.
    private static List<string> ChildrenOf(string folder) =>
    [
        .. Directory.EnumerateDirectories(folder, "*", new EnumerationOptions { IgnoreInaccessible = true, AttributesToSkip = 0 })
            .Where(static child => !Path.GetFileName(child).StartsWith('.')).Order(StringComparer.Ordinal),
    ];
}
