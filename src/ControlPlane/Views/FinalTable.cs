using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>What the run gave a client.</summary>
internal sealed record FinalRow
{
    public required string Client { get; init; }
    public required string Task { get; init; }
    public string? Metric { get; init; }

    /// <summary>The score of the frozen base.</summary>
    public double? Base { get; init; }

    /// <summary>The score with the same budget and nothing shared.</summary>
    public double? LocalOnly { get; init; }

    /// <summary>The score of the run.</summary>
    public double? Federated { get; init; }

    /// <summary>Standard error of <see cref="Federated"/> over the test rows.</summary>
    public double? StandardError { get; init; }

    /// <summary>To the local-only run where there is one, to the base otherwise.</summary>
    public double? Difference { get; init; }

    /// <summary>
    /// Standard error of the difference, paired row by row; of the mean, as if differences on one test file or of one task moved together
    /// and others did not.
    /// </summary>
    public double? DifferenceError { get; init; }

    /// <summary>Standard error of <see cref="Federated"/> minus <see cref="Base"/>, paired row by row.</summary>
    public double? BaseError { get; init; }

    /// <summary>Standard error of <see cref="Federated"/> minus <see cref="LocalOnly"/>, paired row by row.</summary>
    public double? LocalOnlyError { get; init; }

    public double? MajorityShare { get; init; }

    /// <summary>Of a mean: clients of the plan that it is not of.</summary>
    public int? LeftOut { get; init; }

    /// <summary>Test rows scored.</summary>
    public int? Rows { get; init; }

    /// <summary>Bytes of its updates in the whole run.</summary>
    public long SentBytes { get; init; }

    /// <summary>Whether the difference is inside two standard errors: other rows might as well have given none.</summary>
    public bool IsNoise => Difference is { } difference && IsInside(difference, DifferenceError);

    /// <summary>Whether a difference is inside two of its standard errors; not where the error is not known.</summary>
    public static bool IsInside(double difference, double? error) => error is { } one && Math.Abs(difference) <= 2 * one;
}

/// <summary>The outcome of a run, client by client, with the mean over clients.</summary>
internal sealed record FinalTable
{
    /// <summary>Stands behind a difference that is inside two standard errors.</summary>
    public const string Noise = "~";

    public required IReadOnlyList<FinalRow> Clients { get; init; }

    /// <summary>The mean of each column in which every scored client has a value; without scores where metrics differ.</summary>
    public required FinalRow Mean { get; init; }

    /// <summary>The outcome of each task; null where no task has several clients, whose rows say it all.</summary>
    public TaskTable? Tasks { get; init; }

    /// <summary>Whether the difference is to the local-only run; else it is to the base.</summary>
    public required bool ComparesToLocal { get; init; }

    /// <summary>Whether the run shared nothing, so that it is no federated one.</summary>
    public required bool SharesNothing { get; init; }

    /// <summary>What has to be known of the rows and the scores, each in a line.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <param name="plan">The plan.</param>
    /// <param name="federated">Its rounds, with round 0.</param>
    /// <param name="localOnly">Rounds of the run that shared nothing; null if there was none.</param>
    /// <param name="versusLocal">The last scores beside those of the local-only run, where their rows are known.</param>
    public static FinalTable Of(
        FederationPlan plan, IReadOnlyList<RoundSummary> federated, IReadOnlyList<RoundSummary>? localOnly,
        IReadOnlyDictionary<string, ScoreComparison>? versusLocal = null) =>
        Of(plan, OutcomeSoFar.Of(federated, plan), localOnly is null ? null : OutcomeSoFar.Of(localOnly, plan), versusLocal);

    /// <param name="plan">The plan.</param>
    /// <param name="federated">What its rounds make.</param>
    /// <param name="localOnly">What those of the run make that shared nothing; null if there was none.</param>
    /// <param name="versusLocal">The last scores beside those of the local-only run, where their rows are known.</param>
    public static FinalTable Of(
        FederationPlan plan, OutcomeSoFar federated, OutcomeSoFar? localOnly,
        IReadOnlyDictionary<string, ScoreComparison>? versusLocal = null)
    {
        var comparesToLocal = localOnly is { Round: not null };
        List<FinalRow> clients = [.. plan.Clients.Select(client =>
        {
            var own = federated.Client(client.Id);
            var (last, start) = (own.Last, own.Start);
            // Of the same round: a reference that was stopped before had a smaller budget.
            var alone = localOnly?.Client(client.Id).ScoreOf(last?.Round);
            var frozen = (last ?? start)?.Base is { } reference ? reference.Reference : start?.Score;
            var baseError = last?.Base?.StandardError;
            var localError = last is null || alone is null ? null : versusLocal?.GetValueOrDefault(client.Id)?.StandardError;
            return new FinalRow
            {
                Client = client.Id,
                Task = client.Task,
                Metric = last?.Metric ?? start?.Metric,
                Base = frozen,
                LocalOnly = alone,
                Federated = last?.Score,
                StandardError = last?.StandardError,
                Difference = last?.Score - (comparesToLocal ? alone : frozen),
                DifferenceError = comparesToLocal ? localError : baseError,
                BaseError = baseError,
                LocalOnlyError = localError,
                MajorityShare = (last ?? start)?.MajorityShare,
                Rows = (last ?? start)?.Rows,
                SentBytes = own.SentBytes,
            };
        })];

        var aside = federated.Aside;
        var all = new MeanOverClients(clients, aside);
        var together = Together(plan);
        return new()
        {
            Clients = clients,
            ComparesToLocal = comparesToLocal,
            SharesNothing = plan.Sharing == Sharing.None,
            Notes = [.. NoteLines.Of(federated), .. NoteLines.Stale(federated)],
            Tasks = TaskTable.Of(plan, clients, aside, comparesToLocal),
            Mean = new()
            {
                Client = "mean",
                Task = "",
                Metric = all.Metric,
                LeftOut = clients.Count - all.Count,
                Base = all.Of(static row => row.Base),
                LocalOnly = all.Of(static row => row.LocalOnly),
                Federated = all.Of(static row => row.Federated),
                StandardError = all.ErrorOf(static row => row.StandardError, together),
                Difference = all.Of(static row => row.Difference),
                DifferenceError = all.ErrorOf(static row => row.DifferenceError, together),
                BaseError = all.ErrorOf(static row => row.BaseError, together),
                LocalOnlyError = all.ErrorOf(static row => row.LocalOnlyError, together),
                MajorityShare = all.Of(static row => row.MajorityShare),
                SentBytes = clients.Count == 0 ? 0 : clients.Sum(static row => row.SentBytes) / clients.Count,
            },
        };
    }

