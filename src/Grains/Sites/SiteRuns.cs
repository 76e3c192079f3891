using System.Runtime.CompilerServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.Grains.Sites;

/// <summary>A client's committed state, scored again, beside what its manifest says.</summary>
/// <param name="Site">Its site.</param>
/// <param name="Task">Its task.</param>
/// <param name="Now">The score as of now, or why there is none.</param>
public sealed record ScoredAgain(string Site, string Task, ClientScored Now);

/// <summary>Asks the sites of a run, from any silo, for what belongs to them. Whoever calls has asked whether the caller may.</summary>
public sealed class SiteRuns
{
    private const int Tries = 5;
    private const int AtOnce = 64; // clients in one call: a site with many answers before anybody takes it for gone
    private const int MostPieces = 2; // of 256 kB in a message
    private readonly IGrainFactory _grains;
    private readonly SiteWatch _watch;

    internal SiteRuns(IGrainFactory grains, SiteWatch watch) => (_grains, _watch) = (grains, watch);

    /// <summary>The adapter of a client as files, from the last committed round.</summary>
    /// <exception cref="BadInputException">Nothing is committed, or the method has no such form; before the first piece.</exception>
    /// <exception cref="StoreUnavailableException">A store of the site cannot be used.</exception>
    /// <exception cref="SiteUnavailableException">The site has no live silo, or lost the one that was asked.</exception>
    public IAsyncEnumerable<FilePiece> ExportAsync(
        string run, string client, FormAsked form, CancellationToken cancellationToken = default) =>
        StreamCommittedAsync(run, client, (site, committed) => site.ExportAsync(committed, client, form, cancellationToken),
            cancellationToken);

    /// <summary>Goes on from a prompt with a client's state of the last committed round.</summary>
    /// <inheritdoc cref="ExportAsync" path="/exception"/>
    public IAsyncEnumerable<string> GenerateAsync(
        string run, string client, Prompt prompt, CancellationToken cancellationToken = default) =>
        StreamCommittedAsync(run, client, (site, committed) => site.GenerateAsync(committed, client, prompt, cancellationToken),
            cancellationToken);

    /// <summary>What a client's last scoring said of each row; empty where its site keeps none.</summary>
    /// <inheritdoc cref="ExportAsync" path="/exception"/>
    public IAsyncEnumerable<FilePiece> RowScoresAsync(string run, string client, CancellationToken cancellationToken = default) =>
        StreamOwnAsync(run, client, site => site.RowScoresAsync(client, cancellationToken), cancellationToken);

    /// <summary>The step-level points of a client; empty where its site keeps none.</summary>
    /// <inheritdoc cref="ExportAsync" path="/exception"/>
    public IAsyncEnumerable<FilePiece> StepsAsync(string run, string client, CancellationToken cancellationToken = default) =>
        StreamOwnAsync(run, client, site => site.StepsAsync(client, cancellationToken), cancellationToken);

    /// <summary>
    /// Scores clients of the last committed round again, each at its site; in client-id order. That a site cannot be asked is the failure
    /// of its clients.
    /// </summary>
    /// <param name="run">The run.</param>
    /// <param name="clients">The clients; null for all.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">Nothing is committed, or there is no such client.</exception>
    public async Task<(int Round, IReadOnlyList<ScoredAgain> Clients)> EvaluateAsync(
        string run, IReadOnlyCollection<string>? clients = null, CancellationToken cancellationToken = default)
    {
        var plan = await PlanAsync(run, cancellationToken);
        foreach (var client in clients ?? []) Client(plan, run, client);
        for (var tries = 1; ; tries++)
        {
            var sites = await CommittedAsync(run, plan, clients?.ToHashSet(StringComparer.Ordinal), cancellationToken);
            try
            {
                var scored = await Task.WhenAll(sites.Select(site => EvaluateAsync(site.Key, plan, site.Value, cancellationToken)));
                return (sites.Values.Select(static site => site.Round).FirstOrDefault(),
                    [.. scored.SelectMany(static some => some).OrderBy(static one => one.Now.ClientId, StringComparer.Ordinal)]);
            }
            catch (RoundLeftException) when (tries < Tries)
            {
                // the next round was committed meanwhile
            }
        }
    }

    /// <summary>Asks a site.</summary>
    /// <exception cref="StoreUnavailableException">A store of the site cannot be used.</exception>
    /// <exception cref="SiteUnavailableException">The site has no live silo, or lost the one that was asked.</exception>
    public async Task<T> AskAsync<T>(string run, string site, Func<ISiteRunGrain, Task<T>> ask, CancellationToken cancellationToken)
    {
        try
        {
            return await ask(Of(run, site));
        }
        catch (Exception e) when (Translated(e, site, cancellationToken) is { } told)
        {
            throw told;
        }
    }

    private async Task<IEnumerable<ScoredAgain>> EvaluateAsync(
        string site, FederationPlan plan, SiteAssignment committed, CancellationToken cancellationToken)
    {
        var tasks = plan.Clients.ToDictionary(static client => client.Id, static client => client.Task, StringComparer.Ordinal);
        var scored = new List<ScoredAgain>(committed.Members.Count);
        foreach (var members in committed.Members.Chunk(AtOnce))
        {
            var some = await EvaluateAsync(site, committed with { Members = members }, isFirst: scored.Count == 0, cancellationToken);
            scored.AddRange(some.Select(one => new ScoredAgain(site, tasks[one.ClientId], one)));
        }

        return scored;
    }

