using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Rounds;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// What happened in a job since this activation took it up, numbered, as far as it is remembered. Whoever changes the job says so; what
/// has changed is read off it then, so that ten thousand reports between two looks are one event of clients and one of state. A look is
/// taken at once where the round or its phase is another, else when a listener asks, and not oftener than each <see cref="Apart"/>.
/// </summary>
internal sealed class RunEventLog
{
    /// <summary>Time between two looks at what changes all the time.</summary>
    public static readonly TimeSpan Apart = TimeSpan.FromMilliseconds(250);

    private const int MostEvents = 1_000;

    private readonly CoordinatorServices _services;
    private readonly OpenJob _job;
    private readonly ProgressAnswer _progress;
    private readonly string _tag;
    private readonly string _activation = Guid.NewGuid().ToString("n")[..16];
    private readonly Queue<Entry> _entries = [];
    private readonly SortedDictionary<string, ClientNow> _clients = new(StringComparer.Ordinal); // of the open attempt, as last told
    private readonly Dictionary<(RoundPhase Phase, string Client), double> _seconds = []; // of the open attempt
    private int _clientsRemembered; // in all entries
    private int _told; // the last committed round that an entry, or whoever opened the job, tells of
    private long _number;
    private long _forgotten; // the last number that is not remembered
    private RoundSummary? _newest; // so that listeners hear of it while the store is away
    private (int Round, int Attempt) _open = (-1, -1);
    private (int, int, Phase, Gate, int)? _looked; // what no look may be late for
    private string? _identity; // of the state as last told
    private bool _isChanged = true;
    private bool _isOver;
    private long _lookedAt;
    private TaskCompletionSource _news = NewSignal();

    public RunEventLog(CoordinatorServices services, OpenJob job, RoundClock clock)
    {
        (_services, _job, _progress) = (services, job, new ProgressAnswer(services, job, clock));
        (_tag, _told) = (RunPosition.TagOf(job.Id), job.Committed?.Round ?? -1);
    }

    /// <summary>The last committed round that was told of; -1 for none.</summary>
    public int Told => _told;

    /// <summary>How long until a look is due; null where nothing has changed.</summary>
    public TimeSpan? Due => !_isChanged ? null
        : _number == 0 ? TimeSpan.Zero
        : Apart - _services.Time.GetElapsedTime(_lookedAt) is { Ticks: > 0 } left ? left : TimeSpan.Zero;

    /// <summary>How long ago it was looked at.</summary>
    public TimeSpan LookedAgo => _services.Time.GetElapsedTime(_lookedAt);

    /// <summary>Something of the job may have changed.</summary>
    public void Changed()
    {
        _isChanged = true;
        if ((_job.Shown.Round, _job.Shown.Attempt, _job.Shown.Phase, _job.Gate, _job.State.Committed) != _looked) Look();
        else Signal();
    }

    /// <summary>Keeps how long clients took.</summary>
    public void Heard(IEnumerable<RoundEvent> happened)
    {
        foreach (var one in happened.OfType<RoundEvent.ClientReported>())
        {
            var (report, state) = (one.Report, _job.State);
            if (one.Seconds is not { } seconds || (report.Round, report.Attempt) != (state.Round, state.Attempt)) continue;
            if (report.Phase == RoundPhase.Train && state.Carried.ContainsKey(report.ClientId)) continue; // it began in another round
            KnowAttempt((state.Round, state.Attempt));
            _seconds.TryAdd((report.Phase, report.ClientId), seconds);
        }
    }

    /// <summary>Keeps a round that was just committed.</summary>
    public void Remember(RoundSummary committed) => _newest = committed;

    /// <summary>The round, where it is the last one that was committed here.</summary>
    public RoundSummary? Newest(int round) => _newest?.Manifest.Round == round ? _newest : null;

    /// <summary>Nothing happens here any more: whoever waits asks the next activation.</summary>
    public void End()
    {
        _isOver = true;
        Signal();
    }

