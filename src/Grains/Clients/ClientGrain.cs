using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Sending;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Logs;
using FedRLora.Grains.Placement;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Clients;

/// <summary>
/// A task client. As the first member of a group it has the group trained on its silo, writes each member's head, optimizer
/// state and update as blobs, and reports the references. The update is written last and carries the report in its metadata, so
/// that finished work is found again after a restart and answered with the same report. Work of which a file is gone is not finished.
/// </summary>
[OnItsSite]
internal sealed partial class ClientGrain(
    ITrainer trainer, InputGuard guard, IBlobStores stores, SiloCache cache, SiloIdentity silo, TimeProvider time,
    ILogger<ClientGrain> logger) : Grain, IClientGrain, IDisposable
{
    private const int MostRoundsForgotten = 8;
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(0.25);
    // By client: the round before which nothing is left.
    private readonly ConcurrentDictionary<string, int> _forgotten = new(StringComparer.Ordinal);
    private readonly Dictionary<RoundPhase, Work> _work = []; // the latest of each phase

    private string Site => Keys.SiteOf(this.GetPrimaryKeyString());

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        silo.RequireSiteOf(this.GetPrimaryKeyString());
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken) =>
        CancelAsync(cancellationToken);

    public void Dispose() => StopAll();

    public Task AcceptAsync(SiteAssignment assignment, CancellationToken cancellationToken = default)
    {
        // In synchronous rounds later work replaces all earlier work, in buffered ones training goes on beside scoring.
        var rivals = _work.Values.Where(work => !assignment.Concurrent || work.Order.Phase == assignment.Phase).ToList();
        var order = rivals.Count == 0 ? 1 : assignment.Order.CompareTo(rivals.Max(static work => work.Order));
        if (order > 0)
        {
            foreach (var rival in rivals) Stop(rival);
            Begin(assignment, reported: null);
        }
        else if (order == 0 && _work[assignment.Phase].Finished is { } reports)
        {
            Stop(_work[assignment.Phase]);
            Begin(assignment, reports); // sent again, trained once
        }

        return Task.CompletedTask;
    }

    // Not awaited: the site may be waiting for this call.
    private void Begin(SiteAssignment assignment, IReadOnlyList<ClientReport>? reported)
    {
        var work = new Work(assignment.Order);
        _work[assignment.Phase] = work;
        _ = DoAsync(assignment, work, reported);
    }

    public Task CancelAsync(CancellationToken cancellationToken = default)
    {
        StopAll(); // the same work may be asked for again
        return Task.CompletedTask;
    }

    private void StopAll()
    {
        foreach (var work in _work.Values.ToList()) Stop(work);
    }

    private void Stop(Work work)
    {
        _work.Remove(work.Order.Phase);
        work.Stop.Cancel();
        work.Stop.Dispose();
    }

    private async Task DoAsync(SiteAssignment assignment, Work work, IReadOnlyList<ClientReport>? reported)
    {
        var stopped = work.Stop.Token;
        var again = false;
        var trace = new ClientTrace(assignment, Site, time);
        using var scope = logger.BeginScope(new LogScope(assignment.JobId, assignment.Round, Site, assignment.Members[0].ClientId));
        IReadOnlyList<ClientReport> reports = [];
        DelayDeactivation(Timeout.InfiniteTimeSpan); // nobody may call for as long as the work takes
        try
        {
            var isThere = reported is not null && await Task.Run(() => AreThereAsync(reported, stopped), stopped);
            reports = isThere ? reported! : await DoInTurnAsync(assignment, trace, stopped);
        }
        catch (OperationCanceledException)
        {
            again = true; // replaced by later work, or the silo is going down; the coordinator asks again
        }
        catch (StoreUnavailableException e)
        {
            again = true; // no failure of the client: the job waits until the store is there again
            LogStoreAway(assignment.Members[0].ClientId, assignment.Round, e.Message);
            var trouble = e.Message.ReplaceLineEndings(" ");
            reports = assignment.Members
                .Select(member => Report(assignment, member.ClientId) with { StoreTrouble = trouble }).ToArray();
        }
        catch (Exception e)
        {
            // A client's failure is data of the round: it is reported and named in the summary.
            LogFailed(assignment.Members[0].ClientId, assignment.Round, e);
            reports = assignment.Members.Select(member => Failed(assignment, member.ClientId, e.Message)).ToArray();
        }

        trace.End(reports, again ? "given up" : "silent");
        var isCurrent = _work.GetValueOrDefault(assignment.Phase) == work;
        if (isCurrent && again) Stop(work);
        else work.Finished = reports;
        if (_work.Values.All(static one => one.Finished is not null)) DelayDeactivation(TimeSpan.FromSeconds(-1));
        if (isCurrent && reports.Count > 0) await SendAsync(assignment.JobId, reports);
    }

    private async Task<IReadOnlyList<ClientReport>> DoInTurnAsync(
        SiteAssignment assignment, ClientTrace trace, CancellationToken stopped)
    {
        var asked = Stopwatch.GetTimestamp();
        var queue = trace.Stage("queue");
        using var turn = await cache.TurnAsync(assignment.JobId, stopped);
        queue.Dispose();
        var waited = Stopwatch.GetElapsedTime(asked);
        LogStarted(assignment.Phase, assignment.Round, assignment.Attempt, assignment.Members[0].ClientId, silo.Name, Site);
        // Off the grain scheduler as a whole: it touches no field that is not made for it.
        return await Task.Run(() => TryAsync(assignment, trace, waited, stopped), stopped);
    }

    // What this activation wrote itself: a file that is gone or cut shows without reading it.
    private async Task<bool> AreThereAsync(IReadOnlyList<ClientReport> reports, CancellationToken stopped)
    {
        foreach (var report in reports)
        {
            if (report is not { Head: { } head, Optimizer: { } optimizer, Update: { } update }) continue;
            if (await WrittenFiles.MissingAsync(stores, head, optimizer, update, stopped) is not { } what) continue;
            LogFilesLost(report.ClientId, report.Round, what);
            return false;
        }

        return true;
    }

    /// <summary>Does the work, and again by itself as often as the plan says where it failed for a reason that may pass.</summary>
    private async Task<IReadOnlyList<ClientReport>> TryAsync(
        SiteAssignment assignment, ClientTrace trace, TimeSpan waited, CancellationToken stopped)
    {
        var retry = new Retry<IReadOnlyList<ClientReport>>(
            time,
            static e => e is not (OperationCanceledException or StoreUnavailableException or BadInputException or CorruptBlobException),
            (retry, _) => Backoff(assignment, retry),
            most: (await cache.PlanAsync(assignment.Plan, stopped)).Plan.Strategy.ClientRetries);
        return await retry.RunAsync(
            (_, token) => assignment.Phase == RoundPhase.Train
                ? TrainAsync(assignment, trace, waited, token)
                : EvaluateAsync(assignment, trace, token),
            stopped,
            (retry, e) => LogTriesAgain(assignment.Members[0].ClientId, assignment.Round, retry, e!.Message));
    }

    /// <summary>A quarter of a second, doubled each time, and up to as much again so that clients do not come back together.</summary>
    private static TimeSpan Backoff(SiteAssignment assignment, int retry)
    {
        var purpose = string.Create(CultureInfo.InvariantCulture, $"retry/{retry}");
        var jitter = Seed.For(0, assignment.Round, assignment.Members[0].ClientId, purpose) / (double)ulong.MaxValue;
        return Pauses.Doubled(FirstPause, retry, TimeSpan.MaxValue) * (1 + jitter);
    }

    private async Task<IReadOnlyList<ClientReport>> TrainAsync(
        SiteAssignment assignment, ClientTrace trace, TimeSpan waited, CancellationToken stopped)
    {
        var plan = (await cache.PlanAsync(assignment.Plan, stopped)).Plan;
        var adapter = plan.Adapter;
        if (Withheld(SentTensor.Of(plan)) is { } withheld) throw new BadInputException(withheld);
        if (await FindFinishedAsync(assignment, stopped) is { } finished) return finished;
        var started = Stopwatch.GetTimestamp();
        var refused = await RefusedAsync(assignment, stopped);
        var group = await LoadAsync(Without(assignment, refused), trace, stopped);
        IReadOnlyList<TrainingResult> results = [];
        using (trace.Stage("train"))
            if (group.Members.Count > 0) results = await trainer.TrainAsync(group, stopped);
        refused = await RefusedAsync(assignment, stopped, refused);
        // A learned time budget is of work, not of what the device had to do before it.
        var queued = results.Count == 0 ? 0 : results.Max(static result => result.Numbers.WaitedSeconds);
        trace.Queued("train", TimeSpan.FromSeconds(queued));
        Record(Telemetry.TrainingDuration, assignment, Stopwatch.GetElapsedTime(started).TotalSeconds - queued);
        var waitedSeconds = waited.TotalSeconds + queued; // a failed one waited as long
        Record(Telemetry.TrainingWait, assignment, waitedSeconds);
        var reports = refused.Select(client => Failed(assignment, client.Key, client.Value)).ToList();
        foreach (var result in results.Where(result => !result.Silent && !refused.ContainsKey(result.ClientId)))
        {
            await KeepPointsAsync(assignment, plan.Telemetry, result, stopped);
            // Whatever the plan says: what is in the update decides.
            reports.Add((result.Failure ?? Withheld(SentTensor.Of(result.Update.Keys, adapter))) is { } failure
                ? Failed(assignment, result.ClientId, failure)
                : await StoreAsync(assignment, result, trace, stopped));
        }

        await ForgetOldHeadsAsync(assignment, stopped);
        return [.. reports.Select(report => report with { Numbers = (report.Numbers ?? new()) with { WaitedSeconds = waitedSeconds } })];
    }

    private async Task<IReadOnlyList<ClientReport>> EvaluateAsync(
        SiteAssignment assignment, ClientTrace trace, CancellationToken stopped)
    {
        var refused = await RefusedAsync(assignment, stopped);
        var group = await LoadAsync(Without(assignment, refused), trace, stopped);
        var started = Stopwatch.GetTimestamp();
        IReadOnlyList<EvaluationResult> results = [];
        using (trace.Stage("score"))
            if (group.Members.Count > 0) results = await trainer.EvaluateAsync(group, stopped);
        Record(Telemetry.ScoringDuration, assignment, Stopwatch.GetElapsedTime(started).TotalSeconds);
        refused = await RefusedAsync(assignment, stopped, refused);
        await KeepRowsAsync(assignment, results.Where(result => !refused.ContainsKey(result.ClientId)), stopped);
        return [.. refused.Select(client => Failed(assignment, client.Key, client.Value)),
            .. results.Where(result => !refused.ContainsKey(result.ClientId)).Select(result => result.Failure is { } failure
            ? Failed(assignment, result.ClientId, failure)
            : Report(assignment, result.ClientId) with { Score = result.Rows == 0 ? null : ScoreOf(result) })];
    }

    // Before the update, whose presence ends the work; also of a client that failed, whose last steps say why.
    private async Task KeepPointsAsync(
        SiteAssignment assignment, TelemetrySpec telemetry, TrainingResult result, CancellationToken stopped)
    {
        if (telemetry.StepEvery == 0) return;
        var (job, round, client) = (assignment.JobId, assignment.Round, result.ClientId);
        var own = Keys.StepPoints(job, Keys.SiteOf(this.GetPrimaryKeyString()), client, round);
        await StepPointsFile.WriteAsync(stores.Site, own, result.Points, assignment.Attempt, stopped);
        if (!telemetry.SendsSteps) return;
        await StepPointsFile.WriteAsync(
            stores.Job, Keys.SentStepPoints(job, client, round), result.Points, assignment.Attempt, stopped);
    }

    private async Task KeepRowsAsync(SiteAssignment assignment, IEnumerable<EvaluationResult> results, CancellationToken stopped)
    {
        var site = Keys.SiteOf(this.GetPrimaryKeyString());
        foreach (var result in results.Where(static result => result.RowScores.Count > 0))
        {
            var rows = new RowScoresFile(assignment.Round, result.Metric, result.Score, result.RowScores);
            await rows.WriteAsync(stores.Site, assignment.JobId, site, result.ClientId, stopped);
        }
    }

    // Asked before the work and after it, which might have read what came in between.
    private async Task<IReadOnlyDictionary<string, string>> RefusedAsync(
        SiteAssignment assignment, CancellationToken stopped, IReadOnlyDictionary<string, string>? before = null)
    {
        var plan = await cache.PlanAsync(assignment.Plan, stopped);
        var now = await guard.RefusedAsync(Without(assignment, before), plan, Keys.SiteOf(this.GetPrimaryKeyString()), silo.Name, stopped);
        return before is null or { Count: 0 } ? now : now.Concat(before).ToDictionary(StringComparer.Ordinal);
    }

    // Why the site does not let these leave; whoever sent the work may not have asked.
    private string? Withheld(IReadOnlyList<SentTensor> sent) =>
        silo.MaySend.Refuses(Keys.SiteOf(this.GetPrimaryKeyString()), sent, isBegun: true);

    private static SiteAssignment Without(SiteAssignment assignment, IReadOnlyDictionary<string, string>? refused) =>
        refused is null or { Count: 0 } ? assignment
        : assignment with { Members = assignment.Members.Where(member => !refused.ContainsKey(member.ClientId)).ToArray() };

    private async Task<TrainingGroup> LoadAsync(SiteAssignment assignment, ClientTrace trace, CancellationToken stopped)
    {
        using var loading = trace.Stage("load");
        var began = Stopwatch.GetTimestamp();
        var plan = await cache.PlanAsync(assignment.Plan, stopped);
        var states = new TaskStates(plan, assignment);
        var members = new List<GroupMember>(assignment.Members.Count);
        foreach (var work in assignment.Members)
        {
            members.Add(await states.MemberAsync(work, cache, stores.Site, stopped) with
            {
                Optimizer = work.Optimizer is { } optimizer && assignment.Phase == RoundPhase.Train
                    ? await stores.Site.ReadStateAsync(optimizer, stopped)
                    : null,
            });
        }

        var shared = await cache.SharedAsync(assignment.Shared, stopped);
        var received = assignment.Shared.SizeBytes * members.Count;
        Telemetry.BytesReceived.Add(received, Telemetry.Of(Telemetry.Run, assignment.JobId), Telemetry.Of(Telemetry.Site, Site));
        Record(Telemetry.LoadDuration, assignment, Stopwatch.GetElapsedTime(began).TotalSeconds);
        return new TrainingGroup { Plan = plan.Plan, Round = assignment.Round, Shared = shared, Members = members, Run = assignment.JobId };
    }

    // Head and optimizer first, the update last: it names the digests of all of them, since its presence proves nothing after a power cut.
    private async Task<ClientReport> StoreAsync(
        SiteAssignment assignment, TrainingResult result, ClientTrace trace, CancellationToken stopped)
    {
        using var uploading = trace.Stage("upload", result.ClientId);
        var began = Stopwatch.GetTimestamp();
        var (job, round, client) = (assignment.JobId, assignment.Round, result.ClientId);
        var site = Keys.SiteOf(this.GetPrimaryKeyString());
        var head = await stores.Site.WriteStateAsync(Keys.Head(job, site, client, round), result.Head, NoMetadata, stopped);
        var optimizer = await stores.Site.WriteStateAsync(Keys.Optimizer(job, site, client, round), result.Optimizer, NoMetadata, stopped);
        var report = Report(assignment, client) with
        {
            Head = head, Optimizer = optimizer,
            Numbers = result.Numbers.For(Audience.Coordinator),
            Notes = OrNull(result.Notes),
        };
        var plan = await cache.PlanAsync(assignment.Plan, stopped);
        var metadata = await Task.Run(() => ReportMetadata.Write(report, assignment, result.Update, plan), stopped);
        var key = Keys.Update(job, round, assignment.Attempt, client);
        var update = await stores.Job.WriteStateAsync(key, result.Update, metadata, stopped);
        Telemetry.BytesSent.Add(update.SizeBytes, Telemetry.Of(Telemetry.Run, job), Telemetry.Of(Telemetry.Site, site));
        Record(Telemetry.UploadDuration, assignment, Stopwatch.GetElapsedTime(began).TotalSeconds);
        return report with { Update = update };
    }

    private async Task<IReadOnlyList<ClientReport>?> FindFinishedAsync(SiteAssignment assignment, CancellationToken stopped)
    {
        var (site, plan) = (Keys.SiteOf(this.GetPrimaryKeyString()), await cache.PlanAsync(assignment.Plan, stopped));
        var reports = new List<ClientReport>(assignment.Members.Count);
        foreach (var member in assignment.Members)
        {
            var key = Keys.Update(assignment.JobId, assignment.Round, assignment.Attempt, member.ClientId);
            await using var file = await stores.Job.OpenAsync(key, stopped);
            if (file is null) return null;
            var head = Keys.Head(assignment.JobId, site, member.ClientId, assignment.Round);
            var optimizer = Keys.Optimizer(assignment.JobId, site, member.ClientId, assignment.Round);
            var begun = Report(assignment, member.ClientId);
            var task = plan.Client(member.ClientId).Task;
            if (await Task.Run(() => ReportMetadata.Read(file, begun, assignment, task, key, head, optimizer), stopped) is not { } report)
                return null;
            var wrong = await stores.Site.WrongAsync(report.Head!, stopped) ?? await stores.Site.WrongAsync(report.Optimizer!, stopped);
            if (wrong is { } what)
            {
                LogFilesLost(member.ClientId, assignment.Round, what);
                return null;
            }

            reports.Add(report);
        }

        return reports;
    }

    // What is older than the head of the manifest before the last can be asked for by nobody, unless the plan keeps it to fork from.
    private async Task ForgetOldHeadsAsync(SiteAssignment assignment, CancellationToken stopped)
    {
        var site = Keys.SiteOf(this.GetPrimaryKeyString());
        var checkpoints = (await cache.PlanAsync(assignment.Plan, stopped)).Plan.Checkpoints;
        // A head is named by rounds after the one it began in: gc knows by which.
        if (assignment.Concurrent && checkpoints.KeepEvery is not null) return;
        foreach (var member in assignment.Members)
        {
            if (member.HeadBefore is not (> 0 and var needed)) continue;
            var owned = Keys.Owned(assignment.JobId, site, member.ClientId);
            foreach (var round in await OldAsync(member.ClientId, owned, needed, stopped))
            {
                if (Retention.KeepsHead(checkpoints, round, needed)) continue;
                await stores.Site.DeleteAllAsync(string.Create(CultureInfo.InvariantCulture, $"{owned}{round}/"), stopped);
            }

            _forgotten[member.ClientId] = needed;
        }
    }

    private async Task<IEnumerable<int>> OldAsync(string client, string owned, int needed, CancellationToken stopped)
    {
        if (_forgotten.TryGetValue(client, out var since) && since <= needed && needed - since <= MostRoundsForgotten)
            return Enumerable.Range(since, needed - since);
        var old = new SortedSet<int>();
        await foreach (var key in stores.Site.ListAsync(owned, stopped))
        {
            if (Keys.RoundOf(key, owned) is { } round && round < needed) old.Add(round);
        }

        return old;
    }

    private async Task SendAsync(string job, IReadOnlyList<ClientReport> reports)
    {
        if (reports.Count == 0) return; // every member is silent
        try
        {
            await GrainFactory.GetGrain<ISiteGrain>(Keys.Site(job, Keys.SiteOf(this.GetPrimaryKeyString()))).ReportAsync(reports);
        }
        catch (Exception e) when (Unanswered.Is(e))
        {
            LogReportLost(reports[0].ClientId, reports[0].Round, e); // the coordinator asks the silent again
        }
    }

    private void Record(Histogram<double> duration, SiteAssignment assignment, double seconds) =>
        duration.Record(seconds, Telemetry.Of(Telemetry.Run, assignment.JobId), Telemetry.Of(Telemetry.Site, Site));

    private static readonly Dictionary<string, string> NoMetadata = [];

    private static ClientReport Report(SiteAssignment assignment, string client) =>
        new() { Round = assignment.Round, Attempt = assignment.Attempt, Phase = assignment.Phase, ClientId = client };

    private static ClientReport Failed(SiteAssignment assignment, string client, string failure) =>
        Report(assignment, client) with { Failure = failure.ReplaceLineEndings(" ") };

    private sealed class Work((int Round, int Attempt, RoundPhase Phase) order)
    {
        public (int Round, int Attempt, RoundPhase Phase) Order => order;

        public CancellationTokenSource Stop { get; } = new();

        public IReadOnlyList<ClientReport>? Finished { get; set; }
    }

    /// <summary>A scoring as a manifest has it.</summary>
    internal static ClientScore ScoreOf(EvaluationResult result) => new()
    {
        Metric = result.Metric, Value = result.Score, Loss = result.Loss, Rows = result.Rows, MajorityShare = result.MajorityShare,
        Frame = result.Frame, Notes = OrNull(result.Notes), StandardError = result.StandardError,
        Base = result.Base, Always = result.Always,
    };

    private static DataNote[]? OrNull(IReadOnlyList<DataNote> notes) => notes.Count == 0 ? null : [.. notes];
}
