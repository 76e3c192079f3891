using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Upkeep;

/// <summary>
/// Looks, before anything goes on, whether all is there that a stopped run goes on from: documents and the chain by their digests,
/// states and heads of the last round by their lengths, since their digests are checked when they are read.
/// </summary>
public static class RunCheck
{
    /// <summary>Checks a run whose sites share a store; a run that is not stored passes.</summary>
    /// <param name="jobStore">The job's store.</param>
    /// <param name="siteStore">The store of the sites.</param>
    /// <param name="job">The job.</param>
    /// <param name="anyEngine">Whether it may go on without knowing on which engine it was made.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="CorruptBlobException">Something is missing or was changed; the message names it and what helps.</exception>
    public static async Task RequireAsync(
        IBlobStore jobStore, IBlobStore siteStore, string job, bool anyEngine, CancellationToken cancellationToken = default)
    {
        var (memory, fingerprint) = (Keys.Memory(job), Keys.Fingerprint(job));
        if (await jobStore.ReadBytesAsync(memory, cancellationToken) is { } bytes) BlobStates.RequireSealed(bytes, memory);
        var engine = EngineFingerprints.Read(await jobStore.ReadBytesAsync(fingerprint, cancellationToken), fingerprint);
        var log = new CommitLog(jobStore, job);
        var current = await log.ReadAsync(cancellationToken);
        if (await StoredPlans.NewestAsync(jobStore, job, cancellationToken) is null)
        {
            if (current is not null) throw StoredPlans.Missing(job);
            return;
        }

        if (current is null) return;
        if (engine is null && !anyEngine)
            throw new CorruptBlobException($"{fingerprint} is missing; {WayOut.Of(fingerprint)}, or resume with --allow-engine-change.");
        foreach (var (link, _) in await log.ManifestsAsync(0, current.Round, current, cancellationToken))
        {
            if (link.Round == current.Round)
            {
                await RequireAsync(jobStore, siteStore, job, link, cancellationToken);
                await MadeWith.RequireAsync(jobStore, job, link, cancellationToken);
            }

            var timing = Keys.Timing(job, link.Round);
            if (await jobStore.ReadBytesAsync(timing, cancellationToken) is { } timed) BlobStates.RequireSealed(timed, timing);
        }
    }

    private static async Task RequireAsync(
        IBlobStore jobStore, IBlobStore siteStore, string job, RoundManifest last, CancellationToken cancellationToken)
    {
        var yaml = await StoredPlans.FindAsync(jobStore, job, last.PlanSha256, cancellationToken);
        var plan = PlanReader.Require(Encoding.UTF8.GetString(yaml), Keys.Plan(job));
        var siteOf = plan.Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
        foreach (var blob in Retention.SharedOf(job, last)) await jobStore.RequireAsync(blob, cancellationToken);
        foreach (var blob in Retention.OwnedOf(job, last, client => siteOf[client])) await siteStore.RequireAsync(blob, cancellationToken);
    }
}