    /// <summary>Waits until something may be new, at most so long.</summary>
    public async Task WaitAsync(TimeSpan most, CancellationToken cancellationToken)
    {
        if (_isOver) return;
        Task news = _news.Task;
        await news.WaitAsync(most, _services.Time, cancellationToken)
            .ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Whether the activation is going away.</summary>
    public bool IsOver => _isOver;

    /// <summary>Writes down what is new.</summary>
    public void Look()
    {
        (_isChanged, _lookedAt) = (false, _services.Time.GetTimestamp());
        _looked = (_job.Shown.Round, _job.Shown.Attempt, _job.Shown.Phase, _job.Gate, _job.State.Committed);
        while (_told < _job.State.Committed)
        {
            _told++;
            Add(round: _told);
        }

        var (state, now) = (_progress.Now(), _job.Shown);
        KnowAttempt((now.Round, now.Attempt));
        var identity = IdentityOf(state);
        if (identity != _identity) Add(state: state);
        _identity = identity;
        var absent = state.AbsentSites.SelectMany(static hold => hold.Sites).Select(static site => site.Site)
            .ToHashSet(StringComparer.Ordinal);
        ClientNow[] clients =
        [
            .. _job.Machine.ClientsOf(now, absent, Seconds).Where(client => _clients.GetValueOrDefault(client.ClientId) != client),
        ];
        if (clients.Length == 0) return;
        foreach (var client in clients) _clients[client.ClientId] = client;
        Add(clients: clients);
    }

    /// <summary>
    /// What is remembered after a position; null where it cannot be told what happened since. Rounds come without their content.
    /// </summary>
    public IReadOnlyList<Entry>? After(RunPosition position)
    {
        if (position.Activation != _activation || position.Number <= 0 || position.Number > _number || position.Number < _forgotten)
            return null;
        var before = _entries.LastOrDefault(entry => entry.At.Number <= position.Number);
        if (before is not null && before.At != position) return null; // nobody was told so
        return [.. _entries.Where(entry => entry.At.Number > position.Number)];
    }

    /// <summary>Whether a position can be one of this job: of its name, and of a round that is committed.</summary>
    public bool IsOwn(RunPosition position) => position.Tag == _tag && position.Round <= _told;

    /// <summary>A position at which a listener knows committed rounds and nothing of what happens beside them.</summary>
    public RunPosition AtRound(int round) => new(_tag, round, _activation, 0);

    /// <summary>The whole state, and every client of the open round; the position is that of the last of them.</summary>
    public IReadOnlyList<RunEvent> Whole()
    {
        var (at, state) = (new RunPosition(_tag, _told, _activation, _number), _progress.Now());
        return _clients.Count == 0
            ? [new() { At = at, State = state }]
            : [new() { At = at.BeforeClients(), State = state }, new() { At = at, Clients = [.. _clients.Values] }];
    }

    // Where the cohort is another, nobody's stage is known; within an attempt a client stays what it was, also when the job fails and
    // forgets its cohort.
    private void KnowAttempt((int Round, int Attempt) open)
    {
        if (open == _open) return;
        _open = open;
        _clients.Clear();
        _seconds.Clear();
    }

    private double? Seconds(RoundPhase phase, string client) => _seconds.TryGetValue((phase, client), out var taken) ? taken : null;

    private void Add(int? round = null, JobProgress? state = null, ClientNow[]? clients = null)
    {
        _entries.Enqueue(new(new(_tag, _told, _activation, ++_number), round, state, clients));
        _clientsRemembered += clients?.Length ?? 0;
        while (_entries.Count > MostEvents || (_clientsRemembered > _services.Settings.MostClientsInMessage && _entries.Count > 1))
        {
            var oldest = _entries.Dequeue();
            _clientsRemembered -= oldest.Clients?.Count ?? 0;
            _forgotten = oldest.At.Number;
        }

        Signal();
    }

    private void Signal()
    {
        var waiting = _news;
        _news = NewSignal();
        waiting.TrySetResult();
    }

    // What the clock alone changes is no news: a span is the reader's to count on.
    private static string IdentityOf(JobProgress state) => string.Join('\n',
    [
        $"{state.Status}|{state.Reason}|{state.Rounds}|{state.Round}|{state.Attempt}|{state.Phase}|{state.Reported}|{state.Cohort}",
        .. state.Missing, state.Hold?.Identity ?? "", .. state.AbsentSites.Select(static hold => hold.Identity),
    ]);

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>A <see cref="RunEvent"/> without the content of its round.</summary>
    internal sealed record Entry(RunPosition At, int? Round, JobProgress? State, IReadOnlyList<ClientNow>? Clients);
}
