using System.Globalization;

namespace FedRLora.Abstractions.Messages;

/// <summary>What a run waits for, or why it does not go on.</summary>
public enum HoldKind
{
    /// <summary>Nothing holds it: clients, or the coordinator itself, are at work.</summary>
    AtWork,

    /// <summary>No silo has served a site that the round needs.</summary>
    UnservedSite,

    /// <summary>A site that the round needs has lost its last silo.</summary>
    LostSite,

    /// <summary>A client fails, and the quorum needs it.</summary>
    FailingClient,

    /// <summary>A try had too few reports, and the round is tried again.</summary>
    Quorum,

    /// <summary>A client is over its time budget, and the quorum needs it.</summary>
    TimeBudget,

    /// <summary>It waits to be resumed.</summary>
    Paused,

    /// <summary>A store cannot be used.</summary>
    Store,

    /// <summary>Base or engine are not those that the run was made with.</summary>
    Changed,

    /// <summary>It has failed.</summary>
    Failed,
}

/// <summary>A site without a live silo.</summary>
/// <param name="Site">The site.</param>
/// <param name="LastSilo">The last silo that served it; null where none is known.</param>
/// <param name="Gone">How long that one is known to be gone; null where that was before anybody looked.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.absent-site")]
public sealed record AbsentSite([property: Id(0)] string Site, [property: Id(1)] string? LastSilo, [property: Id(2)] TimeSpan? Gone);

/// <summary>Why a round does not go on: one value, and its text in one place.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.hold")]
public sealed record Hold
{
    private const int ShownClients = 3;

    /// <summary>What kind.</summary>
    [Id(0)] public required HoldKind Kind { get; init; }

    /// <summary>The sites it waits for, in ordinal order.</summary>
    [Id(1)] public IReadOnlyList<AbsentSite> Sites { get; init; } = [];

    /// <summary>The clients it waits for, in ordinal order, the first few.</summary>
    [Id(2)] public IReadOnlyList<string> Clients { get; init; } = [];

    /// <summary>How many clients it waits for.</summary>
    [Id(3)] public int ClientCount { get; init; }

    /// <summary>train, confirm, evaluate, aggregate or commit; null where none of them is open.</summary>
    [Id(4)] public string? Phase { get; init; }

    /// <summary>Clients that are in; with a missed quorum, the usable updates that there were.</summary>
    [Id(5)] public int Have { get; init; }

    /// <summary>Of how many.</summary>
    [Id(6)] public int Of { get; init; }

    /// <summary>The updates that the quorum needs; 0 where it is not the point.</summary>
    [Id(7)] public int Need { get; init; }

    /// <summary>Reasons in a line each: of clients that failed, of a pause, of what has changed.</summary>
    [Id(8)] public IReadOnlyList<string> Lines { get; init; } = [];

    /// <summary>How long it lasts; null where that is not known.</summary>
    [Id(9)] public TimeSpan? For { get; init; }

    /// <summary>How long until the deadline ends it; null without one.</summary>
    [Id(10)] public TimeSpan? Left { get; init; }

    /// <summary>The time budget of the first of <see cref="Clients"/>.</summary>
    [Id(11)] public TimeSpan? Budget { get; init; }

    /// <summary>The open attempt and how many there may be, as in <c>try 2 of 3</c>; null for the first.</summary>
    [Id(12)] public string? Try { get; init; }

    /// <summary>Equal as long as it is the same that holds, whatever the clock says and whoever reports meanwhile.</summary>
    public string Identity => Kind == HoldKind.AtWork
        ? $"{Kind}"
        : string.Join('|', [$"{Kind}", Try ?? "", .. Sites.Select(static site => site.Site), .. Lines]);

    /// <summary>
    /// One line for a person, for example
    /// <c>site south has had no silo for 41 s (the last was south-1); 2 clients are waited for there</c>.
    /// </summary>
    public string Text => Kind switch
    {
        HoldKind.AtWork => Work,
        HoldKind.UnservedSite or HoldKind.LostSite =>
            $"{string.Join("; ", Sites.Select(Absence))}; {There}{Needed}{Ends}",
        HoldKind.FailingClient or HoldKind.Quorum when Try is { } open =>
            Invariant($"{Reasons}the try before had {Have} usable of {Of} updates, the quorum is {Need}; {open} is at work{Silent}{Ends}"),
        HoldKind.TimeBudget =>
            $"{Names} {(ClientCount == 1 ? "is over its time budget" : "are over their time budgets")}"
            + (Budget is { } most ? $" of {Span(most)}" : "") + (For is { } took ? $" after {Span(took)}" : "")
            + Invariant($", and the quorum of {Need} needs {(ClientCount == 1 ? "it" : "them")}{Ends}"),
        HoldKind.Paused =>
            $"paused{(For is { } paused ? $" for {Span(paused)}" : "")}"
            + (Lines.Count > 0 ? ": " + string.Join("; ", Lines) : " by an operator, until it is resumed"),
        _ => string.Join("; ", Lines),
    };

    private string Work
    {
        get
        {
            var counted = Of > 0 ? Invariant($"{Phase}: {Have} of {Of} clients are in") : Phase ?? "";
            var names = ClientCount > 0 ? $"; at work: {Names}" : "";
            var failed = Lines.Count > 0 ? $"; failed: {string.Join("; ", Lines)}" : "";
            return $"{counted}{names}{failed}{Ends}";
        }
    }

    private string There => (Phase, ClientCount) switch
    {
        (null, 1) => "1 client of the plan belongs there",
        (null, _) => Invariant($"{ClientCount} clients of the plan belong there"),
        (_, 1) => "1 client is waited for there",
        _ => Invariant($"{ClientCount} clients are waited for there"),
    };

    private string Names
    {
        get
        {
            var shown = Clients.Take(ShownClients).ToArray();
            return string.Join(", ", shown) + (ClientCount > shown.Length ? Invariant($" and {ClientCount - shown.Length} more") : "");
        }
    }

    private string Reasons => string.Concat(Lines.Select(static line => line + "; "));

    private string Silent => ClientCount > 0 ? $" (silent at the deadline before: {Names})" : "";

    private string Needed => Need > 0 ? Invariant($", and the quorum of {Need} needs them") : "";

    private string Ends => Left is { } left ? $"; the deadline is in {Span(left)}" : "";

    private static string Absence(AbsentSite site) => site switch
    {
        { LastSilo: null } => $"no silo serves site {site.Site} (start one with --site {site.Site})",
        { Gone: { } gone } => $"site {site.Site} has had no silo for {Span(gone)} (the last was {site.LastSilo})",
        _ => $"site {site.Site} has no silo any more (the last was {site.LastSilo})",
    };

    // Whole seconds are enough for a wait; below ten a budget may be a fraction.
    private static string Span(TimeSpan span) => span.TotalSeconds switch
    {
        < 0 => "0 s",
        < 10 => Invariant($"{span.TotalSeconds:0.#} s"),
        < 60 => Invariant($"{Math.Floor(span.TotalSeconds):0} s"),
        < 3600 => Invariant($"{(int)span.TotalMinutes} min {span.Seconds:00} s"),
        _ => Invariant($"{(int)span.TotalHours} h {span.Minutes:00} min"),
    };

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
