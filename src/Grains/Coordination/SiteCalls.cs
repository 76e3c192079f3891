using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Ports;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>Calls the sites of one job, and says once that one cannot be reached.</summary>
internal sealed class SiteCalls(CoordinatorServices services, string job)
{
    private readonly HashSet<string> _unreachable = new(StringComparer.Ordinal); // of which that was logged

    /// <summary>The site's part of the job.</summary>
    public ISiteGrain Of(string site) => services.Grains.GetGrain<ISiteGrain>(Keys.Site(job, site));

    /// <summary>Calls a site; returns whether it was reached.</summary>
    public async Task<bool> TryAsync(string site, Func<ISiteGrain, Task> call)
    {
        try
        {
            await call(Of(site));
            _unreachable.Remove(site);
            return true;
        }
        catch (Exception e) when (e is OrleansException or TimeoutException || StoreUnavailableException.In(e) is not null)
        {
            // Its message holds the stack traces of others. How long it stays away is said by what the round waits for.
            if (_unreachable.Add(site)) services.Logger.LogSiteUnreachable(job, site, e.GetType().Name);
            return false;
        }
    }

    /// <summary>Stops what runs at these sites, as far as they can be reached.</summary>
    public async Task CancelAsync(IEnumerable<string> sites, CancellationToken cancellationToken)
    {
        foreach (var site in sites) await TryAsync(site, grain => grain.CancelAsync(cancellationToken));
    }

    /// <summary>Has every site write its clients' adapters of the last committed round.</summary>
    /// <returns>The key prefix written, by client.</returns>
    /// <exception cref="BadInputException">Nothing is committed, or the method has no static form.</exception>
    public async Task<IReadOnlyDictionary<string, string>> ExportAsync(OpenJob open, CancellationToken cancellationToken)
    {
        if (open.Committed is null) throw new BadInputException($"Run {job} has committed nothing yet.");
        var written = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (site, committed) in open.CommittedBySite())
        {
            foreach (var (client, prefix) in await Of(site).ExportAsync(committed, cancellationToken)) written[client] = prefix;
        }

        return written;
    }
}
