using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>Performs what the round machine asks for; each effect may come again after a crash.</summary>
internal sealed class EffectPerformer(
    CoordinatorServices services, IGrainBase grain, OpenJob job, IPersistentState<JobMemory> memory, EventQueue events, RoundClock clock,
    CohortCalls cohort, SiteCalls sites, UpdateCleaner cleaner, JobMark mark, RoundTrace trace, RoundTimes times,
    RunEventLog news)
{
    /// <summary>Performs one effect of the state that the job is in.</summary>
    public async Task PerformAsync(RoundEffect effect, CancellationToken stopping)
    {
        switch (effect)
        {
            case RoundEffect.Persist { CanWait: true }:
                break;
            case RoundEffect.Persist:
                await PersistAsync(stopping);
                break;
            case RoundEffect.SendAssignments send:
                await mark.RunningAgainAsync(stopping);
                await cohort.SendAsync(send, stopping);
                break;
            case RoundEffect.ArmDeadline deadline:
                clock.Arm(deadline);
                break;
            case RoundEffect.ArmBudget budget:
                clock.Arm(budget);
                break;
            case RoundEffect.ConfirmSites confirm:
                cohort.Confirm(confirm, stopping);
                break;
            case RoundEffect.CloseAndAggregate close:
                await AggregateAsync(close.Closed, stopping);
                break;
            case RoundEffect.CommitRound:
                clock.Disarm();
                await CommitAsync(stopping);
                break;
            case RoundEffect.FinishJob:
                await FinishAsync(stopping);
                break;
            case RoundEffect.FailJob failed:
                services.Logger.LogStopped(job.Id, failed.Reason);
                break;
            case RoundEffect.StopWork:
                await StopWorkAsync(stopping);
                break;
            case RoundEffect.Deactivate:
                grain.DeactivateOnIdle();
                await events.StopAsync();
                break;
            default:
                throw new ArgumentException($"{effect.GetType().Name} is no effect of a round.", nameof(effect));
        }
    }

    private async Task PersistAsync(CancellationToken stopping)
    {
        clock.UpdateStop(isStopped: job.Status != JobStatus.Running);
        memory.State.State = job.State;
        memory.State.StoppedAt = clock.StoppedAt;
        await memory.WriteStateAsync(stopping);
    }

    private async Task AggregateAsync(IReadOnlyList<string> closed, CancellationToken stopping)
    {
        using var part = trace.Begin("aggregate");
        part.Tag("clients", closed.Count);
        try
        {
            events.Post(await job.AggregateAsync(job.State, closed, stopping));
        }
        catch (Exception e) when (e is BadInputException or CorruptBlobException)
        {
            events.Post(new RoundEvent.Broken(e.Message)); // the committed state itself cannot be used
        }
    }

    private async Task CommitAsync(CancellationToken stopping)
    {
        trace.EndEvaluation();
        var (state, round) = (job.State, job.State.Round);
        try
        {
            string sha256;
            using (trace.Begin("commit")) sha256 = await job.CommitAsync(state, stopping);
            var (startedAt, seconds) = clock.EndRound();
            var timing = times.End(state, startedAt, seconds);
            await job.Log.RecordTimingAsync(round, seconds, timing, stopping);
            Telemetry.Rounds.Add(1, Telemetry.Of(Telemetry.Run, job.Id));
            Telemetry.RoundDuration.Record(seconds, Telemetry.Of(Telemetry.Run, job.Id));
            services.Logger.LogCommitted(job.Id, round, sha256, seconds);
            trace.Commit(startedAt, seconds);
            news.Remember(new() { Manifest = job.Committed!, ManifestSha256 = sha256, Seconds = seconds, Timing = timing });
            events.Post(new RoundEvent.Committed(round, sha256));
            await cleaner.CleanAsync(state);
        }
        catch (CommitConflictException e)
        {
            services.Logger.LogConflict(job.Id, round, e.Message);
            events.Post(new RoundEvent.CommitConflict());
        }
    }

    private async Task FinishAsync(CancellationToken stopping)
    {
        await cleaner.Cleaning;
        if (job.IsBuffered)
        {
            await sites.CancelAsync(job.Sites, stopping); // some clients are still at work for a round that never comes
            await cleaner.CleanAllAsync();
        }

        services.Logger.LogFinished(job.Id, job.CommittedSha256 ?? "");
        if (job.Plan.Checkpoints.Export) await TryExportAsync(stopping);
        await new ReferenceRun(services, job.Id).BeginAsync(job, stopping);
        await mark.OverAsync(stopping); // last: until then, a silo that dies has this done again
    }

    private async Task StopWorkAsync(CancellationToken stopping)
    {
        clock.Stop(job.State);
        await mark.StoppedAsync(stopping);
        await sites.CancelAsync(job.Sites, stopping);
        await cleaner.Cleaning;
    }

    private async Task TryExportAsync(CancellationToken stopping)
    {
        try
        {
            await sites.ExportAsync(job, stopping);
        }
        catch (Exception e) when (e is OrleansException or BadInputException or CorruptBlobException || Unanswered.Is(e, stopping))
        {
            services.Logger.LogNotExported(job.Id, e.Message); // the run is committed; an export can be asked for at any time
        }
    }
}
