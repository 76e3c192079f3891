using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains;
using FedRLora.Grains.Store;

namespace FedRLora.ControlPlane.Events;

/// <summary>
/// A run as this silo's listeners hear it: one question at a time to the coordinator, wherever that is, whose answers become one
/// <see cref="RunView"/> and events that are written once for all listeners. Ids are the coordinator's, so that a listener goes on at any
/// silo where it was: see <see cref="SubscribeAsync"/>.
/// </summary>
public sealed class RunFeed : IAsyncDisposable
{
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(4);

    private readonly string _run;
    private readonly string _tag;
    private readonly IRunFollowingGrain _coordinator;
    private readonly Func<CancellationToken, Task<string?>> _plan;
    private readonly TimeProvider _time;
    private readonly FeedSettings _settings;
    private readonly CancellationTokenSource _stopping = new();
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _following;
    private int _missed; // answers in a row

    private readonly Lock _gate = new(); // of all below
    private readonly HashSet<Listener> _listeners = [];
    private readonly LinkedList<(RunPosition At, FeedEvent Event)> _history = [];
    private readonly Dictionary<string, FeedEvent> _snapshots = []; // of the present, by reason
    private RunPosition? _before; // the position before the history's first event
    private long _historyBytes;
    private RunProjection? _view;
    private RunPosition? _at;
    private string? _sha256; // of the last round
    private bool _isWhole;
    private Exception? _end;
    private (DateTimeOffset Since, string Why)? _stale;
    private DateTimeOffset _answered;
    private DateTimeOffset _snapshotsOf;

    /// <param name="run">The run.</param>
    /// <param name="coordinator">Who tells of it.</param>
    /// <param name="plan">Its plan's text; null where there is no such run.</param>
    /// <param name="time">The time.</param>
    /// <param name="settings">How much to remember.</param>
    public RunFeed(
        string run, IRunFollowingGrain coordinator, Func<CancellationToken, Task<string?>> plan, TimeProvider time,
        FeedSettings? settings = null)
    {
        (_run, _tag, _coordinator, _plan) = (run, RunPosition.TagOf(run), coordinator, plan);
        (_time, _settings, _answered) = (time, settings ?? new(), time.GetUtcNow());
        _following = Task.Run(() => FollowAsync(_stopping.Token));
    }

    /// <summary>Whether there is no such run, so that this feed is of no use.</summary>
    public bool IsOver => _following.IsCompleted;

    /// <summary>How many listen.</summary>
    public int Listeners
    {
        get
        {
            lock (_gate) return _listeners.Count;
        }
    }

    /// <summary>The run as of now.</summary>
    /// <exception cref="NoSuchRunException">There is no such run.</exception>
    /// <exception cref="UnansweredException">Its coordinator has never answered.</exception>
    public async Task<RunView> ViewAsync(CancellationToken cancellationToken)
    {
        await ReadyAsync(cancellationToken);
        lock (_gate) return ViewNow();
    }

    /// <summary>What the committed rounds say of each client, as of now.</summary>
    /// <inheritdoc cref="ViewAsync"/>
    internal async Task<ClientColumns> ColumnsAsync(CancellationToken cancellationToken)
    {
        await ReadyAsync(cancellationToken);
        lock (_gate) return _view?.Columns() ?? throw ReadAgain();
    }

    /// <summary>What the committed rounds make of the outcome, as of now, and whether the run goes on.</summary>
    /// <inheritdoc cref="ViewAsync"/>
    internal async Task<(OutcomeSoFar Outcome, JobStatus Status)> OutcomeAsync(CancellationToken cancellationToken)
    {
        await ReadyAsync(cancellationToken);
        lock (_gate) return _view is { } view ? (view.Outcome(), view.State(_time.GetUtcNow()).Status) : throw ReadAgain();
    }

    private UnansweredException ReadAgain() => new($"The rounds of run {_run} are read again; try again");

