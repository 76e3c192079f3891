using System.Collections.Immutable;
using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Logs;
using FedRLora.Grains.Store;
using Orleans.Runtime;
using Orleans.Storage;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// The one reader of a job's events: takes them through <see cref="RoundMachine"/> and has the effects performed in their order.
/// </summary>
internal sealed class EventLoop(
    CoordinatorServices services, IGrainBase grain, OpenJob job, IPersistentState<JobMemory> memory, EventQueue events,
    EffectPerformer effects, RoundClock clock, SiteCalls sites, InputAgreement inputs, UpdateCleaner cleaner, JobMark mark,
    RunTelemetry telemetry, RunEventLog news)
{
    /// <summary>Ends when the activation does.</summary>
    public Task Running { get; private set; } = Task.CompletedTask;

    /// <summary>Begins to read.</summary>
    public void Start() => Running = DriveAsync(events.Stopping);

    /// <summary>What the machine hears first of a job; the updates that an earlier activation left behind are deleted meanwhile.</summary>
    public RoundEvent.Started Started(bool resume)
    {
        cleaner.CleanLeft(); // an earlier activation may have died over it
        return new(job.Committed?.Round ?? -1, job.CommittedSha256, [], resume, ClientStanding.Of(job.Committed),
            job.Committed?.Tasks?.ToImmutableDictionary(static task => task.Task, static task => task.Version, StringComparer.Ordinal));
    }

    /// <summary>What was reported in the open round was made with what counted before: the round begins again.</summary>
    public async Task ReopenAsync(CancellationToken cancellationToken)
    {
        await sites.CancelAsync(job.Sites, cancellationToken);
        memory.State.InputsSha256 = job.Inputs?.Blob.Sha256;
        job.State = memory.State.State = RoundMachine.Reopened(job.State);
    }

    private async Task DriveAsync(CancellationToken stopping)
    {
        try
        {
            while (await events.TakeAsync() is var (happened, resumption)) await TurnAsync(happened, resumption, stopping);
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The activation is going away; the next one reads what was persisted.
        }
        catch (InconsistentStateException e)
        {
            services.Logger.LogReplaced(job.Id, e);
            grain.DeactivateOnIdle();
        }
        catch (Exception e) when (e is OrleansException or IOException || Unanswered.Is(e, stopping))
        {
            services.Logger.LogBeginsAgain(job.Id, e);
            grain.DeactivateOnIdle(); // the next activation begins at what was persisted, and tries again
        }
        catch (Exception e)
        {
            services.Logger.LogBroken(job.Id, e); // a broken invariant: trying again would break it again
            try
            {
                await TakeAsync([new RoundEvent.Broken($"{e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}")], stopping);
            }
            finally
            {
                grain.DeactivateOnIdle();
            }
        }
        finally
        {
            news.End(); // whoever waits for some keeps the activation from going away
        }
    }

    private async Task TurnAsync(IReadOnlyList<RoundEvent> happened, Resumption? resumption, CancellationToken stopping)
    {
        try
        {
            var passed = happened.Where(job.Gate.Passes).ToArray();
            news.Heard(passed);
            telemetry.Times.Heard(passed, job.State);
            if (passed.Length > 0) await TakeAsync(passed, stopping);
            if (resumption is not null) await TakeUpAsync(resumption, stopping);
        }
        catch (Exception e) when (StoreUnavailableException.In(e) is { } trouble)
        {
            await HoldAsync(trouble.Message, stopping);
        }

        if (resumption is not null && job.Gate is Gate.Resuming resuming) job.Gate = resuming.From;
        news.Changed();
    }

    private async Task TakeAsync(IReadOnlyList<RoundEvent> happened, CancellationToken stopping)
    {
        var (before, began) = (job.State, clock.Now);
        (job.State, var toDo) = job.Machine.Next(before, happened);
        telemetry.Took(before, happened, began);
        if (job.State.Phase != Phase.Finished) job.Shown = job.State; // finished is shown when the exports are there
        news.Changed();
        Activity.Current = telemetry.Trace.Current; // of the logs and calls of this turn
        using var scope = services.Logger.BeginScope(new LogScope(job.Id, job.State.Round));
        foreach (var effect in toDo) await effects.PerformAsync(effect, stopping);
        job.Shown = job.State;
        telemetry.Turned();
    }

    private async Task TakeUpAsync(Resumption resumption, CancellationToken stopping)
    {
        if (job.Gate.StoreTrouble is not null)
        {
            await memory.ReadStateAsync(stopping); // what the store holds counts, not what it was last asked to write
            job.State = memory.State.State;
            clock.Inherit(memory.State);
            job.Gate = new Gate.Resuming(Gate.Open);
        }
        else if (!resumption.AcceptsInputs && job.Status is JobStatus.Running or JobStatus.Finished)
        {
            return;
        }

        if (resumption.AcceptsInputs)
        {
            if (await inputs.FindChangesAsync(job, stopping) is { ChangesRun: true } changes)
                await inputs.AcceptAsync(job, changes, stopping);
            await ReopenAsync(stopping);
        }

        try
        {
            await job.ReadCommittedAsync(memory.State.OriginSha256, stopping);
        }
        catch (CorruptBlobException e)
        {
            services.Logger.LogRefused(job.Id, e.Message);
            grain.DeactivateOnIdle(); // the next activation refuses every call until the run is repaired; nothing is written down
            news.End();
            return;
        }

        await mark.RunningAgainAsync(stopping);
        await TakeAsync([Started(resume: true)], stopping);
    }

    // Nothing can be written down, so nothing is: the memory in the store says where the job goes on. A job that is not to go on here
    // at all stays so for that reason.
    private async Task HoldAsync(string trouble, CancellationToken stopping)
    {
        services.Logger.LogHeld(job.Id, trouble);
        if (job.Gate.Changed is null) job.Gate = new Gate.StoreAway(trouble);
        clock.StoppedNow();
        clock.Stop(job.State);
        await sites.CancelAsync(job.Sites, stopping);
    }
}
