using System.Collections.Immutable;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;
using FedRLora.Federation.ServerOptimizers;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// A job as a coordinator holds it in memory: the plan, the machine, where the open round stands, and what is committed. Its methods do
/// the I/O of the effects. All of it is read again on the next activation.
/// </summary>
internal sealed class OpenJob(
    string job, IndexedPlan plan, BlobRef planBlob, IBlobStore store, SiloCache cache, ITrainer trainer, EngineFingerprint engine)
{
    private const int MostShared = 256;
    private readonly SortedDictionary<int, SharedStates> _shared = []; // by the round that committed them
    private readonly string[] _scorers =
    [
        .. plan.Plan.Clients.Where(static client => client.Data.Test is not null).Select(static client => client.Id)
            .Order(StringComparer.Ordinal),
    ];

    private Dictionary<string, int> _headsBefore = []; // by client: the round of the head in the manifest before the last

    /// <summary>The job id.</summary>
    public string Id => job;

    /// <summary>Whether a client is in the plan, and of that site.</summary>
    public bool IsOf(string site, string client) => plan.IsOf(site, client);

    /// <summary>Where the open round stands.</summary>
    public RoundState State { get; set; } = RoundState.Initial;

    /// <summary>What is said of <see cref="State"/>: the same, but while the effects that belong to it are still performed.</summary>
    public RoundState Shown { get; set; } = RoundState.Initial;

    /// <summary>Whether events reach the machine.</summary>
    public Gate Gate { get; set; } = Gate.Open;

    /// <summary>Whether it runs or why it ended, as far as the round says it.</summary>
    public JobStatus Status => StatusOf(State.Phase);

    /// <summary><see cref="Status"/> as people read it.</summary>
    public string StatusName => Status.ToString().ToLowerInvariant();

    /// <summary>Whether it has to be resumed before it goes on, or is over.</summary>
    public bool IsStopped => Gate.IsClosed || Status != JobStatus.Running;

    /// <summary>What a phase means for the job.</summary>
    public static JobStatus StatusOf(Phase phase) => phase switch
    {
        Phase.Finished => JobStatus.Finished,
        Phase.Failed => JobStatus.Failed,
        Phase.Cancelled => JobStatus.Cancelled,
        Phase.Paused => JobStatus.Paused,
        _ => JobStatus.Running,
    };

    public FederationPlan Plan => plan.Plan;

    public BlobRef PlanBlob => planBlob;

    /// <summary>This silo's engine, with what was chosen for the run when it began.</summary>
    public EngineFingerprint Engine { get; set; } = engine;

    /// <summary>What the job is made with, and where that is written; null where it is over and that was never recorded.</summary>
    public (MadeWith Document, BlobRef Blob)? Inputs { get; set; }

    public RoundMachine Machine { get; } = new(plan.Plan);

    public CommitLog Log { get; } = new(store, job);

    public RoundManifest? Committed { get; private set; }

    /// <summary>What a fork starts from; null for any other job, and once its first round is committed.</summary>
    public Origin? Origin { get; private set; }

    public string? CommittedSha256 { get; private set; }

    /// <summary>Every site of the plan, in site-id order.</summary>
    public IReadOnlyList<string> Sites { get; } =
        [.. plan.Plan.Clients.Select(static client => client.Site).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];

    /// <summary>Reads what current.json names, and that it is there.</summary>
    /// <param name="originSha256">Of a fork: the digest of the manifest it starts from.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="CorruptBlobException">Something that the job goes on from is missing or was changed.</exception>
    public async Task ReadCommittedAsync(string? originSha256, CancellationToken cancellationToken)
    {
        var current = await Log.ReadAsync(cancellationToken);
        Know(current is null ? null : await Log.ManifestAsync(current.Round, current.ManifestSha256, cancellationToken));
        if (current is null) Origin = await Fork.OriginAsync(store, job, originSha256, cancellationToken);
        foreach (var blob in Committed is { } known ? Retention.SharedOf(job, known) : [])
            await store.RequireAsync(blob, cancellationToken);
        CommittedSha256 = current?.ManifestSha256;
        if (Committed is { } committed && committed.PlanSha256 != planBlob.Sha256) // the plan before an extension
            await StoredPlans.FindAsync(store, job, committed.PlanSha256, cancellationToken);
        _headsBefore = Committed is { Round: > 0 and var last }
            ? HeadsOf(await Log.ManifestAsync(last - 1, Committed.Previous!, cancellationToken))
            : [];
    }

    /// <summary>Whose work a phase of the open round is, whether it is done or not.</summary>
    public IReadOnlyList<string> EveryoneIn(RoundPhase phase) => phase == RoundPhase.Train ? State.Cohort : _scorers;

    /// <summary>The work of a phase for each site that has someone to ask: its whole part of the cohort, and who of it is silent.</summary>
    public async Task<IReadOnlyList<(string Site, SiteAssignment Assignment)>> AssignmentsAsync(
        RoundPhase phase, IReadOnlySet<string> asked, CancellationToken cancellationToken)
    {
        var state = State;
        var everyone = EveryoneIn(phase);
        if (phase == RoundPhase.Train)
        {
            foreach (var round in state.Carried.Values.Select(static work => work.Round - 1).Distinct())
                await KnowSharedAsync(round, cancellationToken);
        }

        var assignments = AssignmentBuilder.Build(
            Plan, job, planBlob, Committed ?? Origin?.Manifest, round => _shared[round], state,
            new RoundEffect.SendAssignments(phase, everyone));
        return [.. assignments.Select(one => (one.Site, Assignment: one.Assignment with
        {
            Inputs = Inputs?.Blob,
            GroupSize = Engine.GroupSize ?? Plan.Training.GroupSize ?? 1, // one is what versions before the record had
            Pending = one.Assignment.Members.Select(static member => member.ClientId).Where(asked.Contains).ToArray(),
            Members = one.Assignment.Members
                .Select(member => member with { HeadBefore = _headsBefore.GetValueOrDefault(member.ClientId) }).ToArray(),
        })).Where(static one => one.Assignment.Pending!.Count > 0)];
    }

    /// <summary>The manifests of some committed rounds, oldest first.</summary>
    public async Task<IReadOnlyList<RoundManifest>> ManifestsAsync(int first, int last, CancellationToken cancellationToken)
    {
        var current = new CurrentRound { Round = Committed!.Round, ManifestSha256 = CommittedSha256! };
        return [.. (await Log.ManifestsAsync(first, last, current, cancellationToken)).Select(static one => one.Manifest)];
    }

    // Shared states that clients at work began from; a buffered round needs those of some rounds before.
    private async Task KnowSharedAsync(int round, CancellationToken cancellationToken)
    {
        for (var manifest = Committed!; !_shared.ContainsKey(round);)
        {
            manifest = await Log.ManifestAsync(manifest.Round - 1, manifest.Previous!, cancellationToken);
            _shared.TryAdd(manifest.Round, manifest.StatesOf(job));
        }
    }

    private void Know(RoundManifest? committed)
    {
        Committed = committed;
        if (committed is not null) _shared[committed.Round] = committed.StatesOf(job);
        while (_shared.Count > MostShared) _shared.Remove(_shared.Keys.First());
    }

    /// <summary>Every client with the head it owns, by site: what an export is made from.</summary>
    public IEnumerable<(string Site, SiteAssignment Committed)> CommittedBySite()
    {
        var committed = Committed ?? throw new InvalidOperationException($"Nothing of job {job} is committed.");
        var states = committed.StatesOf(job);
        return committed.Clients.GroupBy(client => plan.Client(client.Id).Site, StringComparer.Ordinal)
            .OrderBy(static site => site.Key, StringComparer.Ordinal)
            .Select(site => (site.Key, new SiteAssignment
            {
                Protocol = SiteProtocol.Version, JobId = job, Round = committed.Round, Attempt = 0, Phase = RoundPhase.Evaluate,
                Plan = planBlob, Inputs = Inputs?.Blob, Engine = committed.Engine,
                GroupSize = Engine.GroupSize ?? Plan.Training.GroupSize ?? 1,
                Shared = states.Job,
                Tasks = states.For(site.Select(client => plan.Client(client.Id).Task)),
                Members = site.Select(client => new MemberWork
                {
                    ClientId = client.Id,
                    Head = client.Head?.At(Keys.Head(job, site.Key, client.Id, client.HeadRound)),
                }).ToArray(),
            }));
    }

    /// <summary>Makes the candidate of the open round from the closed cohort's updates, read one at a time in client-id order.</summary>
    public Task<RoundEvent> AggregateAsync(
        RoundState state, IReadOnlyList<string> closed, CancellationToken cancellationToken) => Task.Run<RoundEvent>(async () =>
    {
        if (state.Round == 0) return Made(state, await StartAsync(cancellationToken));
        var committed = await cache.SharedAsync(Committed!.SharedOf(job), cancellationToken);
        var kept = await RememberedAsync(Committed!.ServerOptimizerOf(job), cancellationToken);
        var (before, remembered) = await BegunAsync(state.Round, committed, kept, task: null, cancellationToken);
        var aggregate = await CohortAggregator.RunAsync(
            Plan, state.Round, before, remembered, closed, state.Reports,
            (client, token) => StoredUpdate.OpenAsync(store, state.Reports[client].Update!.At(UpdateOf(state, client)), token),
            Weights.Staleness(state, closed), await TaskStartsAsync(state, closed, cancellationToken), cancellationToken);
        if (aggregate.TooFew is { } reason) return new RoundEvent.AggregationImpossible(state.Round, state.Attempt, reason);
        if (aggregate.Refused.Count > 0) return new RoundEvent.AggregationRefused(state.Round, state.Attempt, aggregate.Refused);
        return Made(state, await WriteAsync(state.Round, aggregate, cancellationToken));
    }, cancellationToken);

    private static RoundEvent.Aggregated Made(RoundState state, Candidate candidate) => new(state.Round, state.Attempt, candidate);

    // Of a fork what it copied; a task that the other run did not have begins as in any run.
    private async Task<Candidate> StartAsync(CancellationToken cancellationToken)
    {
        var origin = Origin?.Manifest;
        var started = (origin?.Tasks ?? []).ToDictionary(static task => task.Task, StringComparer.Ordinal);
        var tasks = new SortedDictionary<string, TaskAggregate>(StringComparer.Ordinal);
        foreach (var task in Machine.Groups.Members.Keys)
        {
            var copied = started.GetValueOrDefault(task);
            var shared = copied is null
                ? await trainer.InitialOfTaskAsync(Plan, task, cancellationToken)
                : await store.ReadStateAsync(copied.OriginSharedOf(job), cancellationToken);
            var remembered = await RememberedAsync(copied?.OriginServerOptimizerOf(job), cancellationToken);
            tasks.Add(task, new(shared, remembered, Coherence: null, Kept: null));
        }

        return await WriteAsync(0, new()
        {
            Refused = new Dictionary<string, string>(),
            Shared = origin is null
                ? await trainer.InitialSharedAsync(Plan, cancellationToken)
                : await store.ReadStateAsync(origin.OriginSharedOf(job), cancellationToken),
            ServerOptimizer = await RememberedAsync(origin?.OriginServerOptimizerOf(job), cancellationToken),
            Tasks = tasks,
        }, cancellationToken);
    }

    private async Task<IReadOnlyDictionary<string, TaskStart>> TaskStartsAsync(
        RoundState state, IReadOnlyList<string> closed, CancellationToken cancellationToken)
    {
        var starts = new Dictionary<string, TaskStart>(StringComparer.Ordinal);
        var (asked, trained) = (state.Cohort.ToHashSet(StringComparer.Ordinal), closed.ToHashSet(StringComparer.Ordinal));
        foreach (var task in Committed!.Tasks ?? [])
        {
            var members = Machine.Groups.Members[task.Task];
            var start = new TaskStart(AdapterState.Empty)
            {
                Quorum = Machine.QuorumOf(state, task.Task), Asked = members.Count(asked.Contains),
                Staleness = Weights.StalenessIn(state, task.Task, members),
            };
            // What nobody moves is not read: a plan may have many more tasks than a round.
            if (members.Any(trained.Contains))
            {
                var (shared, remembered) = await BegunAsync(
                    state.Round, await cache.OfTaskAsync(task.SharedOf(job), cancellationToken),
                    await RememberedAsync(task.ServerOptimizerOf(job), cancellationToken), task.Task, cancellationToken);
                start = start with { Shared = shared, ServerOptimizer = remembered };
            }

            starts.Add(task.Task, start);
        }

        return starts;
    }

    // What was committed, as the round began with it: the method's lifecycle may have begun tensors again.
    private async Task<(AdapterState Shared, AdapterState? ServerOptimizer)> BegunAsync(
        int round, AdapterState committed, AdapterState? remembered, string? task, CancellationToken cancellationToken)
    {
        var advanced = await trainer.AdvanceAsync(Plan, round, committed, task, cancellationToken);
        return (advanced.State, ServerMemory.Without(remembered, advanced.Begun));
    }

    private async Task<AdapterState?> RememberedAsync(BlobRef? state, CancellationToken cancellationToken) =>
        state is null ? null : await store.ReadStateAsync(state, cancellationToken);

    private async Task<Candidate> WriteAsync(int round, CohortAggregate aggregate, CancellationToken cancellationToken)
    {
        var shared = await store.WriteStateAsync(sha256 => Keys.Shared(job, round, sha256), aggregate.Shared!, cancellationToken);
        cache.Keep(shared, aggregate.Shared!);
        var tasks = ImmutableDictionary.CreateBuilder<string, TaskCandidate>(StringComparer.Ordinal);
        foreach (var (task, made) in aggregate.Tasks)
        {
            tasks.Add(task, made.Shared is null ? new() { Kept = made.Kept } : new()
            {
                Shared = await store.WriteStateAsync(sha256 => Keys.TaskShared(job, round, task, sha256), made.Shared, cancellationToken),
                ServerOptimizer = await RememberAsync(
                    sha256 => Keys.TaskServerOptimizer(job, round, task, sha256), made.ServerOptimizer, cancellationToken),
                Coherence = made.Coherence,
            });
        }

        var optimizer = await RememberAsync(
            sha256 => Keys.ServerOptimizer(job, round, sha256), aggregate.ServerOptimizer, cancellationToken);
        await store.MakeDurableAsync(cancellationToken); // before anybody remembers that there is a candidate
        return new Candidate
        {
            Shared = shared,
            ServerOptimizer = optimizer,
            Coherence = aggregate.Coherence,
            Curbed = aggregate.Curbed.ToImmutableDictionary(StringComparer.Ordinal),
            Tasks = tasks.ToImmutable(),
        };
    }

    private async Task<BlobRef?> RememberAsync(Func<string, string> key, AdapterState? state, CancellationToken cancellationToken) =>
        state is null or { Count: 0 } ? null : await store.WriteStateAsync(key, state, cancellationToken);

    /// <summary>Writes the manifest and commits it; its blobs are written.</summary>
    public async Task<string> CommitAsync(RoundState state, CancellationToken cancellationToken)
    {
        var built = ManifestBuilder.Build(Plan, planBlob.Sha256, Committed, state, Origin) with { Engine = Engine.Text };
        var manifest = Inputs?.Document.Mark(built) ?? built;
        CommittedSha256 = await Log.CommitAsync(manifest, cancellationToken);
        if (Committed is { } before) _headsBefore = HeadsOf(before);
        Know(manifest);
        return CommittedSha256;
    }

    /// <summary>Whether clients go on from one round into the next.</summary>
    public bool IsBuffered => Plan.Strategy.Trigger.Rule == TriggerRule.Buffered;

    /// <summary>The key of a client's update in the open round.</summary>
    public string UpdateOf(RoundState state, string client)
    {
        var work = state.WorkOf(client);
        return Keys.Update(job, work.Round, work.Attempt, client);
    }

    private static Dictionary<string, int> HeadsOf(RoundManifest manifest) =>
        manifest.Clients.ToDictionary(static client => client.Id, static client => client.HeadRound, StringComparer.Ordinal);
}
