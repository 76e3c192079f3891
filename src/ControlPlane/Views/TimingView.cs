using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>When and how a round came to its commit.</summary>
/// <param name="CommittedAt">When it was committed, in UTC.</param>
/// <param name="Attempts">Attempts at it.</param>
/// <param name="ClosedBy">
/// What ended the training: <c>all</c>, <c>quorum</c>, <c>deadline</c>, <c>timeBudget</c>, <c>lostSite</c>; null in round 0.
/// </param>
/// <param name="DecidedBy">The client whose report did; null where it was none.</param>
/// <param name="Parts">
/// Seconds by part: <c>retry</c>, <c>select</c>, <c>train</c>, <c>wait</c>, <c>confirm</c>, <c>aggregate</c>, <c>evaluate</c>,
/// <c>commit</c>.
/// </param>
public sealed record TimingView(
    DateTimeOffset? CommittedAt, int Attempts, string? ClosedBy, string? DecidedBy, IReadOnlyDictionary<string, double> Parts)
{
    internal static TimingView? Of(RoundTiming? timing) => timing is null ? null
        : new(timing.CommittedAt, timing.Attempts, timing.ClosedBy, timing.DecidedBy, timing.Parts);
}

/// <summary>A site in a committed round.</summary>
/// <param name="Site">The site.</param>
/// <param name="SentBytes">Bytes of its clients' updates.</param>
/// <param name="Trained">Clients whose updates are in the aggregate.</param>
/// <param name="Late">Clients that were silent when the round closed.</param>
/// <param name="Failed">Clients that failed.</param>
/// <param name="Refused">Clients whose updates were refused.</param>
public sealed record SiteAggregate(string Site, long SentBytes, int Trained, int Late, int Failed, int Refused)
{
    internal static IReadOnlyList<SiteAggregate> Of(IReadOnlyList<ClientRow> clients) =>
    [
        .. clients.Where(static client => client.Site.Length > 0).GroupBy(static client => client.Site, StringComparer.Ordinal)
            .OrderBy(static site => site.Key, StringComparer.Ordinal).Select(static site => new SiteAggregate(
                site.Key, site.Sum(static client => client.UpdateBytes ?? 0),
                site.Count(static client => client is { Round: > 0, Outcome: ClientOutcome.Trained }),
                site.Count(static client => client.Outcome == ClientOutcome.Late),
                site.Count(static client => client.Outcome == ClientOutcome.Failed),
                site.Count(static client => client.Outcome == ClientOutcome.Refused))),
    ];
}
