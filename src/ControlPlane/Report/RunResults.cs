using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Events;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Sites;
using FedRLora.Grains.Store;

namespace FedRLora.ControlPlane.Report;

/// <summary>All that a report, a table or metrics of a run are made of, whichever silo is asked.</summary>
public sealed record RunResults
{
    private const int MostUnread = 20;
    private static readonly TimeSpan AskAgainAfter = TimeSpan.FromMilliseconds(100);

    /// <summary>The run.</summary>
    public required string Run { get; init; }

    /// <summary>Where it stands.</summary>
    public required JobStatus Status { get; init; }

    /// <summary>The newest plan's text.</summary>
    public required string PlanYaml { get; init; }

    /// <summary>The newest plan.</summary>
    public required FederationPlan Plan { get; init; }

    /// <summary>Every committed round, with round 0; empty where none is.</summary>
    public required IReadOnlyList<RoundSummary> Rounds { get; init; }

    /// <summary>The rounds of the local-only reference; null where there is none, or none yet.</summary>
    public IReadOnlyList<RoundSummary>? LocalOnly { get; init; }

    /// <summary>
    /// The last scores beside the reference's, row by row, of the clients whose sites could compare; null without a reference.
    /// </summary>
    public IReadOnlyDictionary<string, ScoreComparison>? VersusLocal { get; init; }

    /// <summary>What is missing of the results and why, in one line each.</summary>
    public IReadOnlyList<string> Missing { get; init; } = [];

    /// <summary>Reads the results of a run.</summary>
    /// <exception cref="NoSuchRunException">There is no such run.</exception>
    /// <exception cref="StoreUnavailableException">Rounds that are committed cannot be read now.</exception>
    public static async Task<RunResults> LoadAsync(RunCalls runs, SiteRuns sites, string run, CancellationToken cancellationToken)
    {
        var results = await LoadAloneAsync(runs, run, cancellationToken);
        var isFork = results.Rounds is [{ Manifest.Previous: not null }, ..];
        var (reference, unknown) = await results.ReferenceAsync(runs, isFork, cancellationToken);
        if (reference is null) return results with { Missing = unknown };
        var (_, alone) = await RoundsAsync(runs, reference, cancellationToken);
        if (alone.Count == 0) return results;
        var (compared, missing) = await results.CompareAsync(sites, reference, cancellationToken);
        return results with { LocalOnly = alone, VersusLocal = compared, Missing = missing };
    }

    /// <summary>The outcome of a run, as its feed knows it: no round is read for it.</summary>
    /// <inheritdoc cref="LoadAsync" path="/exception"/>
    internal static async Task<ResultView> OutcomeAsync(
        RunCalls runs, RunFeeds feeds, SiteRuns sites, string run, CancellationToken cancellationToken)
    {
        var yaml = await runs.PlanAsync(run, cancellationToken);
        var (outcome, status) = await feeds.OutcomeAsync(run, cancellationToken);
        var results = new RunResults { Run = run, Status = status, PlanYaml = yaml, Plan = PlanReader.Require(yaml, run), Rounds = [] };
        var (reference, unknown) = await results.ReferenceAsync(runs, outcome.IsFork, cancellationToken);
        if (reference is null) return ResultView.Of(results with { Missing = unknown }, outcome, alone: null);
        var (alone, _) = await feeds.OutcomeAsync(reference, cancellationToken);
        if (alone.Round is null) return ResultView.Of(results, outcome, alone: null);
        var (compared, missing) = await results.CompareAsync(sites, reference, cancellationToken);
        return ResultView.Of(results with { VersusLocal = compared, Missing = missing }, outcome, alone);
    }

    /// <summary>Reads the results of a run without those of its reference.</summary>
    /// <inheritdoc cref="LoadAsync" path="/exception"/>
    public static async Task<RunResults> LoadAloneAsync(RunCalls runs, string run, CancellationToken cancellationToken)
    {
        var yaml = await runs.PlanAsync(run, cancellationToken);
        var plan = PlanReader.Require(yaml, run);
        var (progress, rounds) = await RoundsAsync(runs, run, cancellationToken);
        return new() { Run = run, Status = progress.Status, PlanYaml = yaml, Plan = plan, Rounds = rounds };
    }

