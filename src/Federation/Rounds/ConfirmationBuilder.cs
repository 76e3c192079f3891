using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Rounds;

/// <summary>Turns <see cref="RoundEffect.ConfirmSites"/> into one question for each site.</summary>
public static class ConfirmationBuilder
{
    /// <summary>The questions in site-id order.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="state">A state in <see cref="Phase.Confirming"/>.</param>
    /// <param name="waiting">The clients that it waits for, each with a usable report.</param>
    /// <param name="sites">The sites to ask.</param>
    public static IReadOnlyList<(string Site, SiteConfirmation Confirmation)> Build(
        FederationPlan plan, RoundState state, IReadOnlyList<string> waiting, IReadOnlyList<string> sites)
    {
        var siteOf = plan.Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
        return
        [
            .. waiting.GroupBy(client => siteOf[client], StringComparer.Ordinal)
                .Where(site => sites.Contains(site.Key))
                .OrderBy(static site => site.Key, StringComparer.Ordinal)
                .Select(site => (site.Key, Question(state, site))),
        ];
    }

    private static SiteConfirmation Question(RoundState state, IEnumerable<string> clients) => new()
    {
        Round = state.Round,
        Attempt = state.Attempt,
        Clients = clients.Select(client => FilesOf(state, client)).ToArray(),
    };

    private static ClientFiles FilesOf(RoundState state, string client)
    {
        var (report, work) = (state.Reports[client], state.WorkOf(client));
        return new ClientFiles
        {
            ClientId = client,
            Round = work.Round,
            Attempt = work.Attempt,
            Update = report.Update!,
            Head = report.Head!,
            Optimizer = report.Optimizer!,
        };
    }
}
