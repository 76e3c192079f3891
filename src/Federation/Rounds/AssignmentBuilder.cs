using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Rounds;

/// <summary>Turns <see cref="RoundEffect.SendAssignments"/> into one message for each site.</summary>
public static class AssignmentBuilder
{
    /// <summary>The assignments in site-id order; each names exactly the state to work from, never "latest".</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="job">The job id.</param>
    /// <param name="planBlob">plan.yaml in the job's store.</param>
    /// <param name="previous">The last committed manifest; null only in round 0.</param>
    /// <param name="state">The state that came with the effect.</param>
    /// <param name="send">The effect.</param>
    public static IReadOnlyList<(string Site, SiteAssignment Assignment)> Build(
        FederationPlan plan, string job, BlobRef planBlob, RoundManifest? previous, RoundState state, RoundEffect.SendAssignments send)
    {
        var shared = send.Phase == RoundPhase.Evaluate ? state.Candidate!.Shared : At(Keys.Shared(job, previous!.Round), previous.Shared);
        var clients = plan.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        var owned = previous?.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        var trained = send.Phase == RoundPhase.Evaluate ? state.Closed!.ToHashSet(StringComparer.Ordinal) : [];

        return send.Clients.GroupBy(id => clients[id].Site, StringComparer.Ordinal).OrderBy(static site => site.Key, StringComparer.Ordinal)
            .Select(site => (site.Key, new SiteAssignment
            {
                JobId = job,
                Round = state.Round,
                Attempt = state.Attempt,
                Phase = send.Phase,
                Plan = planBlob,
                Shared = shared,
                Members = site.Select(id => trained.Contains(id)
                    ? Member(job, site.Key, id, state.Round, state.Reports[id].Head, state.Reports[id].Optimizer)
                    : Member(job, site.Key, id, owned?.GetValueOrDefault(id))).ToArray(),
            })).ToArray();
    }

    private static MemberWork Member(string job, string site, string id, ManifestClient? owned) => Member(job, site, id, owned?.HeadRound ?? 0, owned?.Head, owned?.Optimizer);

    private static MemberWork Member(string job, string site, string id, int round, BlobDigest? head, BlobDigest? optimizer) => new()
    {
        ClientId = id,
        Head = At(Keys.Head(job, site, id, round), head),
        Optimizer = At(Keys.Optimizer(job, site, id, round), optimizer),
    };

    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(digest))]
    private static BlobRef? At(string key, BlobDigest? digest) => digest is null ? null : new(key, digest.Sha256, digest.SizeBytes);
}
