using System.Collections.Immutable;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Numerics;
using FedRLora.Federation.Rounds;

namespace FedRLora.Federation.Tests;

/// <summary>What can go wrong, each as a chance from 0 to 1.</summary>
internal sealed record Faults
{
    public double Crash { get; init; }

    public double Drop { get; init; }

    public double Duplicate { get; init; }

    public double LostSite { get; init; }

    public double Cancel { get; init; }

    public double EarlyDeadline { get; init; }

    public double EarlyBudget { get; init; }

    public double Pause { get; init; }

    /// <summary>A file of a client is gone after it was reported.</summary>
    public double Vanish { get; init; }
}

/// <summary>
/// A coordinator, its stores, a network and clients, all in one thread on a scripted schedule. It performs the machine's effects
/// one by one, may crash before any of them, delivers messages in any order, and checks after every step what must always hold.
/// </summary>
internal sealed class World(FederationPlan plan, ulong seed, Func<int, int, string, string?> misbehaviour)
{
    private readonly RoundMachine _machine = new(plan);
    private readonly SplitMix64 _random = new(seed);
    private readonly List<RoundEvent> _network = [];
    private readonly List<RoundEvent> _inside = [];
    private readonly HashSet<string> _lost = [];
    private readonly HashSet<string> _counted = [];
    // How often they were lost; negative where they are there.
    private readonly Dictionary<(string Client, CarriedWork Work), int> _files = [];
    // The last confirmation in which a site found all of it.
    private readonly Dictionary<(string Client, int Round, int Attempt), int> _found = [];
    // The last confirmation after which its report was dropped.
    private readonly Dictionary<(string Client, int Round, int Attempt), int> _missed = [];
    private RoundEvent.DeadlinePassed? _timer;
    private RoundEvent.BudgetPassed? _budget;
    private RoundState _persisted = RoundState.Initial;

    public RoundState State { get; private set; } = RoundState.Initial;

    /// <summary>Stored manifests with their digests; the last one is what current.json names.</summary>
    public List<(RoundManifest Manifest, string Sha256)> Committed { get; } = [];

    public Faults Faults { get; set; } = new();

    private int LastRound => Committed.Count - 1;

    public void Start(bool resume = false) =>
        Happen(
            new RoundEvent.Started(
                LastRound, Committed.LastOrDefault().Sha256, [.. _lost], resume, ClientStanding.Of(Committed.LastOrDefault().Manifest),
                Committed.LastOrDefault().Manifest?.Tasks?.ToImmutableDictionary(
                    static task => task.Task, static task => task.Version)));

    /// <summary>One thing happens: a fault, a delivery, a resend or a deadline.</summary>
    public void Step()
    {
        if (Chance(Faults.LostSite))
            ToggleSite();
        else if (Chance(Faults.Cancel))
            Happen(new RoundEvent.Cancelled());
        else if (Chance(Faults.Pause))
            Happen(new RoundEvent.Paused());
        else if (Chance(Faults.Vanish))
            Vanish();
        else if (Chance(Faults.EarlyDeadline) && _timer is { } early)
            Happen(early);
        else if (Chance(Faults.EarlyBudget) && _budget is { } budget)
            Happen(budget);
        else if (_inside.Count > 0)
            Happen(TakeFrom(_inside));
        else if (_network.Count > 0)
            Deliver();
        else if (_machine.Waiting(State).Any(client => !_lost.Contains(Site(client))) || _timer is null)
            Happen(new RoundEvent.ResendDue());
        else
            Happen(_timer);
    }

    /// <summary>All sites live, nothing more goes wrong.</summary>
    public void Calm()
    {
        Faults = new Faults();
        foreach (var site in _lost.ToArray())
        {
            _lost.Remove(site);
            Happen(new RoundEvent.SiteReturned(site));
        }
        if (State.Phase is Phase.Cancelled or Phase.Failed or Phase.Paused)
            Start(resume: true);
    }

    public void RunUntilOver(int steps = 5_000)
    {
        for (var i = 0; i < steps && State.Phase is not (Phase.Finished or Phase.Failed or Phase.Paused or Phase.Cancelled); i++)
            Step();
    }

    private void Happen(RoundEvent happened)
    {
        var before = State;
        (State, var effects) = _machine.Next(State, happened);
        Check(before, effects);
        if (happened is RoundEvent.SiteConfirmed answer)
        {
            foreach (var client in answer.Missing.Keys.Where(client => before.Reports.ContainsKey(client)))
            {
                if (State.Reports.ContainsKey(client)) continue;
                _missed[(client, before.Round, before.Attempt)] = before.Confirmation;
                // A copy of it would be a third loss.
                _network.RemoveAll(message =>
                    message is RoundEvent.ClientReported { Report: { Phase: RoundPhase.Train } report } && report.ClientId == client);
            }
        }
        foreach (var effect in effects)
        {
            if (Chance(Faults.Crash))
            {
                Crash();
                return;
            }
            Perform(effect);
        }
    }

