using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.ControlPlane.Views;

/// <summary>A run to compare.</summary>
/// <param name="Run">What it is called: its name, or its folder.</param>
/// <param name="PlanYaml">Its plan's text.</param>
/// <param name="Plan">Its plan.</param>
/// <param name="Rounds">Its committed rounds, with round 0.</param>
/// <param name="VersusFirst">Its last scores beside those of the first run, row by row, of the clients whose rows are known.</param>
/// <param name="Missing">What of this could not be had and why, in a line each.</param>
public sealed record ComparedRun(
    string Run, string PlanYaml, FederationPlan Plan, IReadOnlyList<RoundSummary> Rounds,
    IReadOnlyDictionary<string, ScoreComparison>? VersusFirst = null, IReadOnlyList<string>? Missing = null);

/// <summary>A run of a comparison.</summary>
/// <param name="Run">What it is called.</param>
/// <param name="Plan">The plan's name.</param>
/// <param name="Committed">The last committed round; null before round 0.</param>
/// <param name="Rounds">Rounds of the plan.</param>
/// <param name="Sha256">The digest of the last committed round's manifest.</param>
/// <param name="PartsIn">The first round whose digest is not that of the first run; null where none is.</param>
/// <param name="StatesPartIn">The first round whose adapters are not those of the first run; null where none is.</param>
public sealed record ComparedOutcome(
    string Run, string Plan, int? Committed, int Rounds, string? Sha256, int? PartsIn, int? StatesPartIn);

/// <summary>A key that the plans do not agree on.</summary>
/// <param name="Key">The key.</param>
/// <param name="Values">Its value in each run; null where the plan leaves it to its default.</param>
public sealed record PlanDifference(string Key, IReadOnlyList<string?> Values);

/// <summary>A score of one run in a comparison.</summary>
/// <param name="Score">The last one; null where there is none.</param>
/// <param name="StandardError">Its standard error over test rows.</param>
/// <param name="Difference">To the first run; null where the two cannot be compared.</param>
/// <param name="DifferenceError">The standard error of the difference.</param>
/// <param name="IsPaired">Whether that error is of the differences row by row; else it is as if each run had rows of its own.</param>
public sealed record ComparedScore(double? Score, double? StandardError, double? Difference, double? DifferenceError, bool IsPaired)
{
    /// <summary>Whether the difference is inside two standard errors.</summary>
    public bool IsNoise => Difference is { } difference && FinalRow.IsInside(difference, DifferenceError);
}

/// <summary>A client, or the mean over clients, in each run.</summary>
/// <param name="Client">The client.</param>
/// <param name="Task">Its task.</param>
/// <param name="Metric">The metric; null where the runs have several.</param>
/// <param name="Scores">One for each run.</param>
public sealed record ComparedRow(string Client, string Task, string? Metric, IReadOnlyList<ComparedScore> Scores);

/// <summary>
/// The outcomes of runs side by side. Differences are to the first run; those of clients that are not the same in both, by metric or test
/// rows, are not told.
/// </summary>
public sealed record Comparison
{
    /// <summary>The most runs that are compared at once.</summary>
    public const int Most = 64;

    /// <summary>The version of the schema.</summary>
    public int Schema { get; init; } = Json.Schema;

    /// <summary>The runs, in the order in which they were named.</summary>
    public required IReadOnlyList<ComparedOutcome> Runs { get; init; }

    /// <summary>What the plans do not agree on, by key.</summary>
    public required IReadOnlyList<PlanDifference> Plan { get; init; }

    /// <summary>Every client of any run, in the order of the plans.</summary>
    public required IReadOnlyList<ComparedRow> Clients { get; init; }

    /// <summary>Each run's mean over its clients; differences are over the clients that both runs have a score of.</summary>
    public required ComparedRow Mean { get; init; }

    /// <summary>What has to be known of the differences, in a line each.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <summary>Compares runs with the first of them.</summary>
    public static Comparison Of(IReadOnlyList<ComparedRun> runs)
    {
        List<LastScores> scores = [.. runs.Select(LastScores.Of)];
        var notes = new ComparisonNotes(runs);
        List<ClientSpec> clients = [.. runs.SelectMany(static run => run.Plan.Clients).DistinctBy(static client => client.Id)];
        List<ComparedRow> rows = [.. clients.Select(client => RowOf(client, scores, notes))];
        return new()
        {
            Runs = [.. runs.Select(run => OutcomeOf(run, runs[0]))],
            Plan = DifferencesOf(runs),
            Clients = rows,
            Mean = MeanOf(rows, runs, scores),
            Notes = notes.Lines(scores),
        };
    }

