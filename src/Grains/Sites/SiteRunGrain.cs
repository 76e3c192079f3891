using System.Runtime.CompilerServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Clients;
using FedRLora.Grains.Exports;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Placement;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;

namespace FedRLora.Grains.Sites;

/// <summary>
/// What a site gives of a run beside its rounds. It remembers nothing and changes nothing; calls interleave, and all that takes time is
/// done off its turn.
/// </summary>
[OnItsSite]
internal sealed class SiteRunGrain(
    IBlobStores stores, SiloCache cache, ITrainer trainer, IPrompter prompter, IAdapterExporter exporter, InputGuard guard,
    SiloIdentity silo, GrainSettings settings) : Grain, ISiteRunGrain
{
    private const string Scores = "row-scores.json";

    private string Run => Keys.JobOf(this.GetPrimaryKeyString());

    private string Site => Keys.SiteOf(this.GetPrimaryKeyString());

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        silo.RequireSiteOf(this.GetPrimaryKeyString());
        return Task.CompletedTask;
    }

    public async IAsyncEnumerable<FilePiece> ExportAsync(
        SiteAssignment committed, string client, FormAsked form, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var (plan, own) = await OfAsync(committed, client, cancellationToken);
        var export = new StreamedExport();
        await Task.Run(() => new CommittedStates(stores, cache, own, plan).ReadAsync(() =>
            new AdapterExport(exporter, guard).WriteAsync(
                ExportedRound.Of(own, plan, cache, stores.Site), export, form.Form(plan.Plan.Model.Path), cancellationToken),
            cancellationToken), cancellationToken);
        foreach (var piece in export.Take()) yield return piece;
    }

    public async Task<IReadOnlyList<ClientScored>> EvaluateAsync(SiteAssignment committed, CancellationToken cancellationToken = default)
    {
        var (plan, site) = (await cache.PlanAsync(committed.Plan, cancellationToken), Site);
        return await Task.Run(() => ScoreAsync(committed, plan, site, cancellationToken), cancellationToken);
    }

    public async IAsyncEnumerable<string> GenerateAsync(
        SiteAssignment committed, string client, Prompt prompt, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var (plan, own) = await OfAsync(committed, client, cancellationToken);
        var group = await Task.Run(async () =>
        {
            if (await guard.BaseChangeAsync(own.JobId, own.Inputs, own.Round, plan.Plan, cancellationToken) is { } change)
                throw new BadInputException($"{change.On(silo.Name).Line}; put back what it was, the adapter belongs to it");
            return await (await new CommittedStates(stores, cache, own, plan).GroupsAsync(cancellationToken))[0](cancellationToken);
        }, cancellationToken);
        await foreach (var text in prompter.PromptAsync(group, prompt, cancellationToken)) yield return text;
    }

    public async IAsyncEnumerable<FilePiece> RowScoresAsync(
        string client, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var key = Keys.RowScores(Run, Site, Identifiers.Check("client", client));
        if (await stores.Site.ReadBytesAsync(key, cancellationToken) is not { } bytes) yield break;
        if (SealedJson.Check(bytes) is { } problem)
            throw new CorruptBlobException($"{key} {problem}; delete it: the client's next scoring writes it again.");
        foreach (var piece in FilePieces.Of(Scores, stream => stream.Write(bytes))) yield return piece;
    }

    public async IAsyncEnumerable<FilePiece> StepsAsync(
        string client, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var points = StepPointsFile.ReadAllAsync(stores.Site, Run, Site, Identifiers.Check("client", client), cancellationToken);
        await foreach (var (file, lines) in points)
            foreach (var piece in FilePieces.Of(file, stream => stream.Write(lines))) yield return piece;
    }

    public Task<RunReport?> VerifyAsync(CancellationToken cancellationToken = default)
    {
        var (run, site) = (Run, Site);
        return Task.Run(() => new RunVerifier(stores.Job, stores.Site, run).VerifySiteAsync(site, cancellationToken), cancellationToken);
    }

    public Task<IReadOnlyDictionary<string, ScoreComparison>> CompareAsync(
        string other, IReadOnlyList<string> clients, CancellationToken cancellationToken = default)
    {
        var (run, site) = (Run, Site);
        Identifiers.Check("run", other);
        var owners = clients.Select(client => (site, Identifiers.Check("client", client))).ToArray();
        return Task.Run(() => RowComparison.OfAsync(stores.Site, owners, run, other, cancellationToken), cancellationToken);
    }

    // The part of a committed round that concerns one client.
    private async Task<(IndexedPlan Plan, SiteAssignment Own)> OfAsync(
        SiteAssignment committed, string client, CancellationToken cancellationToken)
    {
        if (committed.Members.FirstOrDefault(member => member.ClientId == client) is not { } work)
            throw new BadInputException($"Run {committed.JobId} has no client {BadInputException.Shown(client)} at site {Site}.");
        var plan = await cache.PlanAsync(committed.Plan, cancellationToken);
        return (plan, TaskStates.For([work], committed, plan));
    }

    private async Task<IReadOnlyList<ClientScored>> ScoreAsync(
        SiteAssignment committed, IndexedPlan plan, string site, CancellationToken cancellationToken)
    {
        var states = new CommittedStates(stores, cache, committed, plan);
        var groups = await states.GroupsAsync(cancellationToken);
        var changes = await states.ChangesAsync(guard, site, silo.Name, cancellationToken);
        var scored = new ClientScored[groups.Count];
        var options = new ParallelOptions
        {
            MaxDegreeOfParallelism = settings.Lanes ?? Environment.ProcessorCount, CancellationToken = cancellationToken,
        };
        await Parallel.ForAsync(0, groups.Count, options, async (i, token) =>
        {
            var client = committed.Members[i].ClientId;
            scored[i] = await ScoreAsync(committed.JobId, client, groups[i], token) with { Changes = [.. changes[client]] };
        });
        return scored;
    }

    // By itself: what others are scored beside it moves no bit, and its failure is its own.
    private async Task<ClientScored> ScoreAsync(
        string job, string client, Func<CancellationToken, Task<TrainingGroup>> read, CancellationToken cancellationToken)
    {
        using var turn = await cache.TurnAsync(CommittedStates.WorkOf(job), cancellationToken);
        try
        {
            var result = (await trainer.EvaluateAsync(await read(cancellationToken), cancellationToken))[0];
            return new ClientScored(client, result.Failure is null && result.Rows > 0 ? ClientGrain.ScoreOf(result) : null, result.Failure);
        }
        catch (Exception e) when (e is not OperationCanceledException && StoreUnavailableException.In(e) is null)
        {
            return new ClientScored(client, Score: null, e.Message.ReplaceLineEndings(" ")); // as in a round
        }
    }
}
