using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Rounds;

/// <summary>Turns <see cref="RoundEffect.SendAssignments"/> into one message for each site.</summary>
public static class AssignmentBuilder
{
    /// <summary>
    /// The assignments in site-id order; each names exactly the state to work from, never "latest". Work that goes on from earlier
    /// rounds is sent as it was then, in assignments of its own.
    /// </summary>
    /// <param name="plan">The plan.</param>
    /// <param name="job">The job id.</param>
    /// <param name="planBlob">The plan in the job's store.</param>
    /// <param name="owned">The manifest that says which heads clients own; null where they own none.</param>
    /// <param name="shared">What is shared as committed in a round, for every round that work of <paramref name="state"/> began
    /// after.</param>
    /// <param name="state">The state that came with the effect.</param>
    /// <param name="send">The effect.</param>
    public static IReadOnlyList<(string Site, SiteAssignment Assignment)> Build(
        FederationPlan plan, string job, BlobRef planBlob, RoundManifest? owned, Func<int, SharedStates> shared, RoundState state,
        RoundEffect.SendAssignments send)
    {
        var clients = plan.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        var heads = owned?.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        var isTraining = send.Phase == RoundPhase.Train;
        var candidate = isTraining ? null : SharedStates.Of(state.Candidate!, state.Committed < 0 ? null : shared(state.Committed));
        var trained = isTraining ? [] : state.Closed!.ToHashSet(StringComparer.Ordinal);

        return send.Clients.GroupBy(id =>
            (clients[id].Site, Work: isTraining ? Begun(state, id) : (state.Round, state.Attempt)))
            .OrderBy(static group => group.Key.Site, StringComparer.Ordinal).ThenBy(static group => group.Key.Work.Round)
            .ThenBy(static group => group.Key.Work.Attempt)
            .Select(group => (group.Key.Site, new SiteAssignment
            {
                Protocol = SiteProtocol.Version,
                JobId = job,
                Round = group.Key.Work.Round,
                Attempt = group.Key.Work.Attempt,
                Phase = send.Phase,
                Plan = planBlob,
                Shared = (isTraining ? shared(group.Key.Work.Round - 1) : candidate!).Job,
                Tasks = (isTraining ? shared(group.Key.Work.Round - 1) : candidate!).For(group.Select(id => clients[id].Task)),
                Concurrent = plan.Strategy.Trigger.Rule == TriggerRule.Buffered,
                Members = group.Select(id => trained.Contains(id)
                    ? Member(job, group.Key.Site, id, state.WorkOf(id).Round, state.Reports[id].Head, state.Reports[id].Optimizer)
                    : Member(job, group.Key.Site, id, heads?.GetValueOrDefault(id))).ToArray(),
            })).ToArray();
    }

    private static (int Round, int Attempt) Begun(RoundState state, string client)
    {
        var (round, attempt, _) = state.WorkOf(client);
        return (round, attempt);
    }

    private static MemberWork Member(string job, string site, string id, ManifestClient? owned) =>
        Member(job, site, id, owned?.HeadRound ?? 0, owned?.Head, owned?.Optimizer);

    private static MemberWork Member(string job, string site, string id, int round, BlobDigest? head, BlobDigest? optimizer) => new()
    {
        ClientId = id,
        Head = At(Keys.Head(job, site, id, round), head),
        Optimizer = At(Keys.Optimizer(job, site, id, round), optimizer),
    };

    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(digest))]
    private static BlobRef? At(string key, BlobDigest? digest) => digest is null ? null : new(key, digest.Sha256, digest.SizeBytes);
}
