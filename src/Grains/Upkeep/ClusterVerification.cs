using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Sites;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Upkeep;

/// <summary>
/// Checks a run of a cluster whose sites may have stores of their own: what is in the job's store on this silo, what a site keeps on a
/// silo of that site.
/// </summary>
/// <param name="stores">This silo's stores.</param>
/// <param name="sites">Asks sites.</param>
public sealed class ClusterVerification(IBlobStores stores, SiteRuns sites)
{
    /// <summary>Checks everything that can be reached; null where there is no such run.</summary>
    /// <exception cref="StoreUnavailableException">The job's store cannot be used.</exception>
    public async Task<RunReport?> VerifyAsync(string run, CancellationToken cancellationToken = default)
    {
        Identifiers.Check("run", run);
        var ofJob = await Task.Run(
            () => new RunVerifier(stores.Job, stores.Site, run).VerifyJobAsync(cancellationToken), cancellationToken);
        if (ofJob is null) return null;
        var parts = await Task.WhenAll(ofJob.OtherSites.Select(site => AskAsync(run, site, cancellationToken)));
        RunReport[] ofSites = [.. parts.Select(static part => part.Report).OfType<RunReport>()];
        var notAsked = parts.Where(static part => part.Why is not null)
            .ToDictionary(static part => part.Site, static part => part.Why!, StringComparer.Ordinal);
        // In the order in which one store would be looked through.
        var (last, first) = (ofJob.Broken.Where(finding => IsLast(run, finding)), ofJob.Broken.Where(finding => !IsLast(run, finding)));
        return ofJob with
        {
            Intact = ofJob.Intact + ofSites.Sum(static site => site.Intact),
            Broken = [.. first, .. ofSites.SelectMany(static site => site.Broken), .. last],
            Unchecked = Sorted(ofJob.Unchecked.Concat(ofSites.SelectMany(static site => site.Unchecked))),
            Leftovers = Sorted(ofJob.Leftovers.Concat(ofSites.SelectMany(static site => site.Leftovers))),
            OtherSites = Sorted(notAsked.Keys),
            NotAsked = notAsked,
        };
    }

    private async Task<(string Site, RunReport? Report, string? Why)> AskAsync(string run, string site, CancellationToken cancellationToken)
    {
        try
        {
            var report = await sites.AskAsync(run, site, grain => grain.VerifyAsync(cancellationToken), cancellationToken);
            return (site, report, report is null ? $"site {site} finds no run {run} in the job store that its silo has" : null);
        }
        catch (Exception e) when (e is SiteUnavailableException or StoreUnavailableException or CorruptBlobException or BadInputException)
        {
            return (site, null, e.Message.ReplaceLineEndings(" "));
        }
    }

    private static bool IsLast(string run, Finding finding) =>
        finding.Key == Keys.Memory(run) || finding.Key == Keys.IndexOf(run)
        || (Keys.RoundOf(finding.Key, Keys.Rounds(run)) is { } round && finding.Key == Keys.Timing(run, round));

    private static string[] Sorted(IEnumerable<string> keys) => [.. keys.Order(StringComparer.Ordinal)];
}
