using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>A committed round in a few numbers, however many clients it has.</summary>
public sealed record RoundAggregate
{
    private const int Named = 5, MostReasons = 10;

    /// <summary>The round.</summary>
    public required int Round { get; init; }

    /// <summary>The digest of its manifest.</summary>
    public required string Sha256 { get; init; }

    /// <summary>Seconds to the commit; null where that was not measured.</summary>
    public double? Seconds { get; init; }

    /// <summary>When and how it came to its commit; null where nobody wrote it down.</summary>
    public TimingView? Timing { get; init; }

    /// <summary>Bytes of all updates.</summary>
    public required long UpdateBytes { get; init; }

    /// <summary>Agreement of the clients' updates; null where nothing was aggregated.</summary>
    public double? Coherence { get; init; }

    /// <summary>The training loss of the clients; those of the cohort that are not in it are left out.</summary>
    public required Spread Loss { get; init; }

    /// <summary>
    /// Seconds of the clients from their assignment to the report of their training; those of the cohort that are not in it did not
    /// report, or that was not measured.
    /// </summary>
    public required Spread ClientSeconds { get; init; }

    /// <summary>The norm of the clients' updates, as products of their factors; those of the cohort that have none are left out.</summary>
    public required Spread Norm { get; init; }

    /// <summary>The metric of <see cref="Score"/>; null where clients have several, or none was scored.</summary>
    public string? Metric { get; init; }

    /// <summary>The score of the clients; null in a round that was not scored, and where metrics differ.</summary>
    public Spread? Score { get; init; }

    /// <summary>
    /// The tasks, in the order of the plan; of a run's rounds the last one's alone, since there may be as many as clients.
    /// </summary>
    public IReadOnlyList<TaskAggregate>? Tasks { get; init; }

    /// <summary>The sites, in ordinal order.</summary>
    public required IReadOnlyList<SiteAggregate> Sites { get; init; }

    /// <summary>How many clients each outcome has.</summary>
    public required IReadOnlyDictionary<ClientOutcome, int> Outcomes { get; init; }

    /// <summary>Why clients are not in the aggregate, or not scored: those of one reason together, the most frequent first.</summary>
    public required IReadOnlyList<TroubleView> Troubles { get; init; }

    /// <summary>Why the states of tasks stayed as they were, by task; of a run's rounds the last one's alone.</summary>
    public IReadOnlyDictionary<string, string>? Kept { get; init; }

    internal static RoundAggregate Of(RoundView round)
    {
        var compared = RoundView.Compared(round.Clients);
        var metric = RoundView.SharedMetric(compared);
        var asked = RoundView.Asked(round.Clients);
        return new()
        {
            Round = round.Round,
            Sha256 = round.Sha256,
            Seconds = round.Seconds > 0 ? round.Seconds : null,
            UpdateBytes = round.UpdateBytes,
            Coherence = round.Coherence,
            Timing = TimingView.Of(round.Timing),
            Loss = Spread.Of(round.Clients.Select(static client => client.MeanLoss), asked, highIsBad: true),
            ClientSeconds = Spread.Of(round.Clients.Select(static client => client.ClientSeconds), asked, highIsBad: true),
            Norm = Spread.Of(round.Clients.Select(static client => client.ProductNorm), asked, highIsBad: true),
            Sites = SiteAggregate.Of(round.Clients),
            Metric = metric,
            Score = metric is null ? null : Spread.Of(
                compared.Select(static client => client.Score), RoundView.Scorable(round.Clients), highIsBad: IsPerplexity(metric)),
            Tasks = [.. round.Tasks.Select(TaskAggregate.Of)],
            Outcomes = round.Clients.CountBy(static client => client.Outcome).ToDictionary(),
            Troubles = Troubled(round.Clients),
            Kept = round.Kept,
        };
    }

    internal static bool IsPerplexity(string? metric) => metric == "perplexity";

    private static List<TroubleView> Troubled(IReadOnlyList<ClientRow> clients) =>
    [
        .. clients.Where(static client => client.Trouble is not null)
            .Select(static client => (client, What: client.Trouble!, client.Reason))
            .Concat(clients.Where(static client => client.ScoreReason is not null)
                .Select(static client => (client, What: "not scored", Reason: client.ScoreReason)))
            .GroupBy(static one => (one.What, one.Reason), static one => one.client.Client)
            .OrderByDescending(static group => group.Count()).ThenBy(static group => group.Key.What, StringComparer.Ordinal)
            .ThenBy(static group => group.Key.Reason, StringComparer.Ordinal).Take(MostReasons)
            .Select(static group => new TroubleView(group.Key.What, group.Key.Reason, group.Count(), [.. group.Take(Named)])),
    ];
}

/// <summary>Clients of one reason.</summary>
/// <param name="What">late, failed, refused, in quarantine or not scored.</param>
/// <param name="Reason">Why, in one line.</param>
/// <param name="Count">How many.</param>
/// <param name="Clients">The first few.</param>
public sealed record TroubleView(string What, string? Reason, int Count, IReadOnlyList<string> Clients);

/// <summary>A task in a committed round.</summary>
public sealed record TaskAggregate
{
    /// <summary>The task.</summary>
    public required string Task { get; init; }

    /// <summary>Its clients in the plan.</summary>
    public required int Clients { get; init; }

    /// <summary>Clients of which the aggregate has an update.</summary>
    public required int Trained { get; init; }

    /// <summary>The metric; null where its clients have several.</summary>
    public string? Metric { get; init; }

    /// <summary>The scores of its clients; null where none was scored, or metrics differ.</summary>
    public Spread? Score { get; init; }

    /// <summary>Standard error of the mean score at most: what it is if all clients are scored on the same rows.</summary>
    public double? StandardError { get; init; }

    /// <summary>The frozen base, where it is known on the rows of all whose scores are in the mean.</summary>
    public double? Base { get; init; }

    /// <summary>Standard error of score minus base at most, each client's paired row by row.</summary>
    public double? DifferenceError { get; init; }

    /// <summary>The training losses of its clients.</summary>
    public required Spread Loss { get; init; }

    internal static TaskAggregate Of(TaskView task) => new()
    {
        Task = task.Task,
        Clients = task.Clients,
        Trained = task.Trained,
        Metric = task.Metric,
        Score = task.Metric is null ? null : Spread.Of(
            task.Compared.Select(static client => client.Score), RoundView.Scorable(task.Members),
            RoundAggregate.IsPerplexity(task.Metric)),
        StandardError = task.StandardError,
        Base = task.BaseScore,
        DifferenceError = task.DifferenceError,
        Loss = Spread.Of(task.Members.Select(static client => client.MeanLoss), RoundView.Asked(task.Members), highIsBad: true),
    };
}
