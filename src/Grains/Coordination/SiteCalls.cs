using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Sending;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>Calls the sites of one job, and says once that one cannot be reached.</summary>
internal sealed class SiteCalls(CoordinatorServices services, string job)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5); // for a word that a live silo has at hand
    private readonly Dictionary<string, long> _unreachable = new(StringComparer.Ordinal); // of which that was logged, after how many calls
    private long _calls;

    /// <summary>The site's part of the job.</summary>
    public ISiteGrain Of(string site) => services.Grains.GetGrain<ISiteGrain>(Keys.Site(job, site));

    /// <summary>Calls a site; returns whether it was reached.</summary>
    public async Task<bool> TryAsync(string site, Func<ISiteGrain, Task> call, CancellationToken cancellationToken)
    {
        var number = ++_calls;
        try
        {
            await call(Of(site));
            // A call that had begun before the site was lost says nothing of it now.
            if (_unreachable.TryGetValue(site, out var lost) && lost < number) _unreachable.Remove(site);
            return true;
        }
        catch (Exception e) when (e is OrleansException || Unanswered.Is(e, cancellationToken)
            || StoreUnavailableException.In(e) is not null)
        {
            // Its message holds the stack traces of others. How long it stays away is said by what the round waits for.
            if (_unreachable.TryAdd(site, _calls)) services.Logger.LogSiteUnreachable(job, site, e.GetType().Name);
            return false;
        }
    }

    /// <summary>
    /// Asks every site of a plan that can be reached whether what the plan sends may leave it. One that cannot be reached, or whose silo
    /// is of a version that does not know the question, says so when it is given work.
    /// </summary>
    /// <exception cref="BadInputException">Sites refuse the plan; a line for each.</exception>
    public async Task RequireWillingAsync(FederationPlan plan, CancellationToken cancellationToken)
    {
        var sent = SentTensor.Of(plan);
        if (sent.Count == 0) return;
        var refusals = new SortedDictionary<string, string>(StringComparer.Ordinal);
        await Task.WhenAll(plan.Clients.Select(static client => client.Site).Distinct(StringComparer.Ordinal)
            .Select(AskAsync));
        if (refusals.Count > 0) throw new BadInputException(string.Join('\n', refusals.Values));

        async Task AskAsync(string site)
        {
            try
            {
                if (await Of(site).RefusesAsync(sent, cancellationToken).WaitAsync(Patience, cancellationToken) is { } refusal)
                    refusals.Add(site, refusal);
            }
            catch (Exception e) when (e is not OperationCanceledException) // whatever a version makes of a call that it does not know
            {
                if (_unreachable.TryAdd(site, _calls)) services.Logger.LogSiteUnreachable(job, site, e.GetType().Name);
            }
        }
    }

    /// <summary>Stops what runs at these sites, as far as they can be reached; the others stop by their lease.</summary>
    public Task CancelAsync(IEnumerable<string> sites, CancellationToken cancellationToken) => Task.WhenAll(sites.Select(site =>
        TryAsync(site, grain => grain.CancelAsync(cancellationToken).WaitAsync(Patience, cancellationToken), cancellationToken)));

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
