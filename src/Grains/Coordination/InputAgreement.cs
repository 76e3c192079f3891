using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>Base and rows belong to what a run was made with: a run goes on with others only where somebody allows it.</summary>
internal sealed class InputAgreement(CoordinatorServices services, string name, IPersistentState<JobMemory> memory, SiteCalls sites)
{
    /// <summary>What has changed and what to do about it; null where nothing has.</summary>
    public string? Hint(InputChange? change)
    {
        if (change is not { } found) return null;
        var wayOn = found.IsUnreadable ? " and resume" : ", or resume with --allow-data-change to go on";
        return $"{found.On(services.Silo.Name).Line}. Put back what it was{wayOn}.";
    }

    /// <summary>
    /// Reads what a job is made with. One of a version that did not record its inputs is held to what is there now, if it goes on.
    /// </summary>
    /// <returns>Why it must not go on; null where it may.</returns>
    public async Task<InputChange?> KnowAsync(OpenJob job, CancellationToken cancellationToken)
    {
        job.Inputs = await MadeWith.RequireAsync(services.Store, name, job.Committed, cancellationToken);
        if (job is { Inputs: null, Origin: { } origin }) RequireInputsOf(origin);
        var committed = (await job.Log.ReadAsync(cancellationToken))?.Round ?? -1;
        if (committed >= job.Plan.Strategy.Rounds) return null;
        try
        {
            if (await BaseChangeAsync(job, cancellationToken) is { } change) return change;
            if (job.Inputs is not null) return null;
            var made = MadeWith.Start(await services.Inputs.BaseAsync(job.Plan, cancellationToken), after: committed);
            job.Inputs = (made, await made.WriteAsync(services.Store, Keys.Inputs(name), cancellationToken));
            services.Logger.LogInputsUnknown(name);
            return null;
        }
        catch (BadInputException e)
        {
            return new InputChange(e.Message, IsUnreadable: true);
        }
    }

    /// <summary>Whoever copied the start of a fork wrote down what it was held against.</summary>
    /// <exception cref="CorruptBlobException">That is missing.</exception>
    public void RequireInputsOf(Origin origin)
    {
        if (origin.Manifest.Base is not null)
            throw new CorruptBlobException($"{Keys.Inputs(name)} is missing; put it back, or fork again under another name.");
    }

    private Task<InputChange?> BaseChangeAsync(OpenJob job, CancellationToken cancellationToken) =>
        services.Guard.BaseChangeAsync(name, job.Inputs?.Blob, round: null, job.Plan, cancellationToken);

    /// <summary>What is not what the job is made with, here and at every site that can be reached.</summary>
    public async Task<InputChanges> FindChangesAsync(OpenJob job, CancellationToken cancellationToken)
    {
        var local = await BaseChangeAsync(job, cancellationToken);
        return await InputChanges.FindAsync(local?.On(services.Silo.Name), SitesOf(job.Plan.Clients),
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
        await sites.TryAsync(site, async grain => found = await grain.CheckInputsAsync(check, cancellationToken), cancellationToken);
        return found;
    }

    /// <summary>What cannot be gone on with is said before anything is written.</summary>
    /// <exception cref="BadInputException">The base has other layers, or is no base.</exception>
    public async Task RequireUsableAsync(OpenJob job, CancellationToken cancellationToken)
    {
        if (job.Committed is { } committed)
            await Fork.RequireFitsAsync(services.Trainer, job.Plan, services.Store, name, committed, cancellationToken);
        else await services.Trainer.InitialSharedAsync(job.Plan, cancellationToken);
    }

    /// <summary>
    /// Goes on with what changed: first the record, which the next manifests are marked by, then the sites; a crash between the two asks
    /// again.
    /// </summary>
    public async Task AcceptAsync(OpenJob job, InputChanges changes, CancellationToken cancellationToken)
    {
        await job.ReadCommittedAsync(memory.State.OriginSha256, cancellationToken);
        var after = job.Committed?.Round ?? -1;
        var made = (job.Inputs?.Document ?? new MadeWith([]))
            .Changed(after, await services.Inputs.BaseAsync(job.Plan, cancellationToken), changes.Rows.Keys);
        job.Inputs = (made, await made.WriteAsync(services.Store, Keys.Inputs(name), cancellationToken));
        await services.Store.MakeDurableAsync(cancellationToken); // a site that knew of a change alone would keep it from the manifests
        foreach (var line in changes.Lines) services.Logger.LogInputsChanged(name, after + 1, line);
        foreach (var site in SitesOf(job.Plan.Clients.Where(client => changes.Rows.ContainsKey(client.Id))))
            await AskAsync(job, site.Key, [.. site], after, cancellationToken);
    }

    /// <summary>Whose rows are not those of the round that a fork begins from.</summary>
    /// <exception cref="BadInputException">Base or rows have changed, and that was not allowed.</exception>
    public async Task<IReadOnlyCollection<string>> CheckForkAsync(string source, RoundManifest manifest, FederationPlan plan,
        bool allowed, CancellationToken cancellationToken)
    {
        var from = await ForkSource.ReadAsync(services.Store, source, manifest, cancellationToken);
        var local = await services.Guard.BaseChangeAsync(source, from.Inputs, manifest.Round, plan, cancellationToken);
        var changes = await InputChanges.FindAsync(local?.On(services.Silo.Name), SitesOf(from.Checked(plan)),
            async (site, clients) => await new SiteCalls(services, source).Of(site)
                .CheckInputsAsync(from.Check(clients), cancellationToken));
        changes.Require(allowed);
        // before anything is copied
        await Fork.RequireFitsAsync(services.Trainer, plan, services.Store, source, manifest, cancellationToken);
        return [.. changes.Rows.Keys];
    }
}
