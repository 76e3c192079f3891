using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>
/// Events of a run put together to what is shown of it. Nothing but events and the plan goes in, so that whoever has heard the same shows
/// the same. Not for several threads at once.
/// </summary>
internal sealed class RunProjection
{
    private readonly string _run;
    private readonly FederationPlan _plan;
    private readonly Dictionary<string, ClientSpec> _specs;
    private readonly List<(string Site, int Clients)> _sites;
    private readonly List<RoundAggregate> _rounds = [];
    private readonly ClientColumns _columns;
    private readonly OutcomeSoFar _outcome = new();
    private readonly SortedDictionary<string, ClientState> _clients = new(StringComparer.Ordinal);
    private readonly Dictionary<string, DateTimeOffset> _heard = new(StringComparer.Ordinal); // by site
    private (JobProgress Progress, DateTimeOffset At)? _state;

    public RunProjection(string run, FederationPlan plan)
    {
        (_run, _plan, _columns) = (run, plan, new(plan));
        _specs = plan.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        _sites =
        [
            .. plan.Clients.CountBy(static client => client.Site, StringComparer.Ordinal)
                .OrderBy(static site => site.Key, StringComparer.Ordinal).Select(static site => (site.Key, site.Value)),
        ];
    }

    /// <summary>The last committed round; -1 before round 0.</summary>
    public int Committed => _rounds.Count == 0 ? -1 : _rounds[^1].Round;

    /// <summary>Whether it is known where the run stands.</summary>
    public bool HasState => _state is not null;

    /// <summary>Takes a committed round: the one after the last.</summary>
    public RoundView Take(RoundSummary round)
    {
        var view = Show(round);
        if (_rounds.Count > 0) _rounds[^1] = _rounds[^1] with { Tasks = null, Kept = null };
        _rounds.Add(RoundAggregate.Of(view));
        _columns.Add(view);
        _outcome.Take(round, view);
        return view;
    }

    /// <summary>What the committed rounds say of each client, as of now.</summary>
    public ClientColumns Columns() => _columns.Copy();

    /// <summary>What the committed rounds make of the outcome, as of now.</summary>
    public OutcomeSoFar Outcome() => _outcome.Copy();

    /// <summary>A committed round as it is shown.</summary>
    public RoundView Show(RoundSummary round) => RoundView.Of(round, _plan);

    /// <summary>Takes where the run stands.</summary>
    public void Take(JobProgress state, DateTimeOffset at)
    {
        if (_state is not { Progress: var before } || (before.Round, before.Attempt) != (state.Round, state.Attempt)) _clients.Clear();
        _state = (state, at);
    }

    /// <summary>Takes what clients do.</summary>
    /// <param name="clients">The clients.</param>
    /// <param name="heard">When they were heard of; null where that was before.</param>
    public ClientChanges Take(IReadOnlyList<ClientNow> clients, DateTimeOffset? heard)
    {
        var changed = clients.Select(Of).ToList();
        foreach (var client in changed)
        {
            _clients[client.Client] = client;
            if (heard is { } at && client.Stage is ClientStage.Reported or ClientStage.Failed) _heard[client.Site] = at;
        }

        return new(Json.Schema, changed);
    }

    /// <summary>What clients do, as it is shown.</summary>
    public ClientChanges Show(IReadOnlyList<ClientNow> clients) => new(Json.Schema, [.. clients.Select(Of)]);

    /// <summary>Every client of the open round.</summary>
    public ClientChanges Clients() => new(Json.Schema, [.. _clients.Values]);