    /// <summary>
    /// Events from where a listener was: after the id that it names come exactly those that happened after it. Where the coordinator has
    /// moved meanwhile, or no longer remembers the id, come the rounds committed since, each once, and then one state and one event of
    /// clients that stand for what happened between. A listener without an id, with one that is none, of another run, or more than
    /// <see cref="FeedSettings.RoundsBehind"/> rounds old, gets one snapshot first, whose reason says why.
    /// </summary>
    /// <param name="lastEventId">The id of the last event that the listener has heard; null for none.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <param name="share">Runs that the listener hears, which share what may be before it.</param>
    /// <exception cref="NoSuchRunException">There is no such run.</exception>
    /// <exception cref="UnansweredException">Its coordinator has never answered.</exception>
    public async IAsyncEnumerable<FeedEvent> SubscribeAsync(
        string? lastEventId, [EnumeratorCancellation] CancellationToken cancellationToken, int share = 1)
    {
        await ReadyAsync(cancellationToken);
        var listener = new Listener(_settings.SharedBy(share));
        try
        {
            foreach (var missed in await AttachAsync(listener, lastEventId, cancellationToken)) yield return missed;
            while (true)
            {
                if ((listener.Take() ?? CatchUp(listener)) is { } next) yield return next;
                else if (!await listener.WaitAsync(_settings.PingAfter, _time, cancellationToken)) yield return Ping;
            }
        }
        finally
        {
            lock (_gate) _listeners.Remove(listener);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await _following;
        _stopping.Dispose();
    }

    private static FeedEvent Ping { get; } = new(null, FeedEvents.Ping,
        JsonSerializer.SerializeToUtf8Bytes(new { Json.Schema }, Json.Lines));

    private async Task ReadyAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                await _ready.Task.WaitAsync(_settings.FirstAnswer, _time, cancellationToken);
                return;
            }
            catch (TimeoutException e)
            {
                lock (_gate)
                {
                    if (_time.GetUtcNow() - _answered < _settings.FirstAnswer) continue; // a large run comes message by message
                    throw new UnansweredException(
                        $"The coordinator of run {_run} does not answer: {_stale?.Why ?? "it has said nothing"}", e);
                }
            }
        }
    }

    // The coordinator's news.

    private async Task FollowAsync(CancellationToken stopping)
    {
        try
        {
            while (!stopping.IsCancellationRequested && await TryFollowAsync(stopping))
            {
            }
        }
        catch (Exception) when (stopping.IsCancellationRequested)
        {
            EndAll(new OperationCanceledException(stopping));
        }
    }

    // False where there is nothing to follow.
    private async Task<bool> TryFollowAsync(CancellationToken stopping)
    {
        var asked = _time.GetTimestamp();
        try
        {
            if (_view is null)
            {
                if (await _plan(stopping).WaitAsync(_settings.Patience + _settings.Grace, _time, stopping) is not { } plan)
                    return NoSuchRun();
                lock (_gate) _view = new RunProjection(_run, PlanReader.Require(plan, "plan.yaml"));
            }

            var news = await AskAsync(_at, _settings.Patience, stopping);
            if (news is null) return NoSuchRun();
            _missed = 0;
            lock (_gate) Take(news);
            if (news is { Events.Count: 0, IsForeign: false } && _time.GetElapsedTime(asked) < _settings.Pause)
                await Task.Delay(_settings.Pause, _time, stopping); // an activation that goes away has nothing to wait for
            return true;
        }
        catch (Exception e) when (!stopping.IsCancellationRequested)
        {
            lock (_gate) Miss(LineOf(e));
            await Task.Delay(Pauses.Doubled(_settings.Pause, _missed++ / 10, LongestPause), _time, stopping);
            return true;
        }
    }

    private Task<RunNews?> AskAsync(RunPosition? after, TimeSpan patience, CancellationToken cancellationToken) =>
        _coordinator.FollowAsync(after, patience, cancellationToken).WaitAsync(patience + _settings.Grace, _time, cancellationToken);

    private bool NoSuchRun()
    {
        EndAll(new NoSuchRunException(_run));
        return false;
    }

    private void EndAll(Exception why)
    {
        lock (_gate)
        {
            _end = why;
            foreach (var listener in _listeners) listener.End(why);
        }

        _ready.TrySetException(why);
        _ = _ready.Task.Exception; // nobody may be waiting
    }

    private void Take(RunNews news)
    {
        _answered = _time.GetUtcNow();
        var wasStale = _stale is not null;
        _stale = null;
        if (news.IsForeign || news.Events.Any(IsNoSuccessor))
        {
            // The rounds that were told are not this run's any more: it was begun again, or its store goes back to an earlier time.
            (_view, _at, _sha256, _isWhole, _before) = (null, null, null, false, null);
            _history.Clear();
            _historyBytes = 0;
            return;
        }

        var heard = news.IsRestated ? (DateTimeOffset?)null : _answered;
        foreach (var one in news.Events) Take(one, heard);
        if (news.HasMore) return;
        if (wasStale && _isWhole && news.Events.Count == 0) Tell(StateWithoutId());
        if (_isWhole || !_view!.HasState) return;
        _isWhole = true;
        _ready.TrySetResult();
        foreach (var listener in _listeners) listener.FallBehind("the run's rounds are others than before");
    }

    private bool IsNoSuccessor(RunEvent one) => one.Round is { } round && _sha256 is not null
        && round.Manifest.Round == _at!.Round + 1 && round.Manifest.Previous != _sha256;

    private void Take(RunEvent one, DateTimeOffset? heard)
    {
        var view = _view!;
        FeedEvent? told = null;
        if (one.Round is { } round)
        {
            if (round.Manifest.Round <= view.Committed) return; // told already
            _sha256 = round.ManifestSha256;
            var row = view.Take(round);
            if (_isWhole) told = Of(one.At, row);
        }
        else if (one.State is { } state)
        {
            view.Take(state, _answered);
            if (_isWhole) told = Of(one.At, FeedEvents.State, view.State(_answered));
        }
        else if (one.Clients is { } clients)
        {
            var changes = view.Take(clients, heard);
            if (_isWhole) told = Of(one.At, FeedEvents.Clients, changes);
        }

        if (told is not null) Remember(one.At, told);
        _at = one.At;
        if (told is not null) Tell(told);
    }

    private void Remember(RunPosition at, FeedEvent told)
    {
        if (_history.Count == 0) _before = _at;
        _history.AddLast((at, told));
        _historyBytes += told.Json.Length;
        while (_history.Count > _settings.History || (_history.Count > 1 && _historyBytes > _settings.Bytes))
        {
            var oldest = _history.First!.Value;
            _before = oldest.At;
            _historyBytes -= oldest.Event.Json.Length;
            _history.RemoveFirst();
        }
    }

    private void Tell(FeedEvent told)
    {
        _snapshots.Clear();
        foreach (var listener in _listeners) listener.Offer(told);
    }

    private void Miss(string why)
    {
        var isNews = _stale is null;
        _stale = (_stale?.Since ?? _answered, why);
        if (isNews && _isWhole) Tell(StateWithoutId());
    }

    private FeedEvent StateWithoutId() => Of(null, FeedEvents.State, StateNow());

    // Listeners.

    private async Task<IReadOnlyList<FeedEvent>> AttachAsync(Listener listener, string? lastEventId, CancellationToken cancellationToken)
    {
        RunPosition? at;
        RunPosition now;
        FeedEvent[] rest;
        lock (_gate)
        {
            _listeners.Add(listener);
            if (_end is not null) throw _end;
            if (!_isWhole) return []; // the run is read again, and then everybody gets a snapshot
            if (lastEventId is null) return [SnapshotOf(null)];
            if (!RunPosition.TryParse(lastEventId, out at)) return [SnapshotOf("the last event's id is none of a run")];
            if (at.Tag != _tag) return [SnapshotOf("the last event's id is of another run")];
            if (at.Round > _view!.Committed) return [SnapshotOf("the last event's id is of a round that is not committed")];
            if (_view.Committed - at.Round > _settings.RoundsBehind)
                return [SnapshotOf(string.Create(CultureInfo.InvariantCulture,
                    $"more than {_settings.RoundsBehind} rounds were committed since the last event"))];
            if (After(at) is { } missed) return missed;
            now = _at!;
            rest = [Of(now.BeforeClients(), FeedEvents.State, StateNow()), Of(now, FeedEvents.Clients, _view.Clients())];
        }

        // What this silo has not heard, the coordinator knows; what comes meanwhile waits before the listener.
        try
        {
            return await MissedAsync(at, now, rest, cancellationToken);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            lock (_gate)
            {
                listener.FallBehind($"what happened since the last event cannot be read: {LineOf(e)}");
                return [];
            }
        }
    }

    // What is remembered here after a position; null where it is not among that.
    private List<FeedEvent>? After(RunPosition at)
    {
        if (at == _at) return [];
        var node = _history.First;
        if (at != _before)
        {
            for (node = _history.Last; node is not null && node.Value.At != at; node = node.Previous)
            {
            }

            if (node is null) return null;
            node = node.Next;
        }

        var missed = new List<FeedEvent>();
        for (; node is not null; node = node.Next) missed.Add(node.Value.Event);
        return missed;
    }

    // Where the coordinator remembers the position, exactly what happened after it; else the rounds, and how things stand here.
    private async Task<IReadOnlyList<FeedEvent>> MissedAsync(
        RunPosition at, RunPosition now, FeedEvent[] rest, CancellationToken cancellationToken)
    {
        var missed = new List<FeedEvent>();
        for (var isTold = at.Activation == now.Activation && at.Number > 0; isTold;)
        {
            var news = await AskAsync(at, TimeSpan.Zero, cancellationToken);
            if (news is null or { IsRestated: true } or { IsForeign: true }) break;
            foreach (var one in news.Events)
            {
                missed.Add(Missed(one));
                at = one.At;
                if (at == now) return missed;
            }

            isTold = news.HasMore;
        }

        while (at.Round < now.Round)
        {
            var news = await AskAsync(at with { Number = 0 }, TimeSpan.Zero, cancellationToken);
            var rounds = (news?.Events ?? []).Where(
                one => one.Round is { Manifest.Round: var round } && round > at.Round && round <= now.Round)
                .ToList();
            if (rounds.Count == 0) throw new RoundsMissingException(at.Round, now.Round);
            missed.AddRange(rounds.Select(Missed));
            at = rounds[^1].At;
        }

        return [.. missed, .. rest];
    }

    private FeedEvent Missed(RunEvent one)
    {
        lock (_gate)
        {
            return _view is not { } view ? throw new RoundsMissingException(-1, one.At.Round)
                : one.Round is { } round ? Of(one.At, view.Show(round))
                : one.State is { } state ? Of(one.At, FeedEvents.State, view.State(state, _time.GetUtcNow(), one.At.Round))
                : Of(one.At, FeedEvents.Clients, view.Show(one.Clients!));
        }
    }

    private FeedEvent? CatchUp(Listener listener)
    {
        lock (_gate) return _isWhole && listener.CatchesUp() is { } reason ? SnapshotOf(reason) : null;
    }

    private FeedEvent SnapshotOf(string? reason)
    {
        var now = _time.GetUtcNow();
        if (now - _snapshotsOf > TimeSpan.FromSeconds(1)) _snapshots.Clear();
        if (_snapshots.Count == 0) _snapshotsOf = now;
        if (!_snapshots.TryGetValue(reason ?? "", out var snapshot))
            _snapshots[reason ?? ""] = snapshot = Of(_at, FeedEvents.Snapshot, ViewNow() with { Reason = reason });
        return snapshot;
    }

    private RunView ViewNow() => _view!.View(_time.GetUtcNow(), _stale?.Since, _stale?.Why);

    private RunState StateNow() => _view!.State(_time.GetUtcNow(), _stale?.Since, _stale?.Why);

    private static FeedEvent Of(RunPosition at, RoundView round) =>
        new(at.ToString(), FeedEvents.Round, Encoding.UTF8.GetBytes(MetricsText.JsonLine(round)));

    private static FeedEvent Of<T>(RunPosition? at, string type, T content) =>
        new(at?.ToString(), type, JsonSerializer.SerializeToUtf8Bytes(content, Json.Lines));

    private static string LineOf(Exception e) => e switch
    {
        _ when CorruptBlobException.OrBadInputIn(e) is { } refusal => refusal.Message,
        _ when StoreUnavailableException.In(e) is { } away => away.Message,
        TimeoutException => "its coordinator does not answer",
        RoundsMissingException => e.Message,
        _ => $"its coordinator does not answer ({e.GetType().Name})",
    };

    private sealed class RoundsMissingException(int known, int committed)
        : Exception(string.Create(CultureInfo.InvariantCulture, $"no silo tells of rounds {known + 1} to {committed}"));
}
