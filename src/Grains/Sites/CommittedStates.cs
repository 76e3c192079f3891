using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Clients;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Sites;

/// <summary>What a site reads of a committed round to work with it once more; every blob is checked against its digest.</summary>
internal sealed class CommittedStates(IBlobStores stores, SiloCache cache, SiteAssignment committed, IndexedPlan plan)
{
    private const long MostHeadBytes = 1L << 30; // more stay in the store until they are asked for

    /// <summary>What this work is called where runs take turns: it does not stand behind all that the run's own rounds wait for.</summary>
    public static string WorkOf(string job) => $"{job}, again";

    /// <summary>
    /// The committed round as groups of one, a client each, in the members' order. Of a run that goes on, heads are read before the first
    /// is worked with: the site lets them go two rounds later. A blob that is not what it should be is met by who asks for its client.
    /// </summary>
    /// <exception cref="BadInputException">This version reads the plan otherwise than the round was made with.</exception>
    /// <exception cref="RoundLeftException">The run has left the round.</exception>
    public async Task<IReadOnlyList<Func<CancellationToken, Task<TrainingGroup>>>> GroupsAsync(CancellationToken cancellationToken)
    {
        PlanText.RequireValues(plan.Plan, committed.JobId, committed.Engine);
        var isMuch = committed.Members.Sum(static member => member.Head?.SizeBytes ?? 0) > MostHeadBytes;
        var read = new List<Func<CancellationToken, Task<TrainingGroup>>>(committed.Members.Count);
        foreach (var member in committed.Members)
        {
            if (isMuch)
            {
                read.Add(token => ReadAsync(member, token));
                continue;
            }

            try
            {
                var group = await ReadAsync(member, cancellationToken);
                read.Add(_ => Task.FromResult(group));
            }
            catch (CorruptBlobException e)
            {
                read.Add(_ => Task.FromException<TrainingGroup>(e)); // its client's failure and nobody else's
            }
        }

        return read;
    }

    /// <summary>A client with all that it works with.</summary>
    /// <exception cref="RoundLeftException">The run has left the round.</exception>
    private Task<TrainingGroup> ReadAsync(MemberWork member, CancellationToken cancellationToken) => ReadAsync(async () =>
    {
        var own = TaskStates.For([member], committed, plan);
        return new TrainingGroup
        {
            Plan = plan.Plan,
            Round = committed.Round,
            Shared = await cache.SharedAsync(committed.Shared, cancellationToken),
            Members = [await new TaskStates(plan, own).MemberAsync(member, cache, stores.Site, cancellationToken)],
            Run = WorkOf(committed.JobId),
        };
    }, cancellationToken);

    /// <summary>Reads something of the round.</summary>
    /// <exception cref="RoundLeftException">It is not there any more, since the run has left the round.</exception>
    public async Task<T> ReadAsync<T>(Func<Task<T>> read, CancellationToken cancellationToken)
    {
        try
        {
            return await read();
        }
        catch (CorruptBlobException)
        {
            var now = await new CommitLog(stores.Job, committed.JobId).ReadAsync(cancellationToken);
            if (now is null || now.Round <= committed.Round) throw;
            throw new RoundLeftException($"{committed.JobId}: the run is going on and has left round {committed.Round}; "
                + "try again when it is finished or paused.");
        }
    }

    /// <summary>How base and rows differ from what the round was made with, in one line each, by client.</summary>
    public async Task<ILookup<string, string>> ChangesAsync(InputGuard guard, string site, string silo, CancellationToken cancellationToken)
    {
        string[] clients = [.. committed.Members.Select(static member => member.ClientId)];
        var made = committed.Inputs is { } blob ? await guard.DocumentAsync(blob, cancellationToken) : null;
        var found = await guard.CheckAsync(committed.JobId, site, silo, new()
        {
            Plan = committed.Plan, Inputs = committed.Inputs, Clients = clients, Round = committed.Round,
            Worked = made?.Worked(await ManifestAsync(cancellationToken)) ?? [],
        }, plan, cancellationToken);
        return clients.SelectMany(client => new[] { found.Base, found.Rows.GetValueOrDefault(client) }
            .OfType<string>().Select(line => (client, line))).ToLookup(static one => one.client, static one => one.line);
    }

    private async Task<RoundManifest> ManifestAsync(CancellationToken cancellationToken)
    {
        var (log, round) = (new CommitLog(stores.Job, committed.JobId), committed.Round);
        if (await log.ReadAsync(cancellationToken) is not { } current || current.Round < round)
            throw new BadInputException($"{committed.JobId}: round {round} is not committed.");
        return (await log.ManifestsAsync(round, round, current, cancellationToken))[0].Manifest;
    }
}
