using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// How a job comes to be: as a new one, as a fork of another, or with more rounds than it had. Each of the first three returns the
/// plan to open, or null where the job is there with the same plan and at work.
/// </summary>
internal sealed class Submission(
    CoordinatorServices services, IGrainBase grain, string name, IPersistentState<JobMemory> memory, SiteCalls sites, InputAgreement inputs,
    JobMark mark)
{
    private IBlobStore Store => services.Store;

    /// <summary>Stores the plan of a new job.</summary>
    public async Task<BlobRef?> SubmitAsync(OpenJob? there, string planYaml, bool localOnly, CancellationToken cancellationToken)
    {
        Identifiers.Check("run", name);
        if (await IsThereAsync(there, planYaml, cancellationToken)) return null;
        var plan = PlanReader.Require(planYaml, "plan.yaml");
        await sites.RequireWillingAsync(plan, cancellationToken);
        await new ReferenceRun(services, name).PrepareAsync(plan, planYaml, localOnly, cancellationToken);
        await Fork.ForgetAsync(Store, name, cancellationToken); // one of this name may have failed half way
        return await WriteAsync(planYaml, plan, origin: null, made: null, cancellationToken);
    }

    /// <summary>Copies what a committed round of another job names, and stores the plan of the job that begins there.</summary>
    public async Task<BlobRef?> ForkAsync(
        OpenJob? there, string source, int round, string planYaml, bool allowDataChange, CancellationToken cancellationToken)
    {
        Identifiers.Check("run", name);
        Identifiers.Check("run", source);
        if (await IsThereAsync(there, planYaml, cancellationToken)) return null;
        var plan = PlanReader.Require(planYaml, "plan.yaml");
        await sites.RequireWillingAsync(plan, cancellationToken);
        await new ReferenceRun(services, name).RequireOwnNameAsync(planYaml, cancellationToken);
        var manifest = await Fork.CheckAsync(Store, source, round, plan, cancellationToken);
        var changedRows = await inputs.CheckForkAsync(source, manifest, plan, allowDataChange, cancellationToken);
        var owners = manifest.Clients.Where(static client => client.Head is not null)
            .ToDictionary(static client => client.Id, StringComparer.Ordinal);
        foreach (var site in plan.Clients.Where(client => owners.ContainsKey(client.Id))
            .GroupBy(static client => client.Site).OrderBy(static site => site.Key, StringComparer.Ordinal))
            await sites.Of(site.Key).AdoptAsync(source, site.Select(client => owners[client.Id]).ToArray(), cancellationToken);
        var origin = await Fork.CopySharedAsync(Store, source, manifest, Store, name, cancellationToken);
        services.Logger.LogForked(name, source, round);
        var made = MadeWith.Start(await services.Inputs.BaseAsync(plan, cancellationToken), changedRows);
        return await WriteAsync(planYaml, plan, origin, made, cancellationToken);
    }

    /// <summary>Stores the plan of a job whose start somebody has copied from another store.</summary>
    public async Task<BlobRef?> BeginForkAsync(OpenJob? there, string planYaml, CancellationToken cancellationToken)
    {
        Identifiers.Check("run", name);
        if (await IsThereAsync(there, planYaml, cancellationToken)) return null;
        var origin = await Fork.OriginAsync(Store, name, cancellationToken)
            ?? throw new BadInputException($"There is no start of a fork {name} in this store.");
        var prepared = await MadeWith.ReadAsync(Store, Keys.Inputs(name), cancellationToken); // checked by who copied the start
        if (prepared is null) inputs.RequireInputsOf(origin);
        var plan = PlanReader.Require(planYaml, "plan.yaml");
        await sites.RequireWillingAsync(plan, cancellationToken);
        return await WriteAsync(planYaml, plan, origin.Sha256, prepared?.Document, cancellationToken);
    }

    /// <summary>
    /// Stores a plan of more rounds and ends this activation: the next one opens the round again under the new plan, whatever becomes of
    /// the rest of this call.
    /// </summary>
    public async Task ExtendAsync(ActiveJob active, string planYaml, bool allowDataChange, CancellationToken cancellationToken)
    {
        var job = active.Job;
        var plan = PlanReader.Require(planYaml, "plan.yaml");
        var (before, rounds) = (job.Plan.Strategy.Rounds, plan.Strategy.Rounds);
        if (rounds <= before) throw new BadInputException($"Run {name} has {before} rounds already; extend it to more.");
        if (PlanText.Of(plan with { Strategy = plan.Strategy with { Rounds = before } }) != PlanText.Of(job.Plan))
            throw new BadInputException($"An extension changes strategy.rounds alone; fork run {name} to change more.");
        RequireCounted(job, plan);
        await sites.RequireWillingAsync(plan, cancellationToken);
        var changes = await inputs.FindChangesAsync(job, cancellationToken);
        changes.Require(allowDataChange);
        if (changes.ChangesRun) await inputs.RequireUsableAsync(job, cancellationToken);
        var newest = await StoredPlans.NewestAsync(Store, name, cancellationToken)
            ?? throw new CorruptBlobException($"{Keys.Plan(name)} is missing.");
        var extension = Keys.Extension(name, newest.Extensions + 1);
        await Store.WriteBytesAsync(extension, Encoding.UTF8.GetBytes(planYaml), WriteCondition.Absent, cancellationToken);
        await Store.MakeDurableAsync(cancellationToken);
        grain.DeactivateOnIdle();
        await active.Events.StopAsync();
        await active.Loop.Running; // no round comes between what is committed and what is allowed to change after it
        if (changes.ChangesRun) await inputs.AcceptAsync(job, changes, CancellationToken.None);
        services.Logger.LogExtended(name, before, rounds);
        if (job.State.Phase == Phase.Finished || !job.IsStopped) await mark.RunningAsync(CancellationToken.None);
        await sites.CancelAsync(job.Sites, CancellationToken.None);
    }

    // A step of the lifecycle that is counted from the last round may have happened already, and would then have been too early.
    private void RequireCounted(OpenJob job, FederationPlan plan)
    {
        var (before, rounds) = (job.Plan.Strategy.Rounds, plan.Strategy.Rounds);
        var committed = Enumerable.Range(1, job.Committed?.Round ?? 0);
        foreach (var step in plan.Adapter.Lifecycle.Where(static step => step.What is not LifecycleAction.Train))
        {
            var others = committed.Where(round => step.Rounds.Contains(round, before) != step.Rounds.Contains(round, rounds)).ToList();
            if (others.Count == 0) continue;
            var (what, which) = (step.What.Rule, step.Rounds.Text);
            throw new BadInputException($"Run {name} was to have {what} after round {others[0]} as one of rounds \"{which}\" of {before}, "
                + $"and of {rounds} it would be another; begin a new run with more rounds.");
        }
    }

    // Whether the job was submitted with this plan already and is at work.
    private async Task<bool> IsThereAsync(OpenJob? there, string planYaml, CancellationToken cancellationToken)
    {
        if (there is null) return false;
        if (RoundManifest.Digest(Encoding.UTF8.GetBytes(planYaml)) != there.PlanBlob.Sha256) throw Taken();
        if (there.IsStopped)
        {
            throw new BadInputException(
                $"Run {name} is {there.StatusName} in round {there.State.Round}; resume it, or submit under another name.");
        }

        await mark.RunningAsync(cancellationToken);
        return true;
    }

    private async Task<BlobRef> WriteAsync(
        string planYaml, FederationPlan plan, string? origin, MadeWith? made, CancellationToken cancellationToken)
    {
        StoreRequirements.Require(plan.Store, services.Settings.Store);
        var fingerprint = await services.Trainer.FingerprintAsync(plan, cancellationToken);
        await services.Trainer.InitialSharedAsync(plan, cancellationToken); // an unusable model or adapter is the submitter's to hear
        fingerprint = fingerprint with { GroupSize = await services.Trainer.GroupSizeAsync(plan, cancellationToken) };
        await Store.WriteDocumentAsync(Keys.Fingerprint(name), EngineFingerprints.Write(fingerprint), cancellationToken);
        await (made ?? MadeWith.Start(await services.Inputs.BaseAsync(plan, cancellationToken)))
            .WriteAsync(Store, Keys.Inputs(name), cancellationToken);
        if (memory.State.OriginSha256 != origin)
        {
            // From the plan on, nobody takes a fork that lost its start for a run without one.
            memory.State.OriginSha256 = origin;
            await memory.WriteStateAsync(cancellationToken);
        }

        var written = await WritePlanAsync(Encoding.UTF8.GetBytes(planYaml), cancellationToken);
        await mark.BeginAsync(cancellationToken);
        await Store.MakeDurableAsync(cancellationToken); // what was accepted survives a power cut
        services.Logger.LogSubmitted(name, plan.Name, plan.Clients.Count, plan.Strategy.Rounds);
        return written;
    }

    // Manifests name the plan, so a second coordinator does not write over it.
    private async Task<BlobRef> WritePlanAsync(byte[] yaml, CancellationToken cancellationToken)
    {
        var key = Keys.Plan(name);
        try
        {
            return (await Store.WriteBytesAsync(key, yaml, WriteCondition.Absent, cancellationToken)).Ref;
        }
        catch (BlobConflictException e)
        {
            if (await Store.ReadBytesAsync(key, cancellationToken) is { } there && there.AsSpan().SequenceEqual(yaml))
                return new BlobRef(key, RoundManifest.Digest(yaml), yaml.Length);
            grain.DeactivateOnIdle(); // the next activation finds the run that somebody else began
            throw Taken(e);
        }
    }

    private BadInputException Taken(Exception? cause = null)
    {
        var message = $"Run {name} exists with another plan; submit under another name.";
        return cause is null ? new BadInputException(message) : new BadInputException(message, cause);
    }
}
