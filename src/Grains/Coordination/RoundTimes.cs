using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Rounds;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// What becomes the <see cref="RoundTiming"/> of the open round. It knows what this activation saw: an assignment that an earlier one
/// sent has no begin, so that nothing is said of how long it took.
/// </summary>
internal sealed class RoundTimes(RoundClock clock, TimeProvider time)
{
    private readonly Dictionary<string, (CarriedWork Work, long At)> _sent = new(StringComparer.Ordinal); // by client
    private readonly Dictionary<string, Report> _reports = new(StringComparer.Ordinal); // by client
    private readonly Dictionary<string, double> _parts = new(StringComparer.Ordinal);
    private (string By, string? Client)? _closed;
    private long _began;
    private long _closedAt;

    /// <summary>A round was opened, or taken up.</summary>
    public void Begin(RoundState state, long timestamp)
    {
        _began = timestamp;
        Open(state);
    }

    /// <summary>Another attempt begins.</summary>
    public void Retried(RoundState state)
    {
        Open(state);
        _parts[RoundTiming.Retry] = time.GetElapsedTime(_began).TotalSeconds;
    }

    /// <summary>Clients are sent their training; only the first time counts.</summary>
    public void Sent(RoundState state, IEnumerable<string> clients)
    {
        if (clock.SinceSent(state) is null) return;
        foreach (var client in clients.Where(client => !state.Carried.ContainsKey(client)))
        {
            var work = state.WorkOf(client);
            if (!_sent.TryGetValue(client, out var known) || known.Work != work) _sent[client] = (work, time.GetTimestamp());
        }
    }

    /// <summary>Clients have reported; only a first report counts.</summary>
    public void Heard(IEnumerable<RoundEvent> happened, RoundState state)
    {
        foreach (var one in happened.OfType<RoundEvent.ClientReported>())
        {
            var (client, report) = (one.Report.ClientId, one.Report);
            var work = state.WorkOf(client) with { Round = report.Round, Attempt = report.Attempt };
            if (report.Phase != RoundPhase.Train || !IsOf(state, client, work)) continue;
            if (_reports.TryGetValue(client, out var known) && IsOf(state, client, known.Work)) continue;
            var isCarried = state.Carried.ContainsKey(client);
            double? seconds = !isCarried ? one.Seconds
                : _sent.TryGetValue(client, out var sent) && IsSame(sent.Work, work) ? time.GetElapsedTime(sent.At).TotalSeconds : null;
            _reports[client] = new(work, seconds, one.Seconds);
        }
    }

    /// <summary>The cohort's training is over.</summary>
    public void Closed(RoundState state, string by, string? client)
    {
        var (retry, select) = (_parts.GetValueOrDefault(RoundTiming.Retry), _parts.GetValueOrDefault(RoundTiming.Select));
        Forget();
        if (retry > 0) _parts[RoundTiming.Retry] = retry;
        if (select > 0) _parts[RoundTiming.Select] = select;
        (_closed, _closedAt) = ((by, client), time.GetTimestamp());
        if (clock.SinceSent(state)?.TotalSeconds is not { } whole) return;
        double[] arrived = [.. state.Reports.Keys.Select(one => _reports.GetValueOrDefault(one)?.Arrived).OfType<double>().Order()];
        var train = arrived.Length == 0 ? whole : Math.Min(whole, arrived[(arrived.Length - 1) / 2]);
        _parts[RoundTiming.Train] = train;
        _parts[RoundTiming.Wait] = whole - train;
    }

    /// <summary>The sites have confirmed what the training closed with.</summary>
    public void Confirmed() => _parts[RoundTiming.Confirm] = time.GetElapsedTime(_closedAt).TotalSeconds;

    /// <summary>A stage of the round is over.</summary>
    public void Add(string stage, TimeSpan took)
    {
        if (stage is RoundTiming.Select or RoundTiming.Aggregate or RoundTiming.Evaluate or RoundTiming.Commit)
            _parts[stage] = _parts.GetValueOrDefault(stage) + took.TotalSeconds;
    }

    /// <summary>The round is committed, this long after it began.</summary>
    public RoundTiming End(RoundState state, DateTimeOffset began, double seconds)
    {
        foreach (var (client, sent) in _sent.ToArray())
        {
            if (!IsOf(state, client, sent.Work) || state.Reports.ContainsKey(client)) _sent.Remove(client);
        }

        return new()
        {
            CommittedAt = began.AddSeconds(seconds), Attempts = state.Attempt, ClosedBy = _closed?.By, DecidedBy = _closed?.Client,
            // in the order of the document that is stored, so that both are written alike
            Parts = _parts.OrderBy(static one => one.Key, StringComparer.Ordinal).ToDictionary(StringComparer.Ordinal),
            ClientSeconds = _reports.Where(one => one.Value.Seconds is not null && state.Reports.ContainsKey(one.Key))
                .OrderBy(static one => one.Key, StringComparer.Ordinal)
                .ToDictionary(static one => one.Key, static one => one.Value.Seconds!.Value, StringComparer.Ordinal),
        };
    }

    // What clients that go on from before have reported came before the cohort was sent anything.
    private void Open(RoundState state)
    {
        Forget();
        foreach (var (client, report) in _reports.ToArray())
        {
            if (IsOf(state, client, report.Work)) _reports[client] = report with { Arrived = 0 };
            else _reports.Remove(client);
        }
    }

    private void Forget()
    {
        _parts.Clear();
        _closed = null;
    }

    private static bool IsOf(RoundState state, string client, CarriedWork work) => IsSame(state.WorkOf(client), work);

    private static bool IsSame(CarriedWork one, CarriedWork other) => (one.Round, one.Attempt) == (other.Round, other.Attempt);

    /// <param name="Work">What it is of.</param>
    /// <param name="Seconds">Since it was assigned; null where that is not known.</param>
    /// <param name="Arrived">Since the cohort of the open round was sent its work; null where that is not known.</param>
    private sealed record Report(CarriedWork Work, double? Seconds, double? Arrived);
}