    private async Task<IEnumerable<ClientScored>> EvaluateAsync(
        string site, SiteAssignment some, bool isFirst, CancellationToken cancellationToken)
    {
        try
        {
            return await AskAsync(some.JobId, site, grain => grain.EvaluateAsync(some, cancellationToken), cancellationToken);
        }
        catch (Exception e) when (e is SiteUnavailableException or StoreUnavailableException or CorruptBlobException or BadInputException)
        {
            if (isFirst && e is RoundLeftException) throw; // nothing is lost by asking again
            var failure = e.Message.ReplaceLineEndings(" ");
            return some.Members.Select(member => new ClientScored(member.ClientId, Score: null, failure));
        }
    }

    private async IAsyncEnumerable<T> StreamCommittedAsync<T>(
        string run, string client, Func<ISiteRunGrain, SiteAssignment, IAsyncEnumerable<T>> ask,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var plan = await PlanAsync(run, cancellationToken);
        var site = Client(plan, run, client).Site;
        for (var tries = 1; ; tries++)
        {
            var sites = await CommittedAsync(run, plan, [client], cancellationToken);
            if (!sites.TryGetValue(site, out var committed))
                throw new BadInputException($"Client {client} is in no committed round of run {run}.");
            await using var pieces = StreamAsync(run, site, grain => ask(grain, committed), cancellationToken)
                .GetAsyncEnumerator(cancellationToken);
            try
            {
                if (!await pieces.MoveNextAsync()) yield break;
            }
            catch (RoundLeftException) when (tries < Tries)
            {
                continue; // the next round was committed meanwhile
            }

            do yield return pieces.Current;
            while (await pieces.MoveNextAsync());
            yield break;
        }
    }

    private async IAsyncEnumerable<T> StreamOwnAsync<T>(
        string run, string client, Func<ISiteRunGrain, IAsyncEnumerable<T>> ask,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var site = Client(await PlanAsync(run, cancellationToken), run, client).Site;
        await foreach (var piece in StreamAsync(run, site, ask, cancellationToken)) yield return piece;
    }

    private async IAsyncEnumerable<T> StreamAsync<T>(
        string run, string site, Func<ISiteRunGrain, IAsyncEnumerable<T>> ask,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await using var pieces = ask(Of(run, site)).WithBatchSize(MostPieces).GetAsyncEnumerator(cancellationToken);
        while (true)
        {
            try
            {
                if (!await pieces.MoveNextAsync()) yield break;
            }
            catch (Exception e) when (Translated(e, site, cancellationToken) is { } told)
            {
                throw told;
            }

            yield return pieces.Current;
        }
    }

    // The clients asked for, by site.
    private async Task<SortedDictionary<string, SiteAssignment>> CommittedAsync(
        string run, FederationPlan plan, HashSet<string>? clients, CancellationToken cancellationToken)
    {
        var siteOf = plan.Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
        var sites = new SortedDictionary<string, SiteAssignment>(StringComparer.Ordinal);
        foreach (var committed in await _grains.GetGrain<IRunFollowingGrain>(run).CommittedAsync(cancellationToken))
        {
            MemberWork[] members =
                [.. committed.Members.Where(member => clients is null || clients.Contains(member.ClientId))];
            if (members.Length > 0) sites.Add(siteOf[members[0].ClientId], committed with { Members = members });
        }

        return sites;
    }

    private async Task<FederationPlan> PlanAsync(string run, CancellationToken cancellationToken) =>
        await _grains.GetGrain<IRunControlGrain>(Identifiers.Check("run", run)).GetPlanAsync(cancellationToken) is { } yaml
            ? PlanReader.Require(yaml, run)
            : throw new BadInputException($"There is no run {run} in this store.");

    private static ClientSpec Client(FederationPlan plan, string run, string client) =>
        plan.Clients.FirstOrDefault(one => one.Id == client)
        ?? throw new BadInputException($"Run {run} has no client {BadInputException.Shown(client)}.");

    private ISiteRunGrain Of(string run, string site) => _grains.GetGrain<ISiteRunGrain>(Keys.Site(run, site));

    // What a caller can act on; null for what is to be thrown as it is.
    private Exception? Translated(Exception e, string site, CancellationToken cancellationToken)
    {
        if (e is OperationCanceledException && cancellationToken.IsCancellationRequested) return null;
        if (e is BadInputException or CorruptBlobException or StoreUnavailableException) return null;
        if (CorruptBlobException.OrBadInputIn(e) is { } refusal) return refusal;
        if (StoreUnavailableException.In(e) is { } trouble) return trouble;
        return e is EnumerationAbortedException || Unanswered.Is(e, cancellationToken)
            ? new SiteUnavailableException(site, _watch.Absent([site]) is [var absent] ? absent : null, e)
            : null;
    }
}