    // The run that shares nothing; none where there is none, or none yet, with what is missing.
    private async Task<(string? Reference, IReadOnlyList<string> Missing)> ReferenceAsync(
        RunCalls runs, bool isFork, CancellationToken cancellationToken)
    {
        if (!LocalOnlyRun.IsAskedBy(Plan) || isFork || !Identifiers.IsValid(LocalOnlyRun.Of(Run))) return (null, []);
        var reference = LocalOnlyRun.Of(Run);
        if (await runs.AskAsync(runs.Control(reference).GetPlanAsync, cancellationToken) is not { } yaml)
            return (null, Status == JobStatus.Finished ? [$"{reference}: the run was begun without its local-only reference"] : []);
        return IsReference(PlanReader.Require(yaml, reference))
            ? (reference, [])
            : (null, [$"{reference}: another run than the local-only reference of {Run}"]);
    }

    // It may have fewer rounds as yet, where the run was extended.
    private bool IsReference(FederationPlan other)
    {
        var expected = PlanReader.Require(LocalOnlyRun.PlanOf(PlanYaml, Run), Run);
        return PlanText.Of(other with { Strategy = other.Strategy with { Rounds = Plan.Strategy.Rounds } }) == PlanText.Of(expected);
    }

    /// <summary>The last scores beside those of another run, row by row, and why those of clients are missing.</summary>
    internal async Task<(IReadOnlyDictionary<string, ScoreComparison> Compared, IReadOnlyList<string> Missing)> CompareAsync(
        SiteRuns sites, string reference, CancellationToken cancellationToken)
    {
        var scored = Plan.Clients.Where(static client => client.Data.Test is not null)
            .GroupBy(static client => client.Site, static client => client.Id, StringComparer.Ordinal);
        var parts = await Task.WhenAll(scored.Select(AskAsync));
        return (parts.SelectMany(static part => part.Compared).ToDictionary(StringComparer.Ordinal),
            [.. parts.Select(static part => part.Why).OfType<string>().Order(StringComparer.Ordinal)]);

        async Task<(IReadOnlyDictionary<string, ScoreComparison> Compared, string? Why)> AskAsync(IGrouping<string, string> site)
        {
            try
            {
                return (await sites.AskAsync(Run, site.Key, grain => grain.CompareAsync(reference, [.. site], cancellationToken),
                    cancellationToken), null);
            }
            catch (Exception e) when (e is SiteUnavailableException or StoreUnavailableException or CorruptBlobException)
            {
                return (new Dictionary<string, ScoreComparison>(),
                    $"{e.Message.ReplaceLineEndings(" ")}: differences of its clients to {reference} have no standard error");
            }
        }
    }

    // Message by message, and whole: an answer without rounds may mean that the store is away.
    private static async Task<(JobProgress Progress, IReadOnlyList<RoundSummary> Rounds)> RoundsAsync(
        RunCalls runs, string run, CancellationToken cancellationToken)
    {
        var last = await runs.LastRoundAsync(run, cancellationToken);
        var rounds = new List<RoundSummary>();
        for (var unread = 0; ;)
        {
            var progress = await runs.ProgressAsync(run, rounds.Count - 1, cancellationToken);
            rounds.AddRange(progress.NewRounds);
            if (progress.NewRounds.Count > 0) continue;
            if (rounds.Count > last) return (progress, rounds);
            if (++unread == MostUnread)
            {
                throw new StoreUnavailableException(FormattableString.Invariant(
                    $"round {rounds.Count} of run {run} cannot be read from the job's store now; try again"));
            }

            await Task.Delay(AskAgainAfter, cancellationToken); // a round that is being committed is shown in a moment
        }
    }
}
