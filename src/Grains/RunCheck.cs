using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>
/// Looks, before anything goes on, whether all is there that a stopped run goes on from: documents and the chain by their digests,
/// states and heads of the last round by their lengths, since their digests are checked when they are read.
/// </summary>
public static class RunCheck
{
    /// <summary>Checks a run whose sites share a store; a run that is not stored passes.</summary>
    /// <exception cref="CorruptBlobException">Something is missing or was changed; the message names it and what helps.</exception>
    public static async Task RequireAsync(IBlobStore jobStore, IBlobStore siteStore, string job, CancellationToken cancellationToken = default)
    {
        foreach (var key in new[] { Keys.Fingerprint(job), Keys.Notes(job) })
        {
            if (await jobStore.ReadBytesAsync(key, cancellationToken) is { } bytes) BlobStates.RequireSealed(bytes, key);
        }

        var log = new CommitLog(jobStore, job);
        var current = await log.ReadAsync(cancellationToken);
        if (await StoredPlans.NewestAsync(jobStore, job, cancellationToken) is null)
        {
            if (await CommitTraces.FindAsync(jobStore, job, cancellationToken) is { } trace) throw StoredPlans.Missing(job, trace);
            return;
        }

        if (current is null) return;
        foreach (var (link, _) in await log.ManifestsAsync(0, current.Round, current, cancellationToken))
        {
            if (link.Round == current.Round) await RequireAsync(jobStore, siteStore, job, link, cancellationToken);
            if (await jobStore.ReadBytesAsync(Keys.Timing(job, link.Round), cancellationToken) is { } timing) BlobStates.RequireSealed(timing, Keys.Timing(job, link.Round));
        }
    }

    private static async Task RequireAsync(IBlobStore jobStore, IBlobStore siteStore, string job, RoundManifest last, CancellationToken cancellationToken)
    {
        var yaml = await StoredPlans.FindAsync(jobStore, job, last.PlanSha256, cancellationToken);
        var siteOf = PlanReader.Require(Encoding.UTF8.GetString(yaml), Keys.Plan(job)).Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
        foreach (var blob in Retention.SharedOf(job, last)) await jobStore.RequireAsync(blob, cancellationToken);
        foreach (var blob in Retention.OwnedOf(job, last, client => siteOf[client])) await siteStore.RequireAsync(blob, cancellationToken);
    }
}
