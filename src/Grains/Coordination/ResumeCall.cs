using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>Somebody asks for a job to go on: says at once what must not be gone on with, and leaves the rest to the loop.</summary>
internal sealed class ResumeCall(
    CoordinatorServices services, IPersistentState<JobMemory> memory, ActiveJob active, InputAgreement inputs, SiteCalls sites,
    JobMark mark)
{
    /// <summary>Goes on, or says why not.</summary>
    /// <exception cref="BadInputException">
    /// Engine, base or rows have changed, and that was not allowed, or a site refuses the plan.
    /// </exception>
    public async Task ResumeAsync(bool allowEngineChange, bool allowDataChange, CancellationToken cancellationToken)
    {
        var job = active.Job;
        if (job.Gate is Gate.OtherEngine { Reason: var reason } && !allowEngineChange) throw new BadInputException(reason);
        if (job.State.Phase != Phase.Finished) await sites.RequireWillingAsync(job.Plan, cancellationToken);
        var changes = await FindChangesAsync(job, allowDataChange, cancellationToken);
        if (job.Gate is Gate.OtherEngine)
        {
            services.Logger.LogEngineChanged(job.Id, job.Engine);
            var fingerprint = EngineFingerprints.Write(job.Engine);
            await services.Store.WriteDocumentAsync(Keys.Fingerprint(job.Id), fingerprint, cancellationToken);
        }

        // A store that is still away, or a pointer that is lost, is the caller's to hear.
        await new CommitLog(services.Store, job.Id).ReadAsync(cancellationToken);
        if (job.Gate.StoreTrouble is not null || job.Status is not (JobStatus.Running or JobStatus.Finished))
            await mark.RunningAsync(cancellationToken);
        if (job.Gate.Changed is not null)
        {
            if (changes is not null)
            {
                await inputs.AcceptAsync(job, changes, cancellationToken);
                await active.Loop.ReopenAsync(cancellationToken);
            }

            await job.ReadCommittedAsync(memory.State.OriginSha256, cancellationToken);
            active.Events.Post(active.Loop.Started(resume: true));
            job.Gate = Gate.Open;
        }
        else
        {
            // For whoever asks next it runs again. Whether it was stopped is decided in its turn: a pause may be on its way.
            if (job.Gate is not Gate.Resuming) job.Gate = new Gate.Resuming(job.Gate);
            active.Events.Resume(new Resumption(AcceptsInputs: changes is not null));
        }
    }

    // What changes in what the run is made with; null where nothing does.
    private async Task<InputChanges?> FindChangesAsync(OpenJob job, bool allowDataChange, CancellationToken cancellationToken)
    {
        if (job.State.Phase == Phase.Finished) return null;
        if (job.Inputs is null && await inputs.KnowAsync(job, cancellationToken) is { } unread)
            throw new BadInputException(inputs.Hint(unread)!); // nothing is recorded to hold the next rounds to
        var changes = await inputs.FindChangesAsync(job, cancellationToken);
        changes.Require(allowDataChange);
        if (!changes.ChangesRun) return null;
        await inputs.RequireUsableAsync(job, cancellationToken);
        return changes;
    }
}
