using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;

namespace FedRLora.Grains;

/// <summary>A job as a coordinator holds it in memory: the plan, the machine, and what is committed. Its methods do the I/O of the effects.</summary>
internal sealed class OpenJob(string job, IndexedPlan plan, BlobRef planBlob, IBlobStore store, SiloCache cache, ITrainer trainer, EngineFingerprint engine)
{
    private readonly string[] _scorers = [.. plan.Plan.Clients.Where(static client => client.Data.Test is not null).Select(static client => client.Id).Order(StringComparer.Ordinal)];

    public FederationPlan Plan => plan.Plan;

    public BlobRef PlanBlob => planBlob;

    public EngineFingerprint Engine => engine;

    public RoundMachine Machine { get; } = new(plan.Plan);

    public CommitLog Log { get; } = new(store, job);

    public RoundManifest? Committed { get; private set; }

    public string? CommittedSha256 { get; private set; }

    /// <summary>Every site of the plan, in site-id order.</summary>
    public IReadOnlyList<string> Sites { get; } = [.. plan.Plan.Clients.Select(static client => client.Site).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];

    /// <summary>Reads what current.json names.</summary>
    public async Task ReadCommittedAsync(CancellationToken cancellationToken)
    {
        var current = await Log.ReadAsync(cancellationToken);
        Committed = current is null ? null : await Log.ManifestAsync(current.Round, current.ManifestSha256, cancellationToken);
        CommittedSha256 = current?.ManifestSha256;
    }

    /// <summary>The work of a phase for each site that has someone to ask: its whole part of the cohort, and who of it is silent.</summary>
    public IEnumerable<(string Site, SiteAssignment Assignment)> Assignments(RoundState state, RoundPhase phase, IReadOnlySet<string> asked)
    {
        var everyone = phase == RoundPhase.Train ? state.Cohort : _scorers;
        foreach (var (site, assignment) in AssignmentBuilder.Build(Plan, job, planBlob, Committed, state, new RoundEffect.SendAssignments(phase, everyone)))
        {
            string[] pending = [.. assignment.Members.Select(static member => member.ClientId).Where(asked.Contains)];
            if (pending.Length > 0) yield return (site, assignment with { Pending = pending });
        }
    }

    /// <summary>Every client with the head it owns, by site: what an export is made from.</summary>
    public IEnumerable<(string Site, SiteAssignment Committed)> CommittedBySite()
    {
        var committed = Committed ?? throw new InvalidOperationException($"Nothing of job {job} is committed.");
        return committed.Clients.GroupBy(client => plan.Client(client.Id).Site, StringComparer.Ordinal).OrderBy(static site => site.Key, StringComparer.Ordinal)
            .Select(site => (site.Key, new SiteAssignment
            {
                JobId = job, Round = committed.Round, Attempt = 0, Phase = RoundPhase.Evaluate, Plan = planBlob,
                Shared = committed.Shared.At(Keys.Shared(job, committed.Round)),
                Members = site.Select(client => new MemberWork { ClientId = client.Id, Head = client.Head?.At(Keys.Head(job, site.Key, client.Id, client.HeadRound)) }).ToArray(),
            }));
    }

    /// <summary>Makes the candidate of the open round from the closed cohort's updates, read one at a time in client-id order.</summary>
    public Task<RoundEvent> AggregateAsync(RoundState state, IReadOnlyList<string> closed, CancellationToken cancellationToken) => Task.Run<RoundEvent>(async () =>
    {
        AdapterState shared, optimizer = AdapterState.Empty;
        double? coherence = null;
        if (state.Round == 0)
        {
            shared = await trainer.InitialSharedAsync(Plan, cancellationToken);
        }
        else
        {
            var before = await cache.SharedAsync(Committed!.Shared.At(Keys.Shared(job, Committed.Round)), cancellationToken);
            var remembered = Committed.ServerOptimizer is { } digest ? await store.ReadStateAsync(digest.At(Keys.ServerOptimizer(job, Committed.Round)), cancellationToken) : null;
            var aggregate = await CohortAggregator.RunAsync(Plan, before, remembered, closed, state.Reports, (client, last, token) => ReadUpdateAsync(state, client, last, token), cancellationToken);
            // Too few for the rule is too few for the round: it is tried again, then the job stops with the reason.
            if (aggregate.TooFew is { } reason) return new RoundEvent.AggregationRefused(state.Round, state.Attempt, closed.ToDictionary(static client => client, _ => reason));
            if (aggregate.Refused.Count > 0) return new RoundEvent.AggregationRefused(state.Round, state.Attempt, aggregate.Refused);
            (shared, optimizer, coherence) = (aggregate.Shared!, aggregate.ServerOptimizer ?? AdapterState.Empty, aggregate.Coherence);
        }

        var written = await store.WriteStateAsync(Keys.Shared(job, state.Round), shared, NoMetadata, cancellationToken);
        cache.Keep(written, shared);
        return new RoundEvent.Aggregated(state.Round, state.Attempt, new Candidate
        {
            Shared = written,
            ServerOptimizer = optimizer.Count == 0 ? null : await store.WriteStateAsync(Keys.ServerOptimizer(job, state.Round), optimizer, NoMetadata, cancellationToken),
            Coherence = coherence,
        });
    }, cancellationToken);

    /// <summary>Writes the manifest and commits it; its blobs are written.</summary>
    public async Task<string> CommitAsync(RoundState state, CancellationToken cancellationToken)
    {
        var manifest = ManifestBuilder.Build(Plan, planBlob.Sha256, Committed, state) with { Engine = engine.Text };
        CommittedSha256 = await Log.CommitAsync(manifest, cancellationToken);
        Committed = manifest;
        return CommittedSha256;
    }

    /// <summary>Deletes the updates of a committed round.</summary>
    public Task ForgetUpdatesAsync(int round, int lastAttempt, CancellationToken cancellationToken) => Task.Run(async () =>
    {
        for (var attempt = 1; attempt <= lastAttempt; attempt++) await store.DeleteAllAsync(Keys.Attempt(job, round, attempt), cancellationToken);
    }, cancellationToken);

    /// <summary>Deletes what is left of the updates of the last two committed rounds: later ones may still be asked for, earlier ones were deleted.</summary>
    public Task ForgetLeftUpdatesAsync(CancellationToken cancellationToken) => Task.Run(async () =>
    {
        if (Committed is not { Round: var last }) return;
        for (var round = Math.Max(1, last - 1); round <= last; round++)
        {
            var prefix = Keys.Round(job, round);
            var left = new SortedSet<int>();
            await foreach (var key in store.ListAsync(prefix, cancellationToken))
            {
                if (key.IndexOf('/', prefix.Length) is var end and >= 0 && int.TryParse(key.AsSpan(prefix.Length, end - prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var attempt)) left.Add(attempt);
            }

            foreach (var attempt in left) await store.DeleteAllAsync(Keys.Attempt(job, round, attempt), cancellationToken);
        }
    }, cancellationToken);

    private static readonly Dictionary<string, string> NoMetadata = [];

    private async Task<AdapterState> ReadUpdateAsync(RoundState state, string client, AdapterState? last, CancellationToken cancellationToken)
    {
        try
        {
            return await store.ReadStateAsync(state.Reports[client].Update!.At(Keys.Update(job, state.Round, state.Attempt, client)), cancellationToken, last);
        }
        catch (CorruptBlobException e)
        {
            throw new BadInputException(e.Message, e); // refuses this update; the round goes on without it if the quorum holds
        }
    }
}
