using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Runs;

/// <summary>A run's committed rounds and who owns what, for deciding which blobs it still needs.</summary>
/// <param name="Job">The job.</param>
/// <param name="Checkpoints">What the plan keeps.</param>
/// <param name="Rounds">The manifests of rounds 0 to the last committed one, with their digests.</param>
/// <param name="SiteOf">The site of each client.</param>
/// <param name="Finished">Whether no round will follow.</param>
public sealed record CommittedRounds(
    string Job, CheckpointSpec Checkpoints, IReadOnlyList<(RoundManifest Manifest, string Sha256)> Rounds,
    IReadOnlyDictionary<string, string> SiteOf, bool Finished);

/// <summary>
/// Which blobs of committed rounds stay. Manifests and timings stay for ever, so that the chain can be checked back to round 0. The
/// shared state and the server optimizer's state of a round go by the plan's <c>checkpoints</c>. A head stays while the last manifest
/// or the one before names it, and for every n-th round, from which a run can then be forked.
/// </summary>
public static class Retention
{
    /// <summary>Whether a round keeps its shared state and its server optimizer's.</summary>
    /// <param name="spec">What the plan keeps.</param>
    /// <param name="round">The round.</param>
    /// <param name="last">The last committed round; it and the one before are always kept.</param>
    public static bool KeepsShared(CheckpointSpec spec, int round, int last) =>
        spec.KeepLast is not { } count || KeepsHeads(spec, round, last) || (long)round > (long)last - count;

    /// <summary>Whether the heads that a round's manifest names are kept for it.</summary>
    /// <inheritdoc cref="KeepsShared" path="/param"/>
    public static bool KeepsHeads(CheckpointSpec spec, int round, int last) => round >= last - 1 || IsEvery(spec, round);

    /// <summary>
    /// Whether a superseded head may be named by an every-n-th manifest: by one from its own round to the one before
    /// <paramref name="until"/>.
    /// </summary>
    public static bool KeepsHead(CheckpointSpec spec, int headRound, int until) =>
        spec.KeepEvery is { } every && (until - 1) / every * every >= headRound;

    /// <summary>The one round that loses its shared state by the commit of <paramref name="last"/>; null where none does.</summary>
    public static int? LeftBy(CheckpointSpec spec, int last) =>
        spec.KeepLast is { } count && last - Math.Max(2, count) is var round and >= 0 && !KeepsShared(spec, round, last) ? round : null;

    /// <summary>
    /// Of a run's keys those that nobody needs: states that the plan does not keep, updates of committed rounds, and what no manifest
    /// names; of a run that goes on, nothing of the open round. What is none of a round's or a client's blobs is never among them.
    /// </summary>
    public static IReadOnlyList<string> Removable(CommittedRounds run, IEnumerable<string> keys)
    {
        var last = run.Rounds.Count - 1;
        var needed = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (manifest, sha256) in run.Rounds)
        {
            needed.Add(Keys.Manifest(run.Job, manifest.Round, sha256));
            needed.Add(Keys.Timing(run.Job, manifest.Round));
            if (KeepsShared(run.Checkpoints, manifest.Round, last))
                needed.UnionWith(SharedOf(run.Job, manifest).Select(static blob => blob.Key));
            if (KeepsHeads(run.Checkpoints, manifest.Round, last))
                needed.UnionWith(OwnedOf(run.Job, manifest, client => run.SiteOf[client]).Select(static blob => blob.Key));
        }

        return [.. keys.Where(key => RoundOf(run.Job, key) is { } round && (round <= last || run.Finished) && !needed.Contains(key))];
    }

    /// <summary>
    /// The blobs in the job's store that a round's manifest names, without the updates; the state of a task that was kept lies with an
    /// earlier round.
    /// </summary>
    public static IEnumerable<BlobRef> SharedOf(string job, RoundManifest manifest)
    {
        yield return manifest.SharedOf(job);
        if (manifest.ServerOptimizerOf(job) is { } optimizer) yield return optimizer;
        foreach (var task in manifest.Tasks ?? [])
        {
            yield return task.SharedOf(job);
            if (task.ServerOptimizerOf(job) is { } remembered) yield return remembered;
        }
    }

    /// <summary>The heads and optimizer states that a manifest names, in the sites' stores.</summary>
    public static IEnumerable<BlobRef> OwnedOf(string job, RoundManifest manifest, Func<string, string> siteOf)
    {
        foreach (var client in manifest.Clients)
        {
            if (client.Head is { } head) yield return head.At(Keys.Head(job, siteOf(client.Id), client.Id, client.HeadRound));
            if (client.Optimizer is { } optimizer)
                yield return optimizer.At(Keys.Optimizer(job, siteOf(client.Id), client.Id, client.HeadRound));
        }
    }

    /// <summary>The round that a key of a job belongs to, in the job's store or in a site's; null for a key of no round.</summary>
    public static int? RoundOf(string job, string key) => Keys.RoundOf(key, Keys.Rounds(job))
        ?? (Keys.OwnerOf(key, job) is var (site, client) ? Keys.RoundOf(key, Keys.Owned(job, site, client)) : null);

    private static bool IsEvery(CheckpointSpec spec, int round) => spec.KeepEvery is { } every && round % every == 0;
}
