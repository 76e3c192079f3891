using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Rounds;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// What the coordinator of a run measures of it: counters from 0, gauges for as long as the run is not over, its rounds' spans.
/// </summary>
internal sealed class RunTelemetry : IDisposable
{
    private readonly CoordinatorServices _services;
    private readonly OpenJob _job;
    private readonly RoundClock _clock;
    private readonly ConcurrentDictionary<string, ClientLast> _clients = new(StringComparer.Ordinal); // that have series of their own
    private readonly Dictionary<string, string> _siteOf;
    private IDisposable? _gauges;

    public RunTelemetry(CoordinatorServices services, OpenJob job, RoundClock clock, IPersistentState<JobMemory> memory)
    {
        (_services, _job, _clock) = (services, job, clock);
        _siteOf = job.Plan.Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
        Times = new RoundTimes(clock, services.Time);
        Trace = new RoundTrace(job.Id, memory, services.Time, Times);
    }

    /// <summary>The times of the open round.</summary>
    public RoundTimes Times { get; }

    /// <summary>The spans of the open round.</summary>
    public RoundTrace Trace { get; }

    /// <summary>The run goes on here, unless it is over.</summary>
    public void Start()
    {
        if (_gauges is not null || IsOver) return;
        Telemetry.Begin(_job.Id, _job.Sites);
        var clients = _services.ClientSeries.Take(_job.Plan.Clients.Count);
        foreach (var client in _job.Plan.Clients.Select(static client => client.Id).Order(StringComparer.Ordinal).Take(clients))
            _clients[client] = new(client, null, null, null);
        if (clients < _job.Plan.Clients.Count && _services.ClientSeries.Most > 0)
        {
            _services.Logger.LogClientSeries(
                _job.Id, _job.Plan.Clients.Count - clients, _job.Plan.Clients.Count, _services.ClientSeries.Most);
        }

        _gauges = OpenRuns.Add(_job.Id, Now, () => _clients.Values);
    }

    /// <summary>A client has reported.</summary>
    public void Heard(ClientReport report, double? seconds)
    {
        Telemetry.Reports.Add(1, Telemetry.Of(Telemetry.Run, _job.Id), Telemetry.Of(Telemetry.Site, _siteOf[report.ClientId]),
            Telemetry.Of(Telemetry.Phase, Telemetry.PhaseName(report.Phase)),
            Telemetry.Of(Telemetry.Outcome, report.Failure is null ? Telemetry.Ok : Telemetry.Failed));
        if (report.Failure is not null || !_clients.TryGetValue(report.ClientId, out var last)) return;
        _clients[report.ClientId] = report.Phase == RoundPhase.Train
            ? last with { Seconds = seconds, Loss = report.Numbers?.MeanLoss }
            : last with { Score = report.Score?.Value };
    }

    /// <summary>The machine has taken events.</summary>
    /// <param name="before">The state before.</param>
    /// <param name="happened">The events.</param>
    /// <param name="began">When it began to.</param>
    public void Took(RoundState before, IReadOnlyList<RoundEvent> happened, (DateTimeOffset At, long Timestamp) began)
    {
        var state = _job.State;
        if (OpenJob.StatusOf(state.Phase) != JobStatus.Running || state.Phase == Phase.Idle) return;
        Start();
        if (Trace.Round != state.Round)
        {
            _clock.Begin(began);
            Times.Begin(state, began.Timestamp);
            Trace.Begin(state, began.At);
            if (state.Phase == Phase.Training && (before.Round, before.Attempt) != (state.Round, state.Attempt))
                Trace.Add("select", began.At, _services.Time.GetElapsedTime(began.Timestamp), state.Cohort.Count);
        }
        else if (before.Round == state.Round && before.Attempt < state.Attempt && before.Attempt > 0)
        {
            Telemetry.Retries.Add(1, Telemetry.Of(Telemetry.Run, _job.Id));
            Trace.Retried(state);
            Times.Retried(state);
        }

        if (before.Round != state.Round) return;
        if (before.Phase == Phase.Training && state.Phase is Phase.Confirming or Phase.Aggregating) Closed(state, happened);
        if (before.Phase == Phase.Confirming && state.Phase == Phase.Aggregating) Times.Confirmed();
    }

    /// <summary>All effects of a turn are performed.</summary>
    public void Turned()
    {
        if (!IsOver) return;
        var status = _job.StatusName;
        if (Trace.Round is not null) Trace.End(status, _job.State.Reason);
        Stop();
        OpenRuns.End(_job.Id);
    }

    public void Dispose()
    {
        if (Trace.Round is not null) Trace.End("left"); // the next activation's links it
        Stop();
    }

    private bool IsOver => OpenJob.StatusOf(_job.Shown.Phase) is JobStatus.Finished or JobStatus.Failed or JobStatus.Cancelled;

    private void Closed(RoundState state, IReadOnlyList<RoundEvent> happened)
    {
        var last = happened.LastOrDefault(
            static one => one is RoundEvent.ClientReported or RoundEvent.DeadlinePassed or RoundEvent.BudgetPassed
                or RoundEvent.SiteLost);
        var client = (last as RoundEvent.ClientReported)?.Report.ClientId;
        var (by, span) = last switch
        {
            RoundEvent.ClientReported => (
                state.Reports.Count == state.Cohort.Count ? RoundTiming.ByAll : RoundTiming.ByQuorum, "client " + client),
            RoundEvent.DeadlinePassed => (RoundTiming.ByDeadline, "deadline"),
            RoundEvent.BudgetPassed => (RoundTiming.ByTimeBudget, "time budget"),
            RoundEvent.SiteLost => (RoundTiming.ByLostSite, "site without a silo"),
            _ => (RoundTiming.ByQuorum, "quorum"),
        };
        Times.Closed(state, by, client);
        Trace.Closed(state, span, client, _services.Time.GetUtcNow() - _clock.SinceSent(state));
    }

    private RunNow? Now()
    {
        var state = _job.Shown;
        var phase = state.Phase == Phase.Paused || _job.Gate.IsClosed ? "paused" : RoundMachine.NameOf(state.Phase);
        return IsOver ? null
            : new(state.Round, state.Committed, _job.Machine.Waiting(state).Count, _services.Sites.Absent(_job.Sites).Count, phase);
    }

    private void Stop()
    {
        if (_gauges is null) return;
        _gauges.Dispose();
        _gauges = null;
        _services.ClientSeries.Return(_clients.Count);
        _clients.Clear();
    }
}