    /// <summary>Memory is lost: state since the last write, timers, and what the coordinator was about to tell itself.</summary>
    private void Crash()
    {
        State = _persisted;
        _timer = null;
        _budget = null;
        _inside.Clear();
        Start();
    }

    private void Perform(RoundEffect effect)
    {
        switch (effect)
        {
            case RoundEffect.Persist persist when !persist.CanWait || Chance(0.5):
                _persisted = State;
                break;
            case RoundEffect.SendAssignments send:
                _inside.AddRange(
                    send.Clients.Select(Site).Distinct().Where(site => _lost.Contains(site) && !State.LostSites.Contains(site))
                        .Select(static site => new RoundEvent.SiteLost(site)));
                foreach (var client in send.Clients.Where(client => !_lost.Contains(Site(client)) && !Chance(Faults.Drop)))
                    _network.Add(new RoundEvent.ClientReported(Answer(send.Phase, client), 1 + _random.Next(100)));
                break;
            case RoundEffect.ArmDeadline arm:
                _timer = new(arm.Round, arm.Attempt, arm.Phase);
                break;
            case RoundEffect.ArmBudget arm:
                Assert.True(arm.After >= TimeSpan.Zero);
                _budget = new(arm.Round, arm.Attempt, arm.Seconds);
                break;
            case RoundEffect.ConfirmSites confirm:
                // An answer of before a crash is none to a question after it.
                Assert.Equal(
                    (State.Round, State.Attempt, State.Confirmation), (_persisted.Round, _persisted.Attempt, _persisted.Confirmation));
                _inside.AddRange(
                    confirm.Sites.Where(site => _lost.Contains(site) && !State.LostSites.Contains(site))
                        .Select(static site => new RoundEvent.SiteLost(site)));
                _network.AddRange(confirm.Sites.Where(site => !_lost.Contains(site) && !Chance(Faults.Drop)).Select(Look));
                break;
            case RoundEffect.CloseAndAggregate close:
                _inside.Add(Aggregate(close.Closed));
                break;
            case RoundEffect.CommitRound:
                var manifest = ManifestBuilder.Build(plan, TestPlans.PlanSha256, Committed.LastOrDefault().Manifest, State);
                Assert.Equal(Committed.Count, manifest.Round);   // no round twice, none left out, none taken back
                CheckTasks(manifest);
                // Nor an update, in any round.
                Assert.All(
                    manifest.Clients.Where(static client => client.Update is not null),
                    client => Assert.True(_counted.Add($"{client.Id} {client.Update!.Sha256}")));
                Assert.All(
                    manifest.Clients.Where(static client => client.QuarantinedUntil is not null),
                    client => Assert.NotEqual(ClientOutcome.Trained, client.Outcome));
                Committed.Add((manifest, RoundManifest.Digest(manifest.ToBytes())));
                _inside.Add(new RoundEvent.Committed(manifest.Round, Committed[^1].Sha256));
                break;
            default:
                break;
        }
    }

    /// <summary>A client's work is a function of what it was asked; the attempt is only in its blobs' names.</summary>
    private ClientReport Answer(RoundPhase phase, string client)
    {
        if (phase == RoundPhase.Evaluate)
            return TestPlans.Scored(State.Round, client, State.Attempt);
        var work = Work(client);
        var failure = misbehaviour(work.Round, work.Attempt, client) is { } reason && reason != "NaN" ? reason : null;
        if (failure is null)
            _files[(client, work)] = ~Losses(client, work);
        return TestPlans.Trained(work.Round, client, work.Attempt, failure);
    }

    /// <summary>A site looks for what the coordinator was told, now; its answer may come late, or twice, or after a crash.</summary>
    private RoundEvent.SiteConfirmed Look(string site)
    {
        var asked = _machine.Waiting(State).Where(client => Site(client) == site).ToArray();
        var missing = asked.Where(client => _files[(client, Work(client))] >= 0).ToArray();
        foreach (var client in asked.Except(missing))
            _found[(client, State.Round, State.Attempt)] = State.Confirmation;
        return new(
            site, State.Round, State.Attempt, State.Confirmation,
            missing.ToDictionary(static client => client, static client => $"{client}/head.safetensors is missing."));
    }

    /// <summary>
    /// Files of somebody who was asked for them are gone; twice at most, since a client whose files never stay has failed.
    /// </summary>
    private void Vanish()
    {
        var there = _files.Where(static one => one.Value < 0).Select(static one => one.Key).Where(one => Losses(one.Client, one.Work) < 2)
            .OrderBy(static one => (one.Client, one.Work.Round, one.Work.Attempt)).ToArray();
        if (there.Length == 0)
            return;
        var gone = there[_random.Next(there.Length)];
        _files[gone] = Losses(gone.Client, gone.Work) + 1;
    }

    private int Losses(string client, CarriedWork work) =>
        !_files.TryGetValue((client, work), out var losses) ? 0 : losses < 0 ? ~losses : losses;

