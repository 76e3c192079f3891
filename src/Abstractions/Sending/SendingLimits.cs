using FedRLora.Abstractions.Plans;

namespace FedRLora.Abstractions.Sending;

/// <summary>The words of the administrators of all sites that a silo serves.</summary>
public sealed class SendingLimits
{
    private readonly SendingLimit _forAll;
    private readonly Dictionary<string, SendingLimit> _bySite;

    private SendingLimits(SendingLimit forAll, Dictionary<string, SendingLimit> bySite) => (_forAll, _bySite) = (forAll, bySite);

    /// <summary>Nothing is held back at any site.</summary>
    public static SendingLimits None { get; } = new(SendingLimit.None, []);

    /// <summary>Reads words: <c>job</c> for all sites, <c>north=job</c> for one, which then counts there alone.</summary>
    /// <exception cref="BadInputException">A word is none, or two say different things of the same sites.</exception>
    public static SendingLimits Parse(IEnumerable<string> words)
    {
        SendingLimit? forAll = null;
        var bySite = new Dictionary<string, SendingLimit>(StringComparer.Ordinal);
        foreach (var given in words)
        {
            var (site, word) = given.Split('=', 2) is [var named, var rest] ? (named.Trim(), rest) : (null, given);
            var limit = SendingLimit.Parse(word);
            if (site is null) forAll = Together(forAll, limit, "all sites");
            else bySite[site] = Together(bySite.GetValueOrDefault(Identifiers.Check("site", site)), limit, $"site {site}");
        }

        return new(forAll ?? SendingLimit.None, bySite);
    }

    /// <summary>The sites that have a word of their own.</summary>
    public IReadOnlyCollection<string> Sites => _bySite.Keys;

    /// <summary>Whether nothing is held back at a site.</summary>
    public bool IsOpen(string site) => Of(site) == SendingLimit.None;

    /// <summary>Why a site does not let these tensors leave and what to do, in one line; null where it does.</summary>
    /// <param name="site">The site.</param>
    /// <param name="sent">What leaves it under the plan.</param>
    /// <param name="isBegun">Whether a run was begun with the plan, which it keeps.</param>
    public string? Refuses(string site, IReadOnlyList<SentTensor> sent, bool isBegun = false)
    {
        var limit = Of(site);
        var refused = sent.Where(tensor => !limit.Allows(tensor)).ToList();
        if (refused.Count == 0) return null;
        var tensors = refused.Where(static tensor => !IsSteps(tensor)).ToList();
        var isAll = tensors.Count > 0 && tensors.Count == sent.Count(static tensor => !IsSteps(tensor));
        var updates = $"updates of {Joined(tensors.Select(static tensor => $"{tensor.Name} (scope {tensor.Scope})"))}";
        var what = Joined([.. tensors.Count > 0 ? [updates] : (string[])[],
            .. refused.Where(IsSteps).Select(static _ => "points of its clients' steps")]);
        var kept = Joined([.. isAll ? ["sharing: none"] : tensors.Select(KeptOf), .. refused.Where(IsSteps).Select(KeptOf)]);
        var wider = $"a wider word: --may-send {limit.Widened(sent)}";
        return $"Site {site} refuses the plan, which would send {what}: its administrator lets {limit.Text} leave the site "
            + $"(--may-send {limit.Word}). "
            + (isBegun ? $"Give {wider}, and resume the run; or begin another with {kept}." : $"Give the plan {kept}, or give {wider}.");
    }

    /// <summary>Why sites do not let a plan send what it would, a line for each in site-id order.</summary>
    public IReadOnlyList<string> Refuses(FederationPlan plan)
    {
        var sent = SentTensor.Of(plan);
        return [.. plan.Clients.Select(static client => client.Site).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)
            .Select(site => Refuses(site, sent)).OfType<string>()];
    }

    private static bool IsSteps(SentTensor tensor) => tensor.Name == SentTensor.Steps;

    private static string KeptOf(SentTensor tensor) => tensor.Name switch
    {
        SentTensor.Steps => "telemetry.steps: site",
        SentTensor.Statistics => "adapter.objectives without those that need statistics",
        var name => $"adapter.tensors.{name}.scope: client",
    };

    private static string Joined(IEnumerable<string> parts) => string.Join(" and ", parts);

    private SendingLimit Of(string site) => _bySite.GetValueOrDefault(site, _forAll);

    private static SendingLimit Together(SendingLimit? before, SendingLimit limit, string of) => before is null ? limit : before.And(limit)
        ?? throw new BadInputException($"{before.Word} and {limit.Word} are both given for {of}; give one of them.");
}