    // Clients of one task may be scored on the same rows, whatever their files are called, and so may those of tasks that share a file.
    internal static Func<FinalRow, string> Together(FederationPlan plan)
    {
        var groups = plan.Clients.Select(static client => client.Task).Distinct()
            .ToDictionary(static task => task, static task => task, StringComparer.Ordinal);
        foreach (var file in plan.Clients.Where(static client => client.Data.Test is not null)
            .GroupBy(static client => Path.GetFullPath(client.Data.Test!, "/"), StringComparer.Ordinal))
        {
            var joined = file.Select(client => groups[client.Task]).ToHashSet(StringComparer.Ordinal);
            if (joined.Count == 1) continue;
            foreach (var task in groups.Keys.Where(task => joined.Contains(groups[task])).ToList()) groups[task] = joined.Min()!;
        }

        return row => groups[row.Task];
    }

    /// <summary>For example <c>Outcome (accuracy)</c>; without the metric where clients differ, which then have a column for it.</summary>
    public string Title => SharedMetric is { } metric ? $"Outcome ({metric})" : "Outcome";

    /// <summary>Titles of the columns; local-only is there if such a run was made.</summary>
    public IReadOnlyList<string> Header =>
    [
        "client", "task", .. SharedMetric is null ? (string[])["metric"] : [], "base", .. ComparesToLocal ? (string[])["local"] : [],
        SharesNothing ? "unshared" : "federated", "s.e.", ComparesToLocal ? "vs local" : "vs base", "s.e.", "majority", "rows", "sent",
    ];

    /// <summary>How many columns in front are words.</summary>
    public int TextColumns => SharedMetric is null ? 3 : 2;

    /// <summary>The column of the difference.</summary>
    public int DifferenceColumn => Header.Count - 5;

    /// <summary>A row as text, in the order of <see cref="Header"/>.</summary>
    public string[] Cells(FinalRow row) =>
    [
        row.Client, row.Task, .. SharedMetric is null ? (string[])[row.Metric ?? Words.None] : [],
        Words.Score(row.Base), .. ComparesToLocal ? (string[])[Words.Score(row.LocalOnly)] : [],
        Words.Score(row.Federated), Words.Score(row.StandardError), Words.Difference(row.Difference) + (row.IsNoise ? $" {Noise}" : ""),
        Words.Score(row.DifferenceError), Words.Score(row.MajorityShare),
        row.Rows?.ToString(CultureInfo.InvariantCulture) ?? "", Words.Bytes(row.SentBytes),
    ];

    /// <summary>Aligned ASCII columns below the title; as <see cref="PlainTable.Of"/> where they are wider than a terminal.</summary>
    public string ToPlainText(int? width = null) =>
        Title + "\n\n" + PlainTable.Of(Header, [.. AllRows.Select(Cells)], width)
        + (Tasks is { } tasks ? $"\n{tasks.ToPlainText(width)}\n" : "") + NoteText(width);

    /// <summary>The lines that stand below the table, broken between words where they are wider than a terminal.</summary>
    public string NoteText(int? width) =>
        string.Concat(Lines.Select(note => $"{(width is { } most ? Words.Wrapped(note, most) : note)}\n"));

    private IEnumerable<string> Lines =>
    [
        .. Tasks is null ? [] : (string[])[TaskTable.Caption],
        .. AllRows.Any(static row => row.IsNoise) || Tasks?.HasNoise == true
            ? (string[])[$"{Noise} inside two standard errors (s.e., over test rows): other rows might as well show no difference"]
            : [],
        .. Notes.Select(static note => $"note: {note}"),
    ];

    private string? SharedMetric => Mean.Metric;

    private IEnumerable<FinalRow> AllRows => Clients.Count > 1 ? Clients.Append(Mean) : Clients;
}