    /// <summary>All of it as of now.</summary>
    public RunView View(DateTimeOffset now, DateTimeOffset? staleSince = null, string? staleReason = null)
    {
        var absent = Aged(now).AbsentSites.SelectMany(static hold => hold.Sites)
            .ToDictionary(static site => site.Site, StringComparer.Ordinal);
        return new()
        {
            Run = _run,
            At = now,
            State = State(now, staleSince, staleReason),
            LocalOnlyRun = LocalOnlyRun.IsAskedBy(_plan) ? LocalOnlyRun.Of(_run) : null,
            Sites =
            [
                .. _sites.Select(site => new SiteNow
                {
                    Site = site.Site, Clients = site.Clients, Absent = absent.ContainsKey(site.Site),
                    AbsentSeconds = absent.GetValueOrDefault(site.Site)?.Gone?.TotalSeconds,
                    LastSilo = absent.GetValueOrDefault(site.Site)?.LastSilo,
                    LastHeard = _heard.TryGetValue(site.Site, out var heard) ? heard : null,
                }),
            ],
            Clients = [.. _clients.Values],
            Rounds = [.. _rounds],
        };
    }

    /// <summary>Where the run stands as of now.</summary>
    public RunState State(DateTimeOffset now, DateTimeOffset? staleSince = null, string? staleReason = null) =>
        State(Aged(now), now, Committed) with { StaleSince = staleSince, StaleReason = staleReason };

    /// <summary>Where the run stood when a round was the last one committed.</summary>
    public RunState State(JobProgress progress, DateTimeOffset at, int committed)
    {
        List<RoundAggregate> rounds = [.. _rounds.TakeWhile(round => round.Round <= committed)];
        var measured = rounds.Sum(static round => round.Seconds ?? 0);
        var hold = HoldView.From(progress.Hold);
        var median = Forecast.MedianSeconds(rounds.Select(static round => (round.Round, round.Seconds)));
        return new()
        {
            Name = progress.Name,
            Status = progress.Status,
            Text = TextOf(progress),
            Reason = progress.Reason,
            Hold = hold,
            Rounds = progress.Rounds,
            Committed = committed < 0 ? null : committed,
            Sha256 = rounds.Count == 0 ? null : rounds[^1].Sha256,
            Round = progress.Round,
            Attempt = progress.Attempt,
            Phase = progress.Phase,
            Reported = progress.Reported,
            Cohort = progress.Cohort,
            Missing = progress.Missing,
            AbsentSites = [.. progress.AbsentSites.SelectMany(static absent => absent.Sites).Select(static site => site.Site).Distinct()],
            ElapsedSeconds = measured > 0 ? measured : null,
            MedianSeconds = median,
            ForecastEnd = Forecast.EndOf(progress.Status, at, median, progress.Rounds, committed, hold),
        };
    }

    // Spans go on while nobody says anything else.
    private JobProgress Aged(DateTimeOffset now)
    {
        var (progress, at) = _state ?? throw new InvalidOperationException($"Nothing is known of run {_run}.");
        var by = now > at ? now - at : TimeSpan.Zero;
        return progress with
        {
            Hold = progress.Hold is { } hold ? Aged(hold, by) : null,
            AbsentSites = [.. progress.AbsentSites.Select(absent => Aged(absent, by))],
        };
    }

    private static Hold Aged(Hold hold, TimeSpan by) => hold with
    {
        For = hold.For + by,
        Left = hold.Left is { } left ? TimeSpan.FromTicks(Math.Max(0, (left - by).Ticks)) : null,
        Sites = [.. hold.Sites.Select(site => site with { Gone = site.Gone + by })],
    };

    private static string TextOf(JobProgress progress)
    {
        var where = string.Create(CultureInfo.InvariantCulture, $"round {progress.Round} of {progress.Rounds}");
        var why = progress.Hold?.Text is { Length: > 0 } hold ? hold : progress.Reason;
        return progress.Status switch
        {
            JobStatus.Running => $"{where}: {why ?? progress.Phase}",
            JobStatus.Paused => $"{where}: {why ?? "paused"}",
            JobStatus.Finished => string.Create(CultureInfo.InvariantCulture, $"finished: {progress.Rounds} rounds are committed"),
            var status => $"{Words.Named(status)} in {where}" + (why is null ? "" : $": {why}"),
        };
    }

    private ClientState Of(ClientNow client)
    {
        var spec = _specs.GetValueOrDefault(client.ClientId);
        return new(client.ClientId, spec?.Task ?? client.ClientId, spec?.Site ?? "", client.Phase, client.Stage,
            ClientRow.Finite(client.Seconds), client.Reason);
    }
}
