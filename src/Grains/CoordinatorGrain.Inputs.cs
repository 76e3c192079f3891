using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Inputs;
using Orleans.Runtime;

namespace FedRLora.Grains;

/// <summary>Base and rows belong to what a run was made with: a run goes on with others only where somebody allows it.</summary>
internal sealed partial class CoordinatorGrain
{
    private bool _accepting; // somebody allowed what changed; done by the loop that commits, so that no round comes between

    private string? BaseHint(InputChange? change)
    {
        if (change is not { } found) return null;
        var wayOn = found.IsUnreadable ? " and resume" : ", or resume with --allow-data-change to go on";
        return $"{found.On(silo.Name).Line}. Put back what it was{wayOn}.";
    }

    // A job of a version that did not record its inputs is held to what is there now, if it goes on. Returns why it must not.
    private async Task<InputChange?> KnowInputsAsync(OpenJob job, CancellationToken cancellationToken)
    {
        job.Inputs = await MadeWith.RequireAsync(stores.Job, Job, job.Committed, cancellationToken);
        if (job is { Inputs: null, Origin: { } origin }) RequireInputsOf(origin);
        var committed = (await job.Log.ReadAsync(cancellationToken))?.Round ?? -1;
        if (committed >= job.Plan.Strategy.Rounds) return null;
        try
        {
            if (await BaseChangeAsync(job, cancellationToken) is { } change) return change;
            if (job.Inputs is not null) return null;
            var made = MadeWith.Start(await inputs.BaseAsync(job.Plan, cancellationToken), after: committed);
            job.Inputs = (made, await made.WriteAsync(stores.Job, Keys.Inputs(Job), cancellationToken));
            LogInputsUnknown(Job);
            return null;
        }
        catch (BadInputException e)
        {
            return new InputChange(e.Message, IsUnreadable: true);
        }
    }

    // Whoever copied the start of a fork wrote down what it was held against.
    private void RequireInputsOf(Origin origin)
    {
        if (origin.Manifest.Base is not null)
            throw new CorruptBlobException($"{Keys.Inputs(Job)} is missing; put it back, or fork again under another name.");
    }

    private Task<InputChange?> BaseChangeAsync(OpenJob job, CancellationToken cancellationToken) =>
        guard.BaseChangeAsync(Job, job.Inputs?.Blob, round: null, job.Plan, cancellationToken);

    private async Task<InputChanges> FindChangesAsync(OpenJob job, CancellationToken cancellationToken)
    {
        var local = await BaseChangeAsync(job, cancellationToken);
        return await InputChanges.FindAsync(local?.On(silo.Name), SitesOf(job.Plan.Clients),
            (site, clients) => AskAsync(job, site, clients, acceptAfter: null, cancellationToken));
    }

    private static IEnumerable<IGrouping<string, string>> SitesOf(IEnumerable<ClientSpec> clients) =>
        clients.GroupBy(static client => client.Site, static client => client.Id, StringComparer.Ordinal);

    private async Task<InputsFound?> AskAsync(OpenJob job, string site, IReadOnlyList<string> clients, int? acceptAfter,
        CancellationToken cancellationToken)
    {
        InputsFound? found = null;
        var check = new InputsCheck
        {
            Plan = job.PlanBlob, Inputs = job.Inputs?.Blob, Clients = clients, AcceptAfter = acceptAfter,
            Worked = job.Inputs?.Document.Worked(job.Committed) ?? [],
        };
        await TryAsync(site, async grain => found = await grain.CheckInputsAsync(check, cancellationToken));
        return found;
    }

    // What cannot be gone on with is said before anything is written.
    private async Task RequireUsableAsync(OpenJob job, CancellationToken cancellationToken)
    {
        var initial = await trainer.InitialSharedAsync(job.Plan, cancellationToken);
        if (job.Committed is { } committed)
            Fork.RequireFits(initial, await cache.SharedAsync(committed.SharedOf(Job), cancellationToken),
                job.Plan.Model.Path, Job);
    }

    // First the record, which the next manifests are marked by, then the sites: a crash between the two asks again.
    private async Task AcceptInputsAsync(OpenJob job, InputChanges changes, CancellationToken cancellationToken)
    {
        await job.ReadCommittedAsync(notes.State.OriginSha256, cancellationToken);
        var after = job.Committed?.Round ?? -1;
        var made = (job.Inputs?.Document ?? new MadeWith([]))
            .Changed(after, await inputs.BaseAsync(job.Plan, cancellationToken), changes.Rows.Keys);
        job.Inputs = (made, await made.WriteAsync(stores.Job, Keys.Inputs(Job), cancellationToken));
        await stores.Job.MakeDurableAsync(cancellationToken); // a site that knew of a change alone would keep it from the manifests
        foreach (var line in changes.Lines) LogInputsChanged(Job, after + 1, line);
        foreach (var site in SitesOf(job.Plan.Clients.Where(client => changes.Rows.ContainsKey(client.Id))))
            await AskAsync(job, site.Key, [.. site], after, cancellationToken);
    }

    // What was reported in the open round was made with what counted before.
    private async Task ReopenAsync(OpenJob job, CancellationToken cancellationToken)
    {
        foreach (var site in job.Sites) await TryAsync(site, grain => grain.CancelAsync(cancellationToken));
        notes.State.InputsSha256 = job.Inputs?.Blob.Sha256;
        _state = notes.State.State = RoundMachine.Reopened(_state);
    }

    /// <summary>Whose rows are not those of the round that a fork begins from.</summary>
    /// <exception cref="BadInputException">Base or rows have changed, and that was not allowed.</exception>
    private async Task<IReadOnlyCollection<string>> CheckForkAsync(string source, RoundManifest manifest, FederationPlan plan,
        bool allowed, CancellationToken cancellationToken)
    {
        var from = await ForkSource.ReadAsync(stores.Job, source, manifest, cancellationToken);
        var local = await guard.BaseChangeAsync(source, from.Inputs, manifest.Round, plan, cancellationToken);
        var changes = await InputChanges.FindAsync(local?.On(silo.Name), SitesOf(from.Checked(plan)),
            async (site, clients) => await GrainFactory.GetGrain<ISiteGrain>(Keys.Site(source, site))
                .CheckInputsAsync(from.Check(clients), cancellationToken));
        changes.Require(allowed);
        var initial = await trainer.InitialSharedAsync(plan, cancellationToken); // before anything is copied
        Fork.RequireFits(initial, await cache.SharedAsync(manifest.SharedOf(source), cancellationToken),
            plan.Model.Path, source);
        return [.. changes.Rows.Keys];
    }
}
