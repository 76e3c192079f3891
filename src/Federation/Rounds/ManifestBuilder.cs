using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Aggregation;

namespace FedRLora.Federation.Rounds;

/// <summary>Writes down a round that is about to be committed.</summary>
public static class ManifestBuilder
{
    /// <summary>
    /// The manifest of the open round of <paramref name="state"/>. Only a client whose update is in the aggregate moves to a new
    /// head; any other keeps the one it owned. Attempt, times and hosts stay out, so that runs can be compared by digest.
    /// </summary>
    /// <param name="plan">The plan.</param>
    /// <param name="planSha256">SHA-256 of plan.yaml.</param>
    /// <param name="previous">The last committed manifest; null for round 0.</param>
    /// <param name="state">A state in <see cref="Phase.Committing"/>.</param>
    /// <param name="origin">For round 0 of a fork: the manifest it starts from and its digest, its heads already those of round 0.</param>
    /// <exception cref="InvalidOperationException">The state has no candidate, or the manifest before is missing.</exception>
    public static RoundManifest Build(
        FederationPlan plan, string planSha256, RoundManifest? previous, RoundState state, Origin? origin = null)
    {
        if (state.Candidate is not { } candidate || state.Closed is not { } closed)
            throw new InvalidOperationException($"Round {state.Round} has no candidate to commit.");
        if ((previous?.Round ?? -1) != state.Committed)
            throw new InvalidOperationException(
                $"Round {state.Round} follows round {state.Committed}; the manifest given is of round {previous?.Round ?? -1}.");

        var weights = closed.Zip(Weights.Of(plan, closed, state.Reports, Weights.Staleness(state, closed)))
            .ToDictionary(static pair => pair.First, static pair => pair.Second, StringComparer.Ordinal);
        var inTask = TaskWeights(plan, closed, state);
        var cohort = state.Cohort.ToHashSet(StringComparer.Ordinal);
        var owned = (previous ?? origin?.Manifest)?.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        return new RoundManifest
        {
            Round = state.Round,
            PlanSha256 = planSha256,
            Previous = previous is null ? origin?.Sha256 : state.CommittedSha256,
            Shared = Digest(candidate.Shared),
            ServerOptimizer = candidate.ServerOptimizer is { } optimizer ? Digest(optimizer) : null,
            Coherence = candidate.Coherence,
            Tasks = Tasks(state, previous),
            Clients = plan.Clients.Select(static client => client.Id).Order(StringComparer.Ordinal)
                .Select(id => Client(id, state, cohort, weights, owned?.GetValueOrDefault(id)) with
                {
                    TaskWeight = inTask.TryGetValue(id, out var share) ? share : null,
                }).ToArray(),
        };
    }

    private static ManifestTask[]? Tasks(RoundState state, RoundManifest? previous)
    {
        if (state.Candidate!.Tasks.IsEmpty) return null;
        var before = previous?.Tasks?.ToDictionary(static task => task.Task, StringComparer.Ordinal);
        return
        [
            .. state.Candidate.Tasks.OrderBy(static task => task.Key, StringComparer.Ordinal).Select(task => task.Value.Shared is { } shared
                ? new ManifestTask
                {
                    Task = task.Key, Round = state.Round, Version = state.Round == 0 ? 0 : state.Versions.GetValueOrDefault(task.Key) + 1,
                    Shared = Digest(shared), Coherence = task.Value.Coherence,
                    ServerOptimizer = task.Value.ServerOptimizer is { } optimizer ? Digest(optimizer) : null,
                }
                : before![task.Key] with { Coherence = null, Kept = task.Value.Kept }),
        ];
    }

    // Of clients whose task's state moves.
    private static Dictionary<string, double> TaskWeights(FederationPlan plan, IReadOnlyList<string> closed, RoundState state)
    {
        var shares = new Dictionary<string, double>(StringComparer.Ordinal);
        var trained = closed.ToHashSet(StringComparer.Ordinal);
        foreach (var (task, members) in TaskGroups.Of(plan).Members)
        {
            if (state.Candidate!.Tasks.GetValueOrDefault(task)?.Shared is null) continue;
            string[] clients = [.. members.Where(trained.Contains)];
            // A rule per task weighs all tensors of an update alike: by rounds, as what all share.
            var versions = Weights.StalenessIn(state, task, clients);
            var staleness = plan.Strategy.Aggregation.PerTask
                ? Weights.Staleness(state, clients) : [.. clients.Select(id => versions[id])];
            foreach (var (client, share) in clients.Zip(Weights.Of(plan, clients, state.Reports, staleness)))
                shares.Add(client, share);
        }

        return shares;
    }

    private static ManifestClient Client(
        string id, RoundState state, HashSet<string> cohort, Dictionary<string, double> weights, ManifestClient? before)
    {
        var standing = state.Standings.GetValueOrDefault(id);
        var work = state.WorkOf(id);
        var quarantined = standing?.QuarantinedUntil >= state.Round;
        var isLate = cohort.Contains(id) && work.Round == state.Round;
        var kept = new ManifestClient
        {
            Id = id,
            Outcome = isLate ? ClientOutcome.Late
                : quarantined && !cohort.Contains(id) ? ClientOutcome.Quarantined
                : ClientOutcome.NotSelected,
            Refusals = standing?.Refusals is > 0 and var refusals ? refusals : null,
            QuarantinedUntil = quarantined ? standing!.QuarantinedUntil : null,
            HeadRound = before?.HeadRound ?? 0,
            Head = before?.Head,
            Optimizer = before?.Optimizer,
            Score = state.Scores.GetValueOrDefault(id)?.Score,
            ScoreReason = state.Scores.GetValueOrDefault(id)?.Failure,
        };
        if (!state.Reports.TryGetValue(id, out var report))
            return isLate && state.Lost.TryGetValue(id, out var lost) ? kept with { Reason = lost.What } : kept;

        var reported = kept with { Numbers = report.Numbers, Notes = report.Rows };
        if (!weights.TryGetValue(id, out var weight))
            return reported with { Outcome = report.Refused ? ClientOutcome.Refused : ClientOutcome.Failed, Reason = report.Failure };
        return reported with
        {
            Outcome = ClientOutcome.Trained,
            Weight = weight,
            Update = report.Update,
            Curbed = state.Candidate!.Curbed.GetValueOrDefault(id),
            HeadRound = work.Round,
            Staleness = state.Round - work.Round is > 0 and var staleness ? staleness : null,
            Head = report.Head,
            Optimizer = report.Optimizer,
        };
    }

    private static BlobDigest Digest(BlobRef blob) => new(blob.Sha256, blob.SizeBytes);
}
