using System.Diagnostics;
using System.Text;
using System.Threading.Channels;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using Microsoft.Extensions.Logging;
using Orleans.Concurrency;
using Orleans.Runtime;
using Orleans.Storage;

namespace FedRLora.Grains;

/// <summary>What the coordinator remembers of the open round; what is committed stands in current.json alone.</summary>
public sealed class JobNotes
{
    /// <summary>The open round.</summary>
    public RoundState State { get; set; } = RoundState.Initial;
}

/// <summary>
/// Runs one job. Calls put events into a queue and return; one loop takes them through <see cref="RoundMachine"/> and performs
/// the effects in order. Everything it holds in memory is read again on the next activation.
/// </summary>
internal sealed partial class CoordinatorGrain(
    [PersistentState("job", FederationSiloBuilderExtensions.StorageName)] IPersistentState<JobNotes> notes,
    ITrainer trainer, IBlobStores stores, SiloCache cache, GrainSettings settings, TimeProvider time, ILogger<CoordinatorGrain> logger) : Grain, ICoordinatorGrain, IDisposable
{
    private const int ClientsInAnAnswer = 50_000; // some 20 MB, a fifth of what a message may hold
    private readonly Channel<RoundEvent> _events = Channel.CreateUnbounded<RoundEvent>();
    private readonly CancellationTokenSource _stopping = new();
    private OpenJob? _job;
    private RoundState _state = RoundState.Initial;
    private RoundState _shown = RoundState.Initial;
    private long _roundStarted;
    private DateTimeOffset _roundStartedAt;
    private string? _held;
    private bool _markedOver;
    private Task _forgetting = Task.CompletedTask; // goes on beside the next round
    private int _heard;
    private int _heardAtLastTick;

    private string Job => this.GetPrimaryKeyString();

    public override async Task OnActivateAsync(CancellationToken cancellationToken)
    {
        if (await stores.Job.ReadBytesAsync(Keys.Plan(Job), cancellationToken) is { } yaml) await OpenAsync(yaml, resume: false, cancellationToken);
    }

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync();
        _events.Writer.TryComplete();
    }

    public void Dispose() => _stopping.Dispose();

    public async Task SubmitAsync(string planYaml, CancellationToken cancellationToken = default)
    {
        Identifiers.Check("run", Job);
        var yaml = Encoding.UTF8.GetBytes(planYaml);
        if (_job is { } open)
        {
            if (RoundManifest.Digest(yaml) != open.PlanBlob.Sha256) throw new BadInputException($"Run {Job} exists with another plan; submit under another name.");
            if (_held is not null || _state.Phase is Phase.Finished or Phase.Failed or Phase.Cancelled)
                throw new BadInputException($"Run {Job} is over ({_state.Phase.ToString().ToLowerInvariant()} in round {_state.Round}); resume it, or submit under another name.");
            await MarkAsync(JobsGrain.Running.ToArray(), cancellationToken);
            return;
        }

        var plan = PlanReader.Require(planYaml, "plan.yaml");
        var fingerprint = await trainer.FingerprintAsync(plan, cancellationToken);
        await trainer.InitialSharedAsync(plan, cancellationToken); // an unusable model or adapter is the submitter's to hear
        await stores.Job.WriteBytesAsync(Keys.Fingerprint(Job), EngineFingerprints.Write(fingerprint), WriteCondition.Any, cancellationToken);
        await stores.Job.WriteBytesAsync(Keys.Plan(Job), yaml, WriteCondition.Any, cancellationToken);
        await MarkAsync(JobsGrain.Running.ToArray(), cancellationToken);
        LogSubmitted(Job, plan.Name, plan.Clients.Count, plan.Strategy.Rounds);
        await OpenAsync(yaml, resume: false, cancellationToken);
    }

    public async Task ResumeAsync(bool allowEngineChange, CancellationToken cancellationToken = default)
    {
        var job = _job ?? throw new BadInputException($"There is no run {Job} in this store.");
        if (_held is { } reason)
        {
            if (!allowEngineChange) throw new BadInputException(reason);
            LogEngineChanged(Job, job.Engine);
            await stores.Job.WriteBytesAsync(Keys.Fingerprint(Job), EngineFingerprints.Write(job.Engine), WriteCondition.Any, cancellationToken);
        }

        if (_held is not null || _state.Phase is Phase.Failed or Phase.Cancelled)
        {
            _held = null;
            Post(await StartedAsync(job, resume: true, cancellationToken));
        }
    }

    public Task CancelAsync(CancellationToken cancellationToken = default)
    {
        if (_job is null) throw new BadInputException($"There is no run {Job} in this store.");
        Post(new RoundEvent.Cancelled());
        return Task.CompletedTask;
    }

    public async Task<IReadOnlyDictionary<string, string>> ExportAsync(CancellationToken cancellationToken = default)
    {
        var job = _job ?? throw new BadInputException($"There is no run {Job} in this store.");
        if (job.Committed is null) throw new BadInputException($"Run {Job} has committed nothing yet.");
        var written = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (site, committed) in job.CommittedBySite())
        {
            foreach (var (client, prefix) in await GrainFactory.GetGrain<ISiteGrain>(Keys.Site(Job, site)).ExportAsync(committed, cancellationToken)) written[client] = prefix;
        }

        return written;
    }

    public Task ReportAsync(SiteReport report, CancellationToken cancellationToken = default)
    {
        foreach (var client in report.Clients)
        {
            _heard++;
            Telemetry.Reports.Add(1, new("job", Job), new("phase", client.Phase.ToString()), new("outcome", client.Failure is null ? "ok" : "failed"));
            Post(new RoundEvent.ClientReported(client));
        }

        return Task.CompletedTask;
    }

    public Task AskAgainAsync(CancellationToken cancellationToken = default)
    {
        if (_job is not null) Post(new RoundEvent.ResendDue());
        return Task.CompletedTask;
    }

    public async Task<JobProgress?> GetProgressAsync(int afterRound, CancellationToken cancellationToken = default)
    {
        if (_job is not { } job) return null;
        var state = _shown;
        var rounds = new List<RoundSummary>();
        var most = Math.Max(1, ClientsInAnAnswer / job.Plan.Clients.Count);
        for (var round = afterRound + 1; round <= state.Committed && rounds.Count < most; round++)
        {
            var manifest = await job.Log.ManifestAsync(round, null, cancellationToken);
            rounds.Add(new RoundSummary { Manifest = manifest, ManifestSha256 = RoundManifest.Digest(manifest.ToBytes()), Seconds = await job.Log.SecondsAsync(round, cancellationToken) });
        }

        var (reported, of) = job.Machine.Progress(state);
        return new JobProgress
        {
            JobId = Job, Name = job.Plan.Name, Rounds = job.Plan.Strategy.Rounds, Round = state.Round, Attempt = state.Attempt, Reason = _held ?? state.Reason,
            Status = _held is not null ? JobStatus.Failed : state.Phase switch { Phase.Finished => JobStatus.Finished, Phase.Failed => JobStatus.Failed, Phase.Cancelled => JobStatus.Cancelled, _ => JobStatus.Running },
            Phase = NameOf(state.Phase), Reported = reported, Cohort = of, NewRounds = rounds,
        };
    }

    private async Task OpenAsync(byte[] yaml, bool resume, CancellationToken cancellationToken)
    {
        var blob = new BlobRef(Keys.Plan(Job), RoundManifest.Digest(yaml), yaml.Length);
        var plan = await cache.PlanAsync(blob, cancellationToken);
        var engine = await trainer.FingerprintAsync(plan.Plan, cancellationToken);
        var before = EngineFingerprints.Read(await stores.Job.ReadBytesAsync(Keys.Fingerprint(Job), cancellationToken)) ?? engine;
        var job = new OpenJob(Job, plan, blob, stores.Job, cache, trainer, engine);
        _state = _shown = notes.State.State;
        var started = await StartedAsync(job, resume, cancellationToken);
        if (_state.Committed < started.LastRound) _shown = _state with { Committed = started.LastRound };
        _job = job;
        this.RegisterGrainTimer(static (grain, _) => grain.TickAsync(), this, new GrainTimerCreationOptions(settings.ResendAfter, settings.ResendAfter) { Interleave = true });
        _ = DriveAsync(job, _stopping.Token);
        var finished = started.LastRound >= plan.Plan.Strategy.Rounds && _state.Phase == Phase.Finished;
        if (!finished && before != engine)
            _held = $"Run {Job} was made with {before.Text}; this engine is {engine.Text}: the same bits cannot be promised. Resume with --allow-engine-change to go on.";
        else if (!finished) Post(started);
    }

    private Task<WrittenBlob> MarkAsync(byte[] mark, CancellationToken cancellationToken) => stores.Job.WriteBytesAsync(Keys.IndexOf(Job), mark, WriteCondition.Any, cancellationToken);

    private static string NameOf(Phase phase) => phase switch
    {
        Phase.Training => "train", Phase.Aggregating => "aggregate", Phase.Evaluating => "evaluate", Phase.Committing => "commit", _ => "idle",
    };

    private async Task<RoundEvent.Started> StartedAsync(OpenJob job, bool resume, CancellationToken cancellationToken)
    {
        await job.ReadCommittedAsync(cancellationToken);
        _forgetting = ForgetUpdatesAsync(_forgetting, job.ForgetLeftUpdatesAsync); // an earlier activation may have died over it
        return new RoundEvent.Started(job.Committed?.Round ?? -1, job.CommittedSha256, [], resume);
    }

    private void Post(RoundEvent happened) => _events.Writer.TryWrite(happened);

    private Task TickAsync()
    {
        if (_heard == _heardAtLastTick && _job is { } job && job.Machine.Waiting(_state).Count > 0) Post(new RoundEvent.ResendDue());
        _heardAtLastTick = _heard;
        return Task.CompletedTask;
    }

    private async Task DriveAsync(OpenJob job, CancellationToken stopping)
    {
        var batch = new List<RoundEvent>();
        try
        {
            while (await _events.Reader.WaitToReadAsync(stopping))
            {
                batch.Clear();
                while (_events.Reader.TryRead(out var happened)) batch.Add(happened);
                await TakeAsync(job, batch, stopping);
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The activation is going away; the next one reads what was persisted.
        }
        catch (InconsistentStateException e)
        {
            LogReplaced(Job, e);
            DeactivateOnIdle();
        }
        catch (Exception e) when (e is OrleansException or TimeoutException or IOException)
        {
            LogBeginsAgain(Job, e);
            DeactivateOnIdle(); // the next activation begins at what was persisted, and tries again
        }
        catch (Exception e)
        {
            LogBroken(Job, e); // a broken invariant: trying again would break it again
            try
            {
                await TakeAsync(job, [new RoundEvent.Broken($"{e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}")], stopping);
            }
            finally
            {
                DeactivateOnIdle();
            }
        }
    }

    private async Task TakeAsync(OpenJob job, IReadOnlyList<RoundEvent> happened, CancellationToken stopping)
    {
        (_state, var effects) = job.Machine.Next(_state, happened);
        if (_state.Phase != Phase.Finished) _shown = _state; // finished is shown when the exports are there
        foreach (var effect in effects) await PerformAsync(job, effect, stopping);
        _shown = _state;
    }

    private async Task PerformAsync(OpenJob job, RoundEffect effect, CancellationToken stopping)
    {
        switch (effect)
        {
            case RoundEffect.Persist { CanWait: false }:
                notes.State.State = _state;
                await notes.WriteStateAsync(stopping);
                break;
            case RoundEffect.SendAssignments send:
                await SendAsync(job, send, stopping);
                break;
            case RoundEffect.ArmDeadline deadline:
                this.RegisterGrainTimer(
                    static (armed, _) => { armed.Grain.Post(new RoundEvent.DeadlinePassed(armed.Deadline.Round, armed.Deadline.Attempt, armed.Deadline.Phase)); return Task.CompletedTask; },
                    (Grain: this, Deadline: deadline), new GrainTimerCreationOptions(deadline.After, Timeout.InfiniteTimeSpan) { KeepAlive = true, Interleave = true });
                break;
            case RoundEffect.CloseAndAggregate close:
                await AggregateAsync(job, close.Closed, stopping);
                break;
            case RoundEffect.CommitRound:
                await CommitAsync(job, stopping);
                break;
            case RoundEffect.FinishJob:
                await _forgetting;
                LogFinished(Job, job.CommittedSha256 ?? "");
                await MarkAsync(JobsGrain.Over.ToArray(), stopping);
                if (job.Plan.Checkpoints.Export) await TryExportAsync(stopping);
                break;
            case RoundEffect.FailJob failed:
                LogStopped(Job, failed.Reason);
                break;
            case RoundEffect.StopWork:
                await MarkAsync(JobsGrain.Over.ToArray(), stopping);
                _markedOver = true;
                foreach (var site in job.Sites) await TryAsync(site, grain => grain.CancelAsync(stopping));
                await _forgetting;
                break;
            case RoundEffect.Deactivate:
                DeactivateOnIdle();
                await _stopping.CancelAsync();
                break;
        }
    }

    private async Task SendAsync(OpenJob job, RoundEffect.SendAssignments send, CancellationToken stopping)
    {
        if (_markedOver)
        {
            await MarkAsync(JobsGrain.Running.ToArray(), stopping); // it was resumed
            _markedOver = false;
        }

        if (_roundStarted == 0) (_roundStarted, _roundStartedAt) = (time.GetTimestamp(), time.GetUtcNow());
        // An effect of a batch may have been overtaken by a later one: only who is still waited for is asked.
        var asked = job.Machine.Waiting(_state).Intersect(send.Clients, StringComparer.Ordinal).ToHashSet(StringComparer.Ordinal);
        var failed = false;
        foreach (var (site, assignment) in job.Assignments(_state, send.Phase, asked))
        {
            var reached = await TryAsync(site, grain => grain.AcceptAsync(assignment, stopping));
            if (!reached) Post(new RoundEvent.SiteLost(site));
            else if (_state.LostSites.Contains(site)) Post(new RoundEvent.SiteReturned(site));
            failed |= !reached;
        }

        if (failed)
        {
            this.RegisterGrainTimer(static (grain, _) => { grain.Post(new RoundEvent.ResendDue()); return Task.CompletedTask; },
                this, new GrainTimerCreationOptions(TimeSpan.FromSeconds(1), Timeout.InfiniteTimeSpan) { KeepAlive = true, Interleave = true });
        }
    }

    private async Task<bool> TryAsync(string site, Func<ISiteGrain, Task> call)
    {
        try
        {
            await call(GrainFactory.GetGrain<ISiteGrain>(Keys.Site(Job, site)));
            return true;
        }
        catch (Exception e) when (e is OrleansException or TimeoutException)
        {
            LogSiteUnreachable(Job, site, e.Message);
            return false;
        }
    }

    private async Task AggregateAsync(OpenJob job, IReadOnlyList<string> closed, CancellationToken stopping)
    {
        using var activity = Telemetry.Source.StartActivity("fedrlora.aggregate");
        activity?.SetTag("job", Job).SetTag("round", _state.Round).SetTag("clients", closed.Count);
        try
        {
            Post(await job.AggregateAsync(_state, closed, stopping));
        }
        catch (Exception e) when (e is BadInputException or CorruptBlobException)
        {
            Post(new RoundEvent.Broken(e.Message)); // the committed state itself cannot be used
        }
    }

    private async Task CommitAsync(OpenJob job, CancellationToken stopping)
    {
        using var activity = Telemetry.Source.StartActivity("fedrlora.commit");
        var round = _state.Round;
        activity?.SetTag("job", Job).SetTag("round", round);
        try
        {
            var sha256 = await job.CommitAsync(_state, stopping);
            var seconds = _roundStarted == 0 ? 0 : time.GetElapsedTime(_roundStarted).TotalSeconds;
            _roundStarted = 0;
            await job.Log.NoteSecondsAsync(round, seconds, stopping);
            using var whole = Telemetry.Source.StartActivity("fedrlora.round", ActivityKind.Internal, parentContext: default, [new("job", Job), new("round", round)], startTime: _roundStartedAt);
            Telemetry.Rounds.Add(1, new KeyValuePair<string, object?>("job", Job));
            Telemetry.RoundDuration.Record(seconds, new KeyValuePair<string, object?>("job", Job));
            LogCommitted(Job, round, sha256, seconds);
            Post(new RoundEvent.Committed(round, sha256));
            await _forgetting; // of the round before: at most one round's updates lie about
            var attempts = _state.Attempt;
            _forgetting = ForgetUpdatesAsync(Task.CompletedTask, token => job.ForgetUpdatesAsync(round, attempts, token));
        }
        catch (CommitConflictException e)
        {
            LogConflict(Job, round, e.Message);
            Post(new RoundEvent.CommitConflict());
        }
    }

    // What stays is deleted when the job starts again.
    private async Task ForgetUpdatesAsync(Task before, Func<CancellationToken, Task> forget)
    {
        await before;
        try
        {
            await forget(_stopping.Token);
        }
        catch (OperationCanceledException)
        {
            // The activation is going away.
        }
        catch (Exception e)
        {
            LogUpdatesLeft(Job, e); // nobody needs them any more: no reason to stop a round
        }
    }

    private async Task TryExportAsync(CancellationToken stopping)
    {
        try
        {
            await ExportAsync(stopping);
        }
        catch (Exception e) when (e is OrleansException or TimeoutException or BadInputException or CorruptBlobException)
        {
            LogNotExported(Job, e.Message); // the run is committed; an export can be asked for at any time
        }
    }
}
