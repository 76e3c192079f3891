using System.Diagnostics;
using System.Text;
using System.Threading.Channels;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Inputs;
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

    /// <summary>The plan it was opened under; null in notes that never saw an extension.</summary>
    public string? PlanSha256 { get; set; }

    /// <summary>Of a fork: the digest of the manifest it starts from, noted before its plan is there; null for any other job.</summary>
    public string? OriginSha256 { get; set; }

    /// <summary>What the run was made with when it was opened; null in notes of versions that did not record it.</summary>
    public string? InputsSha256 { get; set; }

    /// <summary>When it stopped, to be said and for nothing else; null while it runs.</summary>
    public DateTimeOffset? StoppedAt { get; set; }
}

/// <summary>
/// Runs one job. Calls put events into a queue and return; one loop takes them through <see cref="RoundMachine"/> and performs
/// the effects in order. Everything it holds in memory is read again on the next activation.
/// </summary>
internal sealed partial class CoordinatorGrain(
    [PersistentState("job", FederationSiloBuilderExtensions.StorageName)] IPersistentState<JobNotes> notes,
    ITrainer trainer, IRunInputs inputs, InputGuard guard, SiloIdentity silo, SiteWatch sites, IBlobStores stores, SiloCache cache,
    GrainSettings settings, TimeProvider time, ILogger<CoordinatorGrain> logger) : Grain, ICoordinatorGrain, IDisposable
{
    private const int ClientsInAnAnswer = 50_000; // some 20 MB, a fifth of what a message may hold
    private const int MissingInAnAnswer = 5;
    private readonly Channel<RoundEvent?> _events = Channel.CreateUnbounded<RoundEvent?>(); // null: somebody wants the job to be resumed
    private readonly List<IGrainTimer> _armed = []; // of the attempt that is open
    private readonly CancellationTokenSource _stopping = new();
    private OpenJob? _job;
    private RoundState _state = RoundState.Initial;
    private RoundState _shown = RoundState.Initial;
    private long _roundStarted;
    private DateTimeOffset _roundStartedAt;
    private readonly HashSet<string> _unreachable = new(StringComparer.Ordinal); // sites of which that was logged
    private string? _held; // why nothing is done: another engine, or another base
    private string? _engineHeld;
    private bool _markedOver;
    private readonly HashSet<(string Site, int Round, int Attempt, int Confirmation)> _asking = []; // sites that have not answered yet
    private Task _driving = Task.CompletedTask;
    private Task _forgetting = Task.CompletedTask; // goes on beside the next round
    private int _heard;
    private int _heardAtLastTick;
    private bool _resumed;
    private string? _storeTrouble; // why nothing goes on until somebody resumes; not persisted, since there is nowhere to
    private (int Round, int Attempt) _sent = (-1, -1); // whose training was first sent by this activation, and when
    private (int Round, int Attempt) _inherited = (-1, -1); // opened by an earlier activation: nobody knows when
    private long _sentAt;
    private DateTimeOffset? _deadlineAt;
    private DateTimeOffset? _stoppedAt;
    private IGrainTimer? _askingAgain;

    private string Job => this.GetPrimaryKeyString();

    public override async Task OnActivateAsync(CancellationToken cancellationToken)
    {
        var plan = await StoredPlans.NewestAsync(stores.Job, Job, cancellationToken);
        if (plan is null && await new CommitLog(stores.Job, Job).ReadAsync(cancellationToken) is not null)
            plan = await StoredPlans.NewestAsync(stores.Job, Job, cancellationToken) ?? throw StoredPlans.Missing(Job);
        if (plan is var (blob, _, _)) await OpenAsync(blob, cancellationToken);
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
        if (await IsThereAsync(planYaml, cancellationToken)) return;
        var plan = PlanReader.Require(planYaml, "plan.yaml");
        await Fork.ForgetAsync(stores.Job, Job, cancellationToken); // one of this name may have failed half way
        await BeginAsync(planYaml, plan, origin: null, cancellationToken);
    }

    public async Task ForkAsync(string source, int round, string planYaml, bool allowDataChange = false,
        CancellationToken cancellationToken = default)
    {
        Identifiers.Check("run", Job);
        Identifiers.Check("run", source);
        if (await IsThereAsync(planYaml, cancellationToken)) return;
        var plan = PlanReader.Require(planYaml, "plan.yaml");
        var manifest = await Fork.CheckAsync(stores.Job, source, round, plan, cancellationToken);
        var changedRows = await CheckForkAsync(source, manifest, plan, allowDataChange, cancellationToken);
        var owners = manifest.Clients.Where(static client => client.Head is not null).ToDictionary(static client => client.Id, StringComparer.Ordinal);
        foreach (var site in plan.Clients.Where(client => owners.ContainsKey(client.Id)).GroupBy(static client => client.Site).OrderBy(static site => site.Key, StringComparer.Ordinal))
            await GrainFactory.GetGrain<ISiteGrain>(Keys.Site(Job, site.Key)).AdoptAsync(source, site.Select(client => owners[client.Id]).ToArray(), cancellationToken);
        var origin = await Fork.CopySharedAsync(stores.Job, source, manifest, stores.Job, Job, cancellationToken);
        LogForked(Job, source, round);
        var made = MadeWith.Start(await inputs.BaseAsync(plan, cancellationToken), changedRows);
        await BeginAsync(planYaml, plan, origin, cancellationToken, made);
    }

    public async Task BeginForkAsync(string planYaml, CancellationToken cancellationToken = default)
    {
        Identifiers.Check("run", Job);
        if (await IsThereAsync(planYaml, cancellationToken)) return;
        var origin = await Fork.OriginAsync(stores.Job, Job, cancellationToken)
            ?? throw new BadInputException($"There is no start of a fork {Job} in this store.");
        var prepared = await MadeWith.ReadAsync(stores.Job, Keys.Inputs(Job), cancellationToken); // checked by who copied the start
        if (prepared is null) RequireInputsOf(origin);
        await BeginAsync(planYaml, PlanReader.Require(planYaml, "plan.yaml"), origin.Sha256, cancellationToken, prepared?.Document);
    }

    public async Task ExtendAsync(string planYaml, bool allowDataChange = false, CancellationToken cancellationToken = default)
    {
        var job = _job ?? throw new BadInputException($"There is no run {Job} in this store.");
        var plan = PlanReader.Require(planYaml, "plan.yaml");
        if (plan.Strategy.Rounds <= job.Plan.Strategy.Rounds) throw new BadInputException($"Run {Job} has {job.Plan.Strategy.Rounds} rounds already; extend it to more.");
        if (PlanText.Of(plan with { Strategy = plan.Strategy with { Rounds = job.Plan.Strategy.Rounds } }) != PlanText.Of(job.Plan))
            throw new BadInputException($"An extension changes strategy.rounds alone; fork run {Job} to change more.");
        var changes = await FindChangesAsync(job, cancellationToken);
        changes.Require(allowDataChange);
        if (changes.ChangesRun) await RequireUsableAsync(job, cancellationToken);
        var newest = await StoredPlans.NewestAsync(stores.Job, Job, cancellationToken) ?? throw new CorruptBlobException($"{Keys.Plan(Job)} is missing.");
        await stores.Job.WriteBytesAsync(Keys.Extension(Job, newest.Extensions + 1), Encoding.UTF8.GetBytes(planYaml), WriteCondition.Absent, cancellationToken);
        await stores.Job.MakeDurableAsync(cancellationToken);
        DeactivateOnIdle(); // the next activation opens the round again under the new plan, whatever becomes of the rest of this call
        await _stopping.CancelAsync();
        await _driving; // no round comes between what is committed and what is allowed to change after it
        if (changes.ChangesRun) await AcceptInputsAsync(job, changes, CancellationToken.None);
        LogExtended(Job, job.Plan.Strategy.Rounds, plan.Strategy.Rounds);
        if (_state.Phase == Phase.Finished || !IsStopped) await MarkAsync(JobsGrain.Running.ToArray(), CancellationToken.None);
        foreach (var site in job.Sites) await TryAsync(site, static grain => grain.CancelAsync());
    }

    public async Task<string?> GetPlanAsync(CancellationToken cancellationToken = default) =>
        _job is { } job ? Encoding.UTF8.GetString(await stores.Job.ReadBytesAsync(job.PlanBlob, cancellationToken)) : null;

    public Task PauseAsync(CancellationToken cancellationToken = default)
    {
        if (_job is null) throw new BadInputException($"There is no run {Job} in this store.");
        if (_state.Phase is Phase.Finished or Phase.Failed or Phase.Cancelled) throw new BadInputException($"Run {Job} is over ({NameOf(_state)}); there is nothing to pause.");
        if (_storeTrouble is { } trouble) throw new StoreUnavailableException(trouble);
        Post(new RoundEvent.Paused());
        return Task.CompletedTask;
    }

    public async Task ResumeAsync(bool allowEngineChange, bool allowDataChange = false, CancellationToken cancellationToken = default)
    {
        var job = _job ?? throw new BadInputException($"There is no run {Job} in this store.");
        if (_engineHeld is { } reason && !allowEngineChange) throw new BadInputException(reason);
        var isOver = _state.Phase == Phase.Finished;
        if (!isOver && job.Inputs is null && await KnowInputsAsync(job, cancellationToken) is { } unread)
            throw new BadInputException(BaseHint(unread)!); // nothing is recorded to hold the next rounds to
        var changes = isOver ? null : await FindChangesAsync(job, cancellationToken);
        changes?.Require(allowDataChange);
        if (changes is { ChangesRun: true }) await RequireUsableAsync(job, cancellationToken);
        if (_engineHeld is not null)
        {
            LogEngineChanged(Job, job.Engine);
            await stores.Job.WriteDocumentAsync(Keys.Fingerprint(Job), EngineFingerprints.Write(job.Engine), cancellationToken);
        }

        // A store that is still away, or a pointer that is lost, is the caller's to hear.
        await new CommitLog(stores.Job, Job).ReadAsync(cancellationToken);
        if (_storeTrouble is not null || StatusOf(_state.Phase) is not (JobStatus.Running or JobStatus.Finished)) await MarkAsync(JobsGrain.Running.ToArray(), cancellationToken);
        if (_held is not null)
        {
            if (changes is { ChangesRun: true })
            {
                await AcceptInputsAsync(job, changes, cancellationToken);
                await ReopenAsync(job, cancellationToken);
            }

            await job.ReadCommittedAsync(notes.State.OriginSha256, cancellationToken);
            Post(Started(job, resume: true));
            (_held, _engineHeld) = (null, null);
        }
        else
        {
            _accepting |= changes is { ChangesRun: true };
            _resumed = true; // for whoever asks next it runs again
            _events.Writer.TryWrite(null); // decided in its turn: a pause may be on its way
        }
    }

    public Task CancelAsync(CancellationToken cancellationToken = default)
    {
        if (_job is null) throw new BadInputException($"There is no run {Job} in this store.");
        if (_storeTrouble is { } trouble) throw new StoreUnavailableException(trouble);
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
        double? seconds = _sent == (_state.Round, _state.Attempt) ? time.GetElapsedTime(_sentAt).TotalSeconds : null;
        foreach (var client in report.Clients)
        {
            _heard++;
            Telemetry.Reports.Add(1, new("job", Job), new("phase", client.Phase.ToString()), new("outcome", client.Failure is null ? "ok" : "failed"));
            Post(new RoundEvent.ClientReported(client, seconds));
        }

        return Task.CompletedTask;
    }

    public Task AskAgainAsync(CancellationToken cancellationToken = default)
    {
        if (_job is not null && _held is null) Post(new RoundEvent.ResendDue());
        return Task.CompletedTask;
    }

    public async Task<JobProgress?> GetProgressAsync(int afterRound, CancellationToken cancellationToken = default)
    {
        if (_job is not { } job) return null;
        var state = _shown; // all of it before the first await: others take their turns meanwhile
        var reason = _held ?? (_resumed ? null : _storeTrouble ?? state.Reason);
        var status = _held is not null ? JobStatus.Failed : _resumed && state.Phase != Phase.Finished ? JobStatus.Running : _storeTrouble is not null ? JobStatus.Paused : StatusOf(state.Phase);
        var facts = Facts(job, state);
        var hold = _resumed && StatusOf(state.Phase) != JobStatus.Running ? null : job.Machine.HoldOf(state, facts);
        var rounds = new List<RoundSummary>();
        var most = Math.Max(1, ClientsInAnAnswer / job.Plan.Clients.Count);
        var last = (int)Math.Min((long)afterRound + most, state.Committed);
        try
        {
            if (last > afterRound && job.Committed is { Round: var committed } && job.CommittedSha256 is { } digest)
            {
                foreach (var (manifest, sha256) in await job.Log.ManifestsAsync(afterRound + 1, last, new() { Round = committed, ManifestSha256 = digest }, cancellationToken))
                    rounds.Add(new RoundSummary { Manifest = manifest, ManifestSha256 = sha256, Seconds = await job.Log.SecondsAsync(manifest.Round, cancellationToken) });
            }
        }
        catch (StoreUnavailableException e)
        {
            LogStoreAway(Job, e.Message); // the caller learns where the job stands, and asks for these rounds again
        }

        var (reported, of) = job.Machine.Progress(state);
        return new JobProgress
        {
            JobId = Job, Name = job.Plan.Name, Rounds = job.Plan.Strategy.Rounds, Round = state.Round, Attempt = state.Attempt, Reason = reason, Status = status,
            Phase = RoundMachine.NameOf(state.Phase), Reported = reported, Cohort = of, NewRounds = rounds,
            Missing =
            [
                .. state.Lost.OrderBy(static lost => lost.Key, StringComparer.Ordinal).Take(MissingInAnAnswer)
                    .Select(static lost => $"{lost.Key}: {lost.Value.What}"),
            ],
            Hold = hold, AbsentSites = job.Machine.HoldsOf(facts.Absent),
        };
    }

    private HoldFacts Facts(OpenJob job, RoundState state)
    {
        var now = time.GetUtcNow();
        return new()
        {
            Changed = _held, StoreTrouble = _resumed ? null : _storeTrouble, Stopped = now - _stoppedAt, Left = _deadlineAt - now,
            Sent = _sent == (state.Round, state.Attempt) ? time.GetElapsedTime(_sentAt) : null,
            Absent = sites.Absent(job.Sites),
        };
    }

    // Whether the job was submitted with this plan already and is at work.
    private async Task<bool> IsThereAsync(string planYaml, CancellationToken cancellationToken)
    {
        if (_job is not { } open) return false;
        if (RoundManifest.Digest(Encoding.UTF8.GetBytes(planYaml)) != open.PlanBlob.Sha256) throw new BadInputException($"Run {Job} exists with another plan; submit under another name.");
        if (IsStopped) throw new BadInputException($"Run {Job} is {NameOf(_state)} in round {_state.Round}; resume it, or submit under another name.");
        await MarkAsync(JobsGrain.Running.ToArray(), cancellationToken);
        return true;
    }

    private async Task BeginAsync(
        string planYaml, FederationPlan plan, string? origin, CancellationToken cancellationToken, MadeWith? made = null)
    {
        StoreRequirements.Require(plan.Store, settings.Store);
        var fingerprint = await trainer.FingerprintAsync(plan, cancellationToken);
        await trainer.InitialSharedAsync(plan, cancellationToken); // an unusable model or adapter is the submitter's to hear
        fingerprint = fingerprint with { GroupSize = await trainer.GroupSizeAsync(plan, cancellationToken) };
        await stores.Job.WriteDocumentAsync(Keys.Fingerprint(Job), EngineFingerprints.Write(fingerprint), cancellationToken);
        await (made ?? MadeWith.Start(await inputs.BaseAsync(plan, cancellationToken)))
            .WriteAsync(stores.Job, Keys.Inputs(Job), cancellationToken);
        if (notes.State.OriginSha256 != origin)
        {
            // From the plan on, nobody takes a fork that lost its start for a run without one.
            notes.State.OriginSha256 = origin;
            await notes.WriteStateAsync(cancellationToken);
        }

        var written = await WritePlanAsync(Encoding.UTF8.GetBytes(planYaml), cancellationToken);
        await stores.Job.WriteBytesAsync(Keys.IndexOf(Job), JobsGrain.Running.ToArray(), WriteCondition.Any, cancellationToken);
        await stores.Job.MakeDurableAsync(cancellationToken); // what was accepted survives a power cut
        LogSubmitted(Job, plan.Name, plan.Clients.Count, plan.Strategy.Rounds);
        await OpenAsync(written, cancellationToken);
    }

    // Manifests name the plan, so a second coordinator does not write over it.
    private async Task<BlobRef> WritePlanAsync(byte[] yaml, CancellationToken cancellationToken)
    {
        var key = Keys.Plan(Job);
        try
        {
            return (await stores.Job.WriteBytesAsync(key, yaml, WriteCondition.Absent, cancellationToken)).Ref;
        }
        catch (BlobConflictException e)
        {
            if (await stores.Job.ReadBytesAsync(key, cancellationToken) is { } there && there.AsSpan().SequenceEqual(yaml))
                return new BlobRef(key, RoundManifest.Digest(yaml), yaml.Length);
            DeactivateOnIdle(); // the next activation finds the run that somebody else began
            throw new BadInputException($"Run {Job} exists with another plan; submit under another name.", e);
        }
    }

    private async Task OpenAsync(BlobRef blob, CancellationToken cancellationToken)
    {
        var plan = await cache.PlanAsync(blob, cancellationToken);
        var engine = await trainer.FingerprintAsync(plan.Plan, cancellationToken);
        var fingerprint = Keys.Fingerprint(Job);
        var before = EngineFingerprints.Read(await stores.Job.ReadBytesAsync(fingerprint, cancellationToken), fingerprint);
        var mark = await stores.Job.ReadBytesAsync(Keys.IndexOf(Job), cancellationToken);
        var job = new OpenJob(Job, plan, blob, stores.Job, cache, trainer, engine);
        await job.ReadCommittedAsync(notes.State.OriginSha256, cancellationToken);
        job.Engine = engine = engine with { GroupSize = await GroupSizeAsync(job, before, cancellationToken) };
        var last = job.Committed?.Round ?? -1;
        if (!notes.RecordExists && last >= 0 && last < plan.Plan.Strategy.Rounds && mark is not null && IsOver(mark))
        {
            var reason = $"{Keys.Notes(Job)} is missing, which said why the run was stopped; resume it, and round {last + 1} begins again";
            notes.State.State = RoundState.Initial with { Phase = Phase.Paused, Reason = reason };
        }

        // It was extended, or the pointer is an older one than the notes.
        var goesBack = last < plan.Plan.Strategy.Rounds && notes.State.State.Phase == Phase.Finished;
        if (goesBack) notes.State.State = notes.State.State with { Phase = Phase.Idle };
        if (notes.State.PlanSha256 is { } noted && noted != blob.Sha256) notes.State.State = RoundMachine.Reopened(notes.State.State);
        notes.State.PlanSha256 = blob.Sha256;
        var change = await KnowInputsAsync(job, cancellationToken);
        if (notes.State.InputsSha256 is { } made && made != job.Inputs?.Blob.Sha256)
            notes.State.State = RoundMachine.Reopened(notes.State.State);
        notes.State.InputsSha256 = job.Inputs?.Blob.Sha256;
        _state = notes.State.State;
        _stoppedAt = notes.State.StoppedAt;
        _inherited = (_state.Round, _state.Attempt);
        var started = Started(job, resume: false);
        _shown = _state with { Committed = last };
        _job = job;
        this.RegisterGrainTimer(static (grain, _) => grain.TickAsync(), this, new GrainTimerCreationOptions(settings.ResendAfter, settings.ResendAfter) { Interleave = true });
        _driving = DriveAsync(job, _stopping.Token);
        var finished = last >= plan.Plan.Strategy.Rounds && _state.Phase == Phase.Finished;
        if (mark is null || goesBack)
            await MarkAsync((goesBack || !IsStopped ? JobsGrain.Running : JobsGrain.Over).ToArray(), cancellationToken);
        if (before is null && last < 0)
            await stores.Job.WriteDocumentAsync(fingerprint, EngineFingerprints.Write(engine), cancellationToken);
        else if (!finished && before is null)
            _engineHeld = $"{fingerprint} is missing, so it cannot be told whether run {Job} was made with this engine ({engine.Text}); " +
                $"{WayOut.Of(fingerprint)}, or resume with --allow-engine-change to go on.";
        else if (!finished && before != engine)
            _engineHeld = OtherEngine(before!, engine);
        _held = _engineHeld ?? (finished ? null : BaseHint(change));
        if (_held is not null || (finished && (mark is null || IsOver(mark)))) return;
        // What it still has to do is done again before anybody takes it for finished.
        if (finished) _shown = _shown with { Phase = Phase.Committing };
        Post(started);
    }

    // Chosen when the run began, whatever this version would choose; a manifest says it where the fingerprint is lost.
    private async Task<int?> GroupSizeAsync(OpenJob job, EngineFingerprint? before, CancellationToken cancellationToken)
    {
        if (before is not null) return before.GroupSize;
        return job.Committed is { } committed
            ? EngineFingerprint.Parse(committed.Engine ?? "")?.GroupSize
            : await trainer.GroupSizeAsync(job.Plan, cancellationToken);
    }

    private static bool IsOver(byte[] mark) => mark.AsSpan().SequenceEqual(JobsGrain.Over);

    private Task<WrittenBlob> MarkAsync(byte[] mark, CancellationToken cancellationToken) =>
        stores.Job.WriteDocumentAsync(Keys.IndexOf(Job), mark, cancellationToken);

    private bool IsStopped => _held is not null || _storeTrouble is not null || StatusOf(_state.Phase) != JobStatus.Running;

    private static JobStatus StatusOf(Phase phase) => phase switch
    {
        Phase.Finished => JobStatus.Finished, Phase.Failed => JobStatus.Failed, Phase.Cancelled => JobStatus.Cancelled, Phase.Paused => JobStatus.Paused, _ => JobStatus.Running,
    };

    private static string NameOf(RoundState state) => StatusOf(state.Phase).ToString().ToLowerInvariant();

    private RoundEvent.Started Started(OpenJob job, bool resume)
    {
        _forgetting = ForgetUpdatesAsync(_forgetting, job.ForgetLeftUpdatesAsync); // an earlier activation may have died over it
        return new RoundEvent.Started(job.Committed?.Round ?? -1, job.CommittedSha256, [], resume, ClientStanding.Of(job.Committed));
    }

    private string OtherEngine(EngineFingerprint before, EngineFingerprint engine)
    {
        if (before with { Values = engine.Values } != engine)
        {
            return $"Run {Job} was made with {before.Text}; this engine is {engine.Text}: the same bits cannot be promised. " +
                "Resume with --allow-engine-change to go on.";
        }

        var reads = before.Values is null ? "may read" : "reads";
        return $"Run {Job}: this version {reads} other values of adapter or training in the plan than the run was made with, " +
            "since defaults have changed. " +
            "Use the version that made the run, or resume with --allow-engine-change to go on with this version's.";
    }

    private void Post(RoundEvent happened) => _events.Writer.TryWrite(happened);

    private Task TickAsync()
    {
        if (_job is not { } job || _held is not null) return Task.CompletedTask;
        if (_heard == _heardAtLastTick && job.Machine.Waiting(_state).Count > 0) Post(new RoundEvent.ResendDue());
        _heardAtLastTick = _heard;
        foreach (var site in _state.LostSites) _ = AskLostAsync(site);
        return Task.CompletedTask;
    }

    // A site that a round went on without is in the next one if it has a silo again.
    private async Task AskLostAsync(string site)
    {
        try
        {
            await GrainFactory.GetGrain<ISiteGrain>(Keys.Site(Job, site)).PingAsync();
            Post(new RoundEvent.SiteReturned(site));
        }
        catch (Exception e) when (e is OrleansException or TimeoutException)
        {
            // still lost; the next tick asks again
        }
    }

    private async Task DriveAsync(OpenJob job, CancellationToken stopping)
    {
        var batch = new List<RoundEvent>();
        try
        {
            while (await _events.Reader.WaitToReadAsync(stopping))
            {
                batch.Clear();
                var resumed = false;
                while (!resumed && _events.Reader.TryRead(out var happened))
                {
                    if (happened is null) resumed = true;
                    else batch.Add(happened);
                }

                if (_held is not null) batch.RemoveAll(static happened => happened is not RoundEvent.Cancelled); // nothing is done on another engine
                try
                {
                    if (_storeTrouble is null && batch.Count > 0) await TakeAsync(job, batch, stopping);
                    if (resumed) await TakeUpAsync(job, stopping);
                }
                catch (Exception e) when (StoreUnavailableException.In(e) is { } trouble)
                {
                    await HoldAsync(job, trouble.Message, stopping);
                }

                if (resumed) _resumed = false;
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

    private async Task TakeUpAsync(OpenJob job, CancellationToken stopping)
    {
        if (_storeTrouble is not null)
        {
            await notes.ReadStateAsync(stopping); // what the store holds counts, not what it was last asked to write
            _state = notes.State.State;
            _stoppedAt = notes.State.StoppedAt;
            _storeTrouble = null;
        }
        else if (!_accepting && StatusOf(_state.Phase) is (JobStatus.Running or JobStatus.Finished))
        {
            return;
        }

        if (_accepting)
        {
            _accepting = false;
            if (await FindChangesAsync(job, stopping) is { ChangesRun: true } changes) await AcceptInputsAsync(job, changes, stopping);
            await ReopenAsync(job, stopping);
        }

        try
        {
            await job.ReadCommittedAsync(notes.State.OriginSha256, stopping);
        }
        catch (CorruptBlobException e)
        {
            LogRefused(Job, e.Message);
            DeactivateOnIdle(); // the next activation refuses every call until the run is repaired; nothing is written down
            return;
        }

        if (_markedOver) await MarkAsync(JobsGrain.Running.ToArray(), stopping);
        _markedOver = false;
        await TakeAsync(job, [Started(job, resume: true)], stopping);
    }

    // Nothing can be written down, so nothing is: the notes in the store say where the job goes on.
    private async Task HoldAsync(OpenJob job, string trouble, CancellationToken stopping)
    {
        LogHeld(Job, trouble);
        _storeTrouble = trouble;
        _stoppedAt = time.GetUtcNow();
        StopClocks();
        foreach (var site in job.Sites) await TryAsync(site, grain => grain.CancelAsync(stopping));
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
                KnowStopped();
                notes.State.StoppedAt = _stoppedAt;
                await notes.WriteStateAsync(stopping);
                break;
            case RoundEffect.SendAssignments send:
                await SendAsync(job, send, stopping);
                break;
            case RoundEffect.ArmDeadline deadline:
                Disarm();
                _deadlineAt = time.GetUtcNow() + deadline.After;
                Arm(
                    static (armed, _) => { armed.Grain.Post(new RoundEvent.DeadlinePassed(armed.Deadline.Round, armed.Deadline.Attempt, armed.Deadline.Phase)); return Task.CompletedTask; },
                    (Grain: this, Deadline: deadline), deadline.After);
                break;
            case RoundEffect.ArmBudget budget:
                Arm(
                    static (armed, _) => { armed.Grain.Post(new RoundEvent.BudgetPassed(armed.Budget.Round, armed.Budget.Attempt, armed.Budget.Seconds)); return Task.CompletedTask; },
                    (Grain: this, Budget: budget), budget.After);
                break;
            case RoundEffect.ConfirmSites confirm:
                Confirm(job, confirm.Sites, stopping);
                break;
            case RoundEffect.CloseAndAggregate close:
                await AggregateAsync(job, close.Closed, stopping);
                break;
            case RoundEffect.CommitRound:
                Disarm();
                await CommitAsync(job, stopping);
                break;
            case RoundEffect.FinishJob:
                await _forgetting;
                await EndBufferedWorkAsync(job, stopping);
                LogFinished(Job, job.CommittedSha256 ?? "");
                if (job.Plan.Checkpoints.Export) await TryExportAsync(stopping);
                await MarkAsync(JobsGrain.Over.ToArray(), stopping); // last: until then, a silo that dies has this done again
                break;
            case RoundEffect.FailJob failed:
                LogStopped(Job, failed.Reason);
                break;
            case RoundEffect.StopWork:
                StopClocks();
                await MarkAsync(JobsGrain.Over.ToArray(), stopping);
                await stores.Job.MakeDurableAsync(stopping); // a run that was stopped stays so
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
        if (send.Phase == RoundPhase.Train && _sent != (_state.Round, _state.Attempt) && _inherited != (_state.Round, _state.Attempt))
            (_sent, _sentAt) = ((_state.Round, _state.Attempt), time.GetTimestamp());
        // An effect of a batch may have been overtaken by a later one: only who is still waited for is asked.
        var asked = job.Machine.Waiting(_state).Intersect(send.Clients, StringComparer.Ordinal).ToHashSet(StringComparer.Ordinal);
        var failed = false;
        foreach (var (site, assignment) in await job.AssignmentsAsync(_state, send.Phase, asked, stopping))
        {
            var reached = await TryAsync(site, grain => grain.AcceptAsync(assignment, stopping));
            if (!reached) Post(new RoundEvent.SiteLost(site));
            else if (_state.LostSites.Contains(site)) Post(new RoundEvent.SiteReturned(site));
            failed |= !reached;
        }

        if (failed) AskAgainSoon();
    }

    // One question at a time, however many sites and ticks ask for it: or each would keep another one going.
    private void AskAgainSoon() => _askingAgain ??= this.RegisterGrainTimer(
        static (grain, _) =>
        {
            grain._askingAgain?.Dispose();
            grain._askingAgain = null;
            grain.Post(new RoundEvent.ResendDue());
            return Task.CompletedTask;
        },
        this, new GrainTimerCreationOptions(TimeSpan.FromSeconds(1), Timeout.InfiniteTimeSpan) { KeepAlive = true, Interleave = true });

    private void KnowStopped() => _stoppedAt = StatusOf(_state.Phase) == JobStatus.Running ? null : _stoppedAt ?? time.GetUtcNow();

    // Not awaited: a site answers when its disk has, and a deadline counts meanwhile. It is asked once, however often it is to be
    // asked again.
    private void Confirm(OpenJob job, IReadOnlyList<string> sites, CancellationToken stopping)
    {
        var state = _state;
        if (state.Phase != Phase.Confirming) return; // a later event of the batch has ended it
        foreach (var (site, confirmation) in ConfirmationBuilder.Build(job.Plan, state, job.Machine.Waiting(state), sites))
        {
            if (_asking.Add((site, state.Round, state.Attempt, state.Confirmation)))
                _ = ConfirmAsync(site, state.Confirmation, confirmation, stopping);
        }
    }

    private async Task ConfirmAsync(string site, int number, SiteConfirmation confirmation, CancellationToken stopping)
    {
        RoundEvent.SiteConfirmed Answer(IReadOnlyDictionary<string, string> missing, string? trouble = null) =>
            new(site, confirmation.Round, confirmation.Attempt, number, missing, trouble);

        try
        {
            Post(Answer(await GrainFactory.GetGrain<ISiteGrain>(Keys.Site(Job, site)).ConfirmAsync(confirmation, stopping)));
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The activation is going away; the next one asks again.
        }
        catch (Exception e) when (StoreUnavailableException.In(e) is { } trouble)
        {
            Post(Answer(NobodyMissing, trouble.Message.ReplaceLineEndings(" ")));
        }
        catch (Exception e) when (e is OrleansException or TimeoutException)
        {
            var isTakenOver = await TryAsync(site, grain => grain.PingAsync(stopping)); // by another silo of the site
            if (isTakenOver) LogSiteUnreachable(Job, site, e.GetType().Name);
            else Post(new RoundEvent.SiteLost(site));
            AskAgainSoon();
        }
        catch (Exception e)
        {
            LogBroken(Job, e);
            Post(new RoundEvent.Broken($"Site {site} cannot confirm: {e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}"));
        }
        finally
        {
            _asking.Remove((site, confirmation.Round, confirmation.Attempt, number));
        }
    }

    private static readonly Dictionary<string, string> NobodyMissing = [];

    private void Arm<T>(Func<T, CancellationToken, Task> happens, T state, TimeSpan after) =>
        _armed.Add(this.RegisterGrainTimer(happens, state, new GrainTimerCreationOptions(after, Timeout.InfiniteTimeSpan) { KeepAlive = true, Interleave = true }));

    private void Disarm()
    {
        foreach (var timer in _armed) timer.Dispose();
        _armed.Clear();
        _deadlineAt = null;
    }

    // What was armed counts from when work was sent, and so does the time that clients take: not over a pause.
    private void StopClocks()
    {
        Disarm();
        (_sent, _inherited) = ((-1, -1), (_state.Round, _state.Attempt));
    }

    private async Task<bool> TryAsync(string site, Func<ISiteGrain, Task> call)
    {
        try
        {
            await call(GrainFactory.GetGrain<ISiteGrain>(Keys.Site(Job, site)));
            _unreachable.Remove(site);
            return true;
        }
        catch (Exception e) when (e is OrleansException or TimeoutException || StoreUnavailableException.In(e) is not null)
        {
            // Its message holds the stack traces of others. How long it stays away is said by what the round waits for.
            if (_unreachable.Add(site)) LogSiteUnreachable(Job, site, e.GetType().Name);
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
            var state = _state;
            _forgetting = ForgetUpdatesAsync(Task.CompletedTask, token => job.ForgetUpdatesAsync(state, token));
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

    // Some clients are still at work for a round that never comes.
    private async Task EndBufferedWorkAsync(OpenJob job, CancellationToken stopping)
    {
        if (!job.IsBuffered) return;
        foreach (var site in job.Sites) await TryAsync(site, grain => grain.CancelAsync(stopping));
        await ForgetUpdatesAsync(Task.CompletedTask, job.ForgetAllUpdatesAsync);
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