    private static ComparedRow RowOf(ClientSpec client, List<LastScores> runs, ComparisonNotes notes)
    {
        var first = runs[0].Of(client.Id);
        var cells = runs.Select((run, index) =>
        {
            var own = run.Of(client.Id);
            if (own?.Score is not { } score) return new ComparedScore(null, null, null, null, IsPaired: false);
            var alone = new ComparedScore(score, own.StandardError, null, null, IsPaired: false);
            if (index == 0 || first?.Score is not { } reference) return alone;
            if (notes.WhyNot(index, client.Id, own, first)) return alone;
            // Rows of a scoring that is not the committed one say nothing of it.
            var paired = run.Run.VersusFirst?.GetValueOrDefault(client.Id) is { } versus && versus.Reference == reference ? versus : null;
            if (paired is null) notes.Unpaired(index, client.Id);
            return alone with
            {
                Difference = score - reference, IsPaired = paired is not null,
                DifferenceError = paired is not null ? ClientRow.Finite(paired.StandardError)
                    : own.StandardError is { } a && first.StandardError is { } b ? Math.Sqrt(a * a + b * b) : null,
            };
        }).ToList();
        string[] metrics = [.. runs.Select(run => run.Of(client.Id)?.Metric).OfType<string>().Distinct()];
        return new(client.Id, client.Task, metrics is [var metric] ? metric : null, cells);
    }

    private static ComparedRow MeanOf(List<ComparedRow> rows, IReadOnlyList<ComparedRun> runs, List<LastScores> scores)
    {
        var cells = runs.Select((run, index) =>
        {
            var own = FinalTable.Of(run.Plan, run.Rounds, localOnly: null).Mean;
            var alone = new ComparedScore(own.Federated, own.StandardError, null, null, IsPaired: false);
            if (index == 0) return alone;
            List<ComparedRow> both = [.. rows.Where(row => row.Scores[index].Difference is not null)];
            var mean = new MeanOverClients(
                both.Select(row => new FinalRow
                {
                    Client = row.Client, Task = row.Task, Metric = row.Metric, Difference = row.Scores[index].Difference,
                    DifferenceError = row.Scores[index].DifferenceError,
                }),
                scores[index].Aside);
            return alone with
            {
                Difference = mean.Count == 0 ? null : mean.Of(static row => row.Difference),
                DifferenceError = mean.ErrorOf(static row => row.DifferenceError, FinalTable.Together(run.Plan)),
                IsPaired = both.Count > 0 && both.All(row => row.Scores[index].IsPaired),
            };
        }).ToList();
        string[] metrics = [.. rows.Select(static row => row.Metric).OfType<string>().Distinct()];
        return new("mean", "", metrics is [var metric] ? metric : null, cells);
    }

    private static ComparedOutcome OutcomeOf(ComparedRun run, ComparedRun first) => new(
        run.Run, run.Plan.Name, run.Rounds.Count == 0 ? null : run.Rounds[^1].Manifest.Round, run.Plan.Strategy.Rounds,
        run.Rounds.Count == 0 ? null : run.Rounds[^1].ManifestSha256,
        PartsIn(run, first, static round => round.ManifestSha256), PartsIn(run, first, StatesOf));

    private static int? PartsIn(ComparedRun run, ComparedRun first, Func<RoundSummary, string> of) =>
        run.Rounds.Zip(first.Rounds).Where(pair => of(pair.First) != of(pair.Second))
            .Select(static pair => (int?)pair.First.Manifest.Round).FirstOrDefault();

    private static string StatesOf(RoundSummary round) => string.Join(' ',
    [
        round.Manifest.Shared.Sha256, .. (round.Manifest.Tasks ?? []).Select(static task => $"{task.Task}={task.Shared.Sha256}"),
        .. round.Manifest.Clients.Select(static client => $"{client.Id}={client.Head?.Sha256}"),
    ]);

    private static List<PlanDifference> DifferencesOf(IReadOnlyList<ComparedRun> runs)
    {
        var plans = runs.Select(static run => PlanKeys.Of(run.PlanYaml)).ToList();
        return
        [
            .. plans.SelectMany(static plan => plan.Keys).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)
                .Select(key => new PlanDifference(key, [.. plans.Select(plan => plan.GetValueOrDefault(key))]))
                .Where(static one => one.Values.Distinct(StringComparer.Ordinal).Count() > 1),
        ];
    }
}

/// <summary>The last score of each client of a run.</summary>
/// <param name="Run">The run.</param>
/// <param name="Rows">By client.</param>
/// <param name="Aside">Clients that stay out of means.</param>
internal sealed record LastScores(ComparedRun Run, IReadOnlyDictionary<string, ClientRow> Rows, IReadOnlySet<string> Aside)
{
    public ClientRow? Of(string client) => Rows.GetValueOrDefault(client);

    public static LastScores Of(ComparedRun run)
    {
        var all = run.Rounds.SelectMany(round => RoundView.Of(round, run.Plan).Clients).ToList();
        var last = all.Where(static row => row is { Round: > 0, Score: not null }).GroupBy(static row => row.Client, StringComparer.Ordinal)
            .ToDictionary(static rows => rows.Key, static rows => rows.Last(), StringComparer.Ordinal);
        return new(run, last, all.Where(static row => row.StaysAside).Select(static row => row.Client).ToHashSet(StringComparer.Ordinal));
    }
}
