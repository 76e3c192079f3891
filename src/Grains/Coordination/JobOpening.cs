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
/// Opens a stored job in this activation: where its round stands by what is committed and remembered, whether engine and base are those
/// that it was made with, and the parts that run it.
/// </summary>
internal sealed class JobOpening(
    CoordinatorServices services, IGrainBase grain, string name, IPersistentState<JobMemory> memory, SiteCalls sites, InputAgreement inputs,
    JobMark mark)
{
    private IBlobStore Store => services.Store;

    /// <summary>Opens the job, and lets it go on if nothing holds it.</summary>
    /// <exception cref="CorruptBlobException">Something that the job goes on from is missing or was changed.</exception>
    public async Task<ActiveJob> OpenAsync(BlobRef blob, CancellationToken cancellationToken)
    {
        var plan = await services.Cache.PlanAsync(blob, cancellationToken);
        var engine = await services.Trainer.FingerprintAsync(plan.Plan, cancellationToken);
        var key = Keys.Fingerprint(name);
        var before = EngineFingerprints.Read(await Store.ReadBytesAsync(key, cancellationToken), key);
        var marked = await mark.ReadAsync(cancellationToken);
        var job = new OpenJob(name, plan, blob, Store, services.Cache, services.Trainer, engine);
        await job.ReadCommittedAsync(memory.State.OriginSha256, cancellationToken);
        job.Engine = engine = engine with { GroupSize = await GroupSizeAsync(job, before, cancellationToken) };

        var (last, rounds) = (job.Committed?.Round ?? -1, plan.Plan.Strategy.Rounds);
        // It was extended, or the pointer is an older one than what is remembered.
        var goesBack = last < rounds && memory.State.State.Phase == Phase.Finished;
        var change = await RecallAsync(job, isStopped: marked is not null && JobMark.IsOver(marked), cancellationToken);
        job.State = memory.State.State;
        job.Shown = job.State with { Committed = last };
        var finished = last >= rounds && job.State.Phase == Phase.Finished;
        if (!finished) job.Gate = GateOf(job, isBegun: last >= 0, before, inputs.Hint(change));

        if (marked is null || goesBack)
        {
            var runs = goesBack || job.Status == JobStatus.Running;
            await (runs ? mark.RunningAsync(cancellationToken) : mark.OverAsync(cancellationToken));
        }

        if (before is null && last < 0)
            await Store.WriteDocumentAsync(key, EngineFingerprints.Write(engine), cancellationToken);
        var active = Assemble(job);
        active.Clock.Inherit(memory.State);
        active.Clock.EveryTick(active.Cohort.Tick);
        active.Telemetry.Start();
        active.Loop.Start();
        var started = active.Loop.Started(resume: false);
        if (job.Gate.IsClosed || (finished && (marked is null || JobMark.IsOver(marked)))) return active;
        // What it still has to do is done again before anybody takes it for finished.
        if (finished) job.Shown = job.Shown with { Phase = Phase.Committing };
        active.Events.Post(started);
        return active;
    }

    // Makes what is remembered fit to what is committed, to the plan and to the inputs. Returns what of these must not be gone on with.
    private async Task<InputChange?> RecallAsync(OpenJob job, bool isStopped, CancellationToken cancellationToken)
    {
        var known = memory.State;
        var last = job.Committed?.Round ?? -1;
        var isDone = last >= job.Plan.Strategy.Rounds;
        if (!memory.RecordExists && last >= 0 && !isDone && isStopped)
        {
            var reason = $"{Keys.Memory(name)} is missing, which said why the run was stopped; " +
                $"resume it, and round {last + 1} begins again";
            known.State = RoundState.Initial with { Phase = Phase.Paused, Reason = reason };
        }

        if (!isDone && known.State.Phase == Phase.Finished) known.State = known.State with { Phase = Phase.Idle };
        if (known.PlanSha256 is { } plan && plan != job.PlanBlob.Sha256) known.State = RoundMachine.Reopened(known.State);
        known.PlanSha256 = job.PlanBlob.Sha256;
        var change = await inputs.KnowAsync(job, cancellationToken);
        if (known.InputsSha256 is { } made && made != job.Inputs?.Blob.Sha256) known.State = RoundMachine.Reopened(known.State);
        known.InputsSha256 = job.Inputs?.Blob.Sha256;
        return change;
    }

    private Gate GateOf(OpenJob job, bool isBegun, EngineFingerprint? before, string? otherBase) => before switch
    {
        null when isBegun => new Gate.OtherEngine(UnknownEngine(job.Engine)),
        not null when before != job.Engine => new Gate.OtherEngine(OtherEngine(before, job.Engine)),
        _ => otherBase is null ? Gate.Open : new Gate.OtherBase(otherBase),
    };

    private string UnknownEngine(EngineFingerprint engine)
    {
        var key = Keys.Fingerprint(name);
        return $"{key} is missing, so it cannot be told whether run {name} was made with this engine ({engine.Text}); " +
            $"{WayOut.Of(key)}, or resume with --allow-engine-change to go on.";
    }

    private string OtherEngine(EngineFingerprint before, EngineFingerprint engine)
    {
        if (before with { Values = engine.Values } != engine)
        {
            return $"Run {name} was made with {before.Text}; this engine is {engine.Text}: the same bits cannot be promised. " +
                "Resume with --allow-engine-change to go on.";
        }

        var reads = before.Values is null ? "may read" : "reads";
        return $"Run {name}: this version {reads} other values of adapter or training in the plan than the run was made with, " +
            "since defaults have changed. " +
            "Use the version that made the run, or resume with --allow-engine-change to go on with this version's.";
    }

    // Chosen when the run began, whatever this version would choose; a manifest says it where the fingerprint is lost.
    private async Task<int?> GroupSizeAsync(OpenJob job, EngineFingerprint? before, CancellationToken cancellationToken)
    {
        if (before is not null) return before.GroupSize;
        return job.Committed is { } committed
            ? EngineFingerprint.Parse(committed.Engine ?? "")?.GroupSize
            : await services.Trainer.GroupSizeAsync(job.Plan, cancellationToken);
    }

    private ActiveJob Assemble(OpenJob job)
    {
        var events = new EventQueue();
        var clock = new RoundClock(grain, events, services.Settings, services.Time);
        var telemetry = new RunTelemetry(services, job, clock, memory);
        var news = new RunEventLog(services, job, clock);
        var cohort = new CohortCalls(services, job, events, clock, sites, telemetry, news);
        var cleaner = new UpdateCleaner(Store, job, services.Logger, events.Stopping);
        var effects = new EffectPerformer(
            services, grain, job, memory, events, clock, cohort, sites, cleaner, mark, telemetry.Trace, telemetry.Times, news);
        var loop = new EventLoop(services, grain, job, memory, events, effects, clock, sites, inputs, cleaner, mark, telemetry, news);
        return new ActiveJob(job, events, loop, cohort, clock, telemetry, news);
    }
}

/// <summary>A job that is open in this activation, with the parts that run it.</summary>
internal sealed record ActiveJob(
    OpenJob Job, EventQueue Events, EventLoop Loop, CohortCalls Cohort, RoundClock Clock, RunTelemetry Telemetry, RunEventLog News);
