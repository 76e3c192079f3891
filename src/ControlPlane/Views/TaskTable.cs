using System.Globalization;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>What the run gave a task: means over its clients, each counting alike.</summary>
internal sealed record TaskRow
{
    public required string Task { get; init; }

    /// <summary>Its clients in the plan.</summary>
    public required int Clients { get; init; }

    /// <summary>How many of them the means are of: those with a score.</summary>
    public required int Scored { get; init; }

    public string? Metric { get; init; }

    /// <summary>The score of the frozen base.</summary>
    public double? Base { get; init; }

    /// <summary>The score with the same budget and nothing shared.</summary>
    public double? LocalOnly { get; init; }

    /// <summary>The score of the run.</summary>
    public double? Federated { get; init; }

    /// <summary>Standard error of <see cref="Federated"/> at most: what it is if all clients are scored on the same rows.</summary>
    public double? StandardError { get; init; }

    /// <summary><see cref="Federated"/> minus <see cref="Base"/>.</summary>
    public double? BaseDifference { get; init; }

    /// <summary>Its standard error at most, each client's paired row by row.</summary>
    public double? BaseError { get; init; }

    /// <summary><see cref="Federated"/> minus <see cref="LocalOnly"/>.</summary>
    public double? LocalOnlyDifference { get; init; }

    /// <summary>Its standard error at most, each client's paired row by row.</summary>
    public double? LocalOnlyError { get; init; }

    public double? MajorityShare { get; init; }
}

/// <summary>The outcome of a run, task by task: for plans in which a task has several clients.</summary>
internal sealed record TaskTable
{
    /// <summary>What means and errors are.</summary>
    public const string Caption = "by task: the mean over its clients, each counting alike; s.e. at most, as if all had the same test rows";

    public required IReadOnlyList<TaskRow> Rows { get; init; }

    /// <summary>Whether there are columns of the local-only run.</summary>
    public required bool ComparesToLocal { get; init; }

    /// <summary>Whether the run shared nothing, so that it is no federated one.</summary>
    public required bool SharesNothing { get; init; }

    /// <summary>The tasks in the order of the plan; null where none has several clients.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="clients">The outcome of each client.</param>
    /// <param name="aside">Clients that are no part of means beside others.</param>
    /// <param name="comparesToLocal">Whether there was a local-only run.</param>
    public static TaskTable? Of(
        FederationPlan plan, IReadOnlyList<FinalRow> clients, IReadOnlySet<string> aside, bool comparesToLocal)
    {
        var tasks = clients.GroupBy(static row => row.Task, StringComparer.Ordinal).ToList();
        if (tasks.Count == clients.Count) return null;
        return new()
        {
            Rows = [.. tasks.Select(task => Row(task.Key, [.. task], aside))],
            ComparesToLocal = comparesToLocal,
            SharesNothing = plan.Sharing == Sharing.None,
        };
    }

    /// <summary>For example <c>By task (accuracy)</c>; without the metric where tasks differ, which then have a column for it.</summary>
    public string Title => SharedMetric is { } metric ? $"By task ({metric})" : "By task";

    /// <summary>Titles of the columns; local-only is there if such a run was made.</summary>
    public IReadOnlyList<string> Header =>
    [
        "task", .. SharedMetric is null ? (string[])["metric"] : [], "clients", "base", .. ComparesToLocal ? (string[])["local"] : [],
        SharesNothing ? "unshared" : "federated", "s.e.", "vs base", "s.e.", .. ComparesToLocal ? (string[])["vs local", "s.e."] : [],
        "majority",
    ];

    /// <summary>How many columns in front are words.</summary>
    public int TextColumns => SharedMetric is null ? 2 : 1;

    /// <summary>Whether a difference is inside two of its standard errors.</summary>
    public bool HasNoise =>
        Rows.Any(row => Enumerable.Range(0, Header.Count).Any(column => DifferenceAt(row, column) is { IsNoise: true }));

    /// <summary>A row as text, in the order of <see cref="Header"/>.</summary>
    public string[] Cells(TaskRow row)
    {
        string[] local = ComparesToLocal ? [Words.Difference(row.LocalOnlyDifference), Words.Score(row.LocalOnlyError)] : [];
        string[] cells =
        [
            row.Task, .. SharedMetric is null ? (string[])[row.Metric ?? Words.None] : [],
            row.Scored == row.Clients ? Number(row.Clients) : $"{Number(row.Scored)} of {Number(row.Clients)}",
            Words.Score(row.Base), .. ComparesToLocal ? (string[])[Words.Score(row.LocalOnly)] : [],
            Words.Score(row.Federated), Words.Score(row.StandardError),
            Words.Difference(row.BaseDifference), Words.Score(row.BaseError), .. local, Words.Score(row.MajorityShare),
        ];
        for (var column = 0; column < cells.Length; column++)
            if (DifferenceAt(row, column) is { IsNoise: true }) cells[column] += $" {FinalTable.Noise}";
        return cells;
    }

    /// <summary>What a column says of the run beside a reference; null for other columns, and where there is no difference.</summary>
    public (double Value, bool IsNoise)? DifferenceAt(TaskRow row, int column)
    {
        var (value, error) = Header[column] switch
        {
            "vs base" => (row.BaseDifference, row.BaseError),
            "vs local" => (row.LocalOnlyDifference, row.LocalOnlyError),
            _ => (null, null),
        };
        return value is { } difference ? (difference, FinalRow.IsInside(difference, error)) : null;
    }

    /// <summary>Aligned ASCII columns below the title; as <see cref="PlainTable.Of"/> where they are wider than a terminal.</summary>
    public string ToPlainText(int? width = null) => Title + "\n\n" + PlainTable.Of(Header, [.. Rows.Select(Cells)], width);

    private string? SharedMetric =>
        Rows.Select(static row => row.Metric).OfType<string>().Distinct().Take(2).ToList() is [var metric] ? metric : null;

    private static TaskRow Row(string task, IReadOnlyList<FinalRow> clients, IReadOnlySet<string> aside)
    {
        var mean = new MeanOverClients(clients, aside);
        return new()
        {
            Task = task,
            Clients = clients.Count,
            Scored = mean.Count,
            Metric = mean.Metric,
            Base = mean.Of(static row => row.Base),
            LocalOnly = mean.Of(static row => row.LocalOnly),
            Federated = mean.Of(static row => row.Federated),
            StandardError = Error(static row => row.StandardError),
            BaseDifference = mean.Of(static row => row.Federated - row.Base),
            BaseError = Error(static row => row.BaseError),
            LocalOnlyDifference = mean.Of(static row => row.Federated - row.LocalOnly),
            LocalOnlyError = Error(static row => row.LocalOnlyError),
            MajorityShare = mean.Of(static row => row.MajorityShare),
        };

        double? Error(Func<FinalRow, double?> column) => mean.ErrorOf(column, static row => row.Task);
    }

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
