using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Upkeep;

/// <summary>A blob that nobody needs.</summary>
/// <param name="Key">Its key.</param>
/// <param name="SizeBytes">What it takes.</param>
public sealed record UnneededBlob(string Key, long SizeBytes);

/// <summary>
/// Removes what a run does not need any more: see <see cref="Retention.Removable"/>. Nobody may run the job meanwhile. The chain of
/// manifests is followed first, since on a broken one it cannot be told what is needed.
/// </summary>
/// <param name="jobStore">The job's store.</param>
/// <param name="siteStore">The store of the job's sites.</param>
/// <param name="job">The job.</param>
public sealed class RunCollector(IBlobStore jobStore, IBlobStore siteStore, string job)
{
    /// <summary>What nobody needs; empty where nothing is committed.</summary>
    /// <exception cref="CorruptBlobException">The plan or a manifest is not what it should be.</exception>
    public async Task<IReadOnlyList<UnneededBlob>> FindAsync(CancellationToken cancellationToken = default)
    {
        if (await ReadAsync(cancellationToken) is not var (run, plan)) return [];
        // Work from any round before may go on when the run is resumed.
        if (plan.Strategy.Trigger.Rule == TriggerRule.Buffered && !run.Finished) return [];
        return
        [
            .. await UnneededAsync(jobStore, Keys.Rounds(job), run, cancellationToken),
            .. await UnneededAsync(siteStore, Keys.Sites, run, cancellationToken),
        ];
    }

    /// <summary>The committed rounds from which the whole run can be forked: their states and all their heads are there.</summary>
    /// <param name="without">Blobs that are counted as gone.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public async Task<IReadOnlyList<int>> ForkableAsync(IEnumerable<UnneededBlob> without, CancellationToken cancellationToken = default)
    {
        if (await ReadAsync(cancellationToken) is not var (run, _)) return [];
        var there = new HashSet<string>(StringComparer.Ordinal);
        await foreach (var key in jobStore.ListAsync(Keys.Rounds(job), cancellationToken)) there.Add(key);
        await foreach (var key in siteStore.ListAsync(Keys.Sites, cancellationToken)) there.Add(key);
        there.ExceptWith(without.Select(static blob => blob.Key));
        return [.. run.Rounds.Select(static link => link.Manifest)
            .Where(manifest => Retention.SharedOf(job, manifest)
                .Concat(Retention.OwnedOf(job, manifest, client => run.SiteOf[client])).All(blob => there.Contains(blob.Key)))
            .Select(static manifest => manifest.Round)];
    }

    /// <summary>Deletes what <see cref="FindAsync"/> found.</summary>
    public async Task RemoveAsync(IEnumerable<UnneededBlob> unneeded, CancellationToken cancellationToken = default)
    {
        foreach (var blob in unneeded)
        {
            var store = blob.Key.StartsWith(Keys.Sites, StringComparison.Ordinal) ? siteStore : jobStore;
            await store.DeleteAsync(blob.Key, cancellationToken);
        }
    }

    private async Task<(CommittedRounds Run, FederationPlan Plan)?> ReadAsync(CancellationToken cancellationToken)
    {
        var log = new CommitLog(jobStore, job);
        if (await log.ReadAsync(cancellationToken) is not { } current) return null;
        var manifests = await log.ManifestsAsync(0, current.Round, current, cancellationToken);
        await StoredPlans.FindAsync(jobStore, job, manifests[^1].Manifest.PlanSha256, cancellationToken);
        var newest = await StoredPlans.NewestAsync(jobStore, job, cancellationToken) ?? throw StoredPlans.Missing(job);
        var plan = PlanReader.Require(Encoding.UTF8.GetString(newest.Yaml), newest.Blob.Key);
        var siteOf = plan.Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
        return (new CommittedRounds(job, plan.Checkpoints, manifests, siteOf, Finished: current.Round >= plan.Strategy.Rounds), plan);
    }

    private static async Task<List<UnneededBlob>> UnneededAsync(
        IBlobStore store, string prefix, CommittedRounds run, CancellationToken cancellationToken)
    {
        var keys = new List<string>();
        await foreach (var key in store.ListAsync(prefix, cancellationToken)) keys.Add(key);
        var unneeded = new List<UnneededBlob>();
        foreach (var key in Retention.Removable(run, keys))
        {
            await using var opened = await store.OpenAsync(key, cancellationToken);
            if (opened is not null) unneeded.Add(new UnneededBlob(key, opened.SizeBytes));
        }

        return unneeded;
    }
}