    private RoundEvent Aggregate(IReadOnlyList<string> closed)
    {
        Assert.Equal(closed, _persisted.Closed);   // written before it is aggregated
        Assert.Equal(closed.Distinct().Order(StringComparer.Ordinal), closed);   // nobody counts twice
        Assert.True(State.Round == 0 || closed.Count >= _machine.Quorum(State.Wanted));
        Assert.True(State.Round == 0 || closed.Count <= State.Wanted || _machine.Groups.Members.Count > 0);
        // Its site has seen it since it was last missing.
        Assert.All(closed, client => Assert.True(
            _found[(client, State.Round, State.Attempt)] > _missed.GetValueOrDefault((client, State.Round, State.Attempt))));
        Assert.All(closed, client => Assert.Equal(
            TestPlans.Trained(State.WorkOf(client).Round, client, State.WorkOf(client).Attempt).Update!.Sha256,
            State.Reports[client].Update!.Sha256));
        var refused = closed.Where(client => misbehaviour(State.WorkOf(client).Round, State.WorkOf(client).Attempt, client) == "NaN")
            .ToDictionary(client => client, _ => "NaN");
        return refused.Count > 0
            ? new RoundEvent.AggregationRefused(State.Round, State.Attempt, refused)
            : new RoundEvent.Aggregated(
                State.Round, State.Attempt,
                TestPlans.Candidate(State.Round) with
                {
                    Shared = TestPlans.Blob($"shared {State.Round} {string.Join(' ', closed)}"), Tasks = TasksOf(closed),
                });
    }

    // The state of a task moves where enough of its clients are in; its staleness is how often it has since they began.
    private ImmutableDictionary<string, TaskCandidate> TasksOf(IReadOnlyList<string> closed) =>
        _machine.Groups.Members.ToImmutableDictionary(static task => task.Key, task =>
        {
            string[] members = [.. closed.Where(task.Value.Contains)];
            foreach (var (client, staleness) in Weights.StalenessIn(State, task.Key, members))
                Assert.Equal(Moves(task.Key, State.WorkOf(client).Round - 1, State.Round - 1), staleness);
            Assert.True(State.WantedOf.GetValueOrDefault(task.Key) <= task.Value.Count(State.Cohort.Contains));
            return State.Round == 0 || members.Length >= _machine.QuorumOf(State, task.Key)
                ? new TaskCandidate { Shared = TestPlans.Blob($"{task.Key} {State.Round} {string.Join(' ', members)}") }
                : new TaskCandidate { Kept = "none of its clients is in the round" };
        });

    private int Moves(string task, int after, int last) =>
        Committed.Count(round => round.Manifest.Round > Math.Max(0, after) && round.Manifest.Round <= last
            && round.Manifest.Tasks!.Single(one => one.Task == task) is { Kept: null });

    private void CheckTasks(RoundManifest manifest)
    {
        Assert.Equal(_machine.Groups.Members.Keys, (manifest.Tasks ?? []).Select(static task => task.Task));
        foreach (var task in manifest.Tasks ?? [])
        {
            Assert.Equal(Moves(task.Task, 0, manifest.Round - 1) + (task.Kept is null && manifest.Round > 0 ? 1 : 0), task.Version);
            Assert.Equal(task.Kept is null, task.Round == manifest.Round);
            var shares = manifest.Clients.Where(client => _machine.Groups.Of(client.Id) == task.Task)
                .Sum(static client => client.TaskWeight);
            Assert.Equal(task.Kept is null && manifest.Round > 0 ? 1 : 0, shares!.Value, 1e-9);
        }
    }

    private CarriedWork Work(string client) => State.WorkOf(client) with { Version = 0 };

    private void Check(RoundState before, IReadOnlyList<RoundEffect> effects)
    {
        Assert.True(State.Committed >= before.Committed);
        Assert.True(State.Committed <= LastRound);
        Assert.True(State.Phase == Phase.Finished || (State.Round, State.Attempt).CompareTo((before.Round, before.Attempt)) >= 0);
        Assert.All(State.Reports.Keys, client => Assert.Contains(client, State.Cohort));
        Assert.Equal(State.Reports.Values.Count(note => note.Failure is not null), State.Failures);
        Assert.DoesNotContain(effects.Skip(1), effect => effect is RoundEffect.Persist);
        Assert.True(ReferenceEquals(before, State) || effects[0] is RoundEffect.Persist);
    }

    private void Deliver()
    {
        var message = TakeFrom(_network);
        if (Chance(Faults.Duplicate))
            _network.Add(message);
        Happen(message);
    }

    private void ToggleSite()
    {
        var sites = plan.Clients.Select(client => client.Site).Distinct().ToArray();
        var site = sites[_random.Next(sites.Length)];
        Happen(_lost.Remove(site)
            ? new RoundEvent.SiteReturned(site)
            : _lost.Add(site) ? new RoundEvent.SiteLost(site) : throw new InvalidOperationException());
    }

    private string Site(string client) => plan.Clients.First(one => one.Id == client).Site;

    private RoundEvent TakeFrom(List<RoundEvent> events)
    {
        var index = _random.Next(events.Count);
        var taken = events[index];
        events.RemoveAt(index);
        return taken;
    }

    private bool Chance(double chance) => chance > 0 && _random.Next(1_000_000) < chance * 1_000_000;
}
