using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.EndToEnd.Tests.Client;

namespace FedRLora.EndToEnd.Tests.ControlPlane;

/// <summary>
/// A run that does what a test says, and tells of it as a coordinator does. Abstract, or silos in this process would take it for a grain.
/// </summary>
internal abstract class FakeCoordinator : IRunFollowingGrain
{
    public const string Run = "demo-1";

    private readonly Lock _gate = new();
    private readonly List<RoundSummary> _rounds = [];
    private readonly SortedDictionary<string, ClientNow> _clients = new(StringComparer.Ordinal);
    private readonly List<RunEvent> _log = [];
    private JobProgress _state = StateOf(0);
    private string _activation = "first";
    private TaskCompletionSource _news = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private FakeCoordinator() => Become(StateOf(0));

    public static FakeCoordinator Create() => new Told();

    /// <summary>Why it does not answer; null where it does.</summary>
    public Exception? Trouble { get; set; }

    /// <summary>Whether the run is there.</summary>
    public bool IsThere { get; set; } = true;

    /// <summary>How many rounds a message holds.</summary>
    public int MostRounds { get; set; } = int.MaxValue;

    public int Questions { get; private set; }

    public RunPosition Last
    {
        get
        {
            lock (_gate) return _log[^1].At;
        }
    }

    /// <summary>Commits the next round, and opens the one after it.</summary>
    public void Commit(RoundSummary? round = null)
    {
        lock (_gate)
        {
            _rounds.Add(Next(round ?? SampleRun.Round(_rounds.Count)));
            Add(new() { At = At(_log.Count + 1), Round = _rounds[^1] });
        }

        Become(StateOf(_rounds.Count));
        Say(Now("a", ClientStage.AtWork), Now("b", ClientStage.AtWork), Now("c", ClientStage.AtWork));
    }

    public void Become(JobProgress state)
    {
        lock (_gate)
        {
            if (_state.Round != state.Round) _clients.Clear();
            _state = state;
            Add(new() { At = At(_log.Count + 1), State = state });
        }
    }

    public void Say(params ClientNow[] clients)
    {
        lock (_gate)
        {
            foreach (var client in clients) _clients[client.ClientId] = client;
            Add(new() { At = At(_log.Count + 1), Clients = clients });
        }
    }

    /// <summary>Another silo takes the run over.</summary>
    public void Move(string activation)
    {
        lock (_gate)
        {
            _activation = activation;
            _log.Clear();
        }

        Become(_state);
    }

    /// <summary>The run is begun again under its name.</summary>
    public void BeginAgain()
    {
        lock (_gate) _rounds.Clear();
        _state = StateOf(0);
        Move("again");
    }

    public async Task<RunNews?> FollowAsync(RunPosition? after, TimeSpan patience, CancellationToken cancellationToken = default)
    {
        while (true)
        {
            Task news;
            lock (_gate)
            {
                Questions++;
                if (Trouble is not null) throw Trouble;
                if (!IsThere) return null;
                var answer = Answer(after);
                if (answer.Events.Count > 0 || answer.IsForeign || patience <= TimeSpan.Zero) return answer;
                news = _news.Task;
            }

            await news.WaitAsync(cancellationToken);
        }
    }

    public Task<IReadOnlyList<SiteAssignment>> CommittedAsync(CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    /// <summary>Whoever waits asks again, and hears of the trouble.</summary>
    public void Wake()
    {
        lock (_gate) Signal();
    }

    public static ClientNow Now(string client, ClientStage stage, double? seconds = null, string? reason = null) => new()
    {
        ClientId = client, Phase = RoundPhase.Train, Stage = stage, Seconds = seconds, Reason = reason,
    };

    public static JobProgress StateOf(int round) => SampleRun.Progress(JobStatus.Running, null) with
    {
        JobId = Run, Round = round, Rounds = 1_000, Reported = 0,
        Hold = new() { Kind = HoldKind.AtWork, Phase = "train", Of = 3, Clients = ["a", "b", "c"], ClientCount = 3 },
    };

    private RoundSummary Next(RoundSummary round) => round with
    {
        ManifestSha256 = $"{_rounds.Count:d4}{_activation}",
        Manifest = round.Manifest with { Round = _rounds.Count, Previous = _rounds.Count == 0 ? null : _rounds[^1].ManifestSha256 },
    };

    private RunNews Answer(RunPosition? after)
    {
        if (after is not null && (after.Tag != RunPosition.TagOf(Run) || after.Round >= _rounds.Count))
            return new() { Events = [], IsForeign = true, IsRestated = true };
        var known = after is null ? -1 : _log.FindIndex(one => one.At == after);
        if (known >= 0)
            return new() { Events = [.. _log.Skip(known + 1)] };
        var first = after?.Round + 1 ?? 0;
        var rounds = _rounds.Skip(first).Take(MostRounds)
            .Select((round, i) => new RunEvent { At = At(0) with { Round = first + i }, Round = round }).ToList();
        if (first + rounds.Count < _rounds.Count) return new() { Events = rounds, IsRestated = true, HasMore = true };
        var at = _log[^1].At;
        return new()
        {
            Events =
            [
                .. rounds, new() { At = at.BeforeClients(), State = _state }, new() { At = at, Clients = [.. _clients.Values] },
            ],
            IsRestated = true,
        };
    }

    private RunPosition At(long number) => new(RunPosition.TagOf(Run), _rounds.Count - 1, _activation, number);

    private void Add(RunEvent happened)
    {
        _log.Add(happened);
        Signal();
    }

    private void Signal()
    {
        var news = _news;
        _news = new(TaskCreationOptions.RunContinuationsAsynchronously);
        news.TrySetResult();
    }

    private sealed class Told : FakeCoordinator;
}
