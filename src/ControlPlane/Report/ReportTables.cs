using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>The tables and lists of a report. Numbers are as the terminal shows them; the exact one is in the title of its cell.</summary>
internal static class ReportTables
{
    private const int MostItems = 40, MostStragglers = 20;

    /// <summary>What the run gave each client and each task.</summary>
    public static string Outcome(FinalTable table)
    {
        var html = new StringBuilder(Head(table.Title, table.Header, table.TextColumns));
        foreach (var row in table.Clients) html.Append(Of(row));
        html.Append("</tbody>\n");
        if (table.Clients.Count > 1) html.Append("<tfoot>\n").Append(Of(table.Mean)).Append("</tfoot>\n");
        html.Append("</table>\n</div>\n").Append(ByTask(table.Tasks)).Append("<p class=\"note\">base: the frozen model without an adapter. "
            + "s.e.: standard error over the test rows, of a difference paired row by row; "
            + $"{FinalTable.Noise} and grey: inside two of them, so that other rows might as well show no difference. ");
        if (table.ComparesToLocal) html.Append("local: the same client with the same budget and nothing shared. ");
        return html.Append("majority: what the best constant answer would score. sent: bytes of the client's updates in the whole run. ")
            .Append("The title of a number is the number as files have it.</p>").Append(Notes(table.Notes)).ToString();

        string Of(FinalRow row)
        {
            double?[] values =
            [
                .. new double?[table.TextColumns], row.Base, .. table.ComparesToLocal ? (double?[])[row.LocalOnly] : [], row.Federated,
                row.StandardError, row.Difference, row.DifferenceError, row.MajorityShare, row.Rows, row.SentBytes,
            ];
            return Cells(table.Cells(row), values, table.TextColumns, column =>
                column == table.DifferenceColumn && row.Difference is { } difference ? (difference, row.IsNoise) : null, row.Metric);
        }
    }

    private static string ByTask(TaskTable? tasks)
    {
        if (tasks is null) return "";
        return Head(tasks.Title, tasks.Header, tasks.TextColumns)
            + string.Concat(tasks.Rows.Select(row => Cells(
                tasks.Cells(row), Values(row), tasks.TextColumns, column => tasks.DifferenceAt(row, column), row.Metric)))
            + $"{Foot}<p class=\"note\">{Markup.Escape(TaskTable.Caption)}.</p>\n";

        double?[] Values(TaskRow row) =>
        [
            .. new double?[tasks.TextColumns], row.Clients, row.Base, .. tasks.ComparesToLocal ? (double?[])[row.LocalOnly] : [],
            row.Federated, row.StandardError, row.BaseDifference, row.BaseError,
            .. tasks.ComparesToLocal ? (double?[])[row.LocalOnlyDifference, row.LocalOnlyError] : [], row.MajorityShare,
        ];
    }

    // A row, with its differences in the colour of what they say.
    private static string Cells(
        IReadOnlyList<string> cells, double?[] values, int textColumns, Func<int, (double Value, bool IsNoise)?> differenceAt,
        string? metric)
    {
        return Row(cells.Select((cell, column) => new Cell(cell, values[column]) { Style = StyleAt(column) }));

        string? StyleAt(int column)
        {
            if (column < textColumns) return "text";
            if (differenceAt(column) is not { } difference || Math.Abs(difference.Value) < 5e-4) return null;
            if (difference.IsNoise) return "noise";
            return difference.Value > 0 == (metric != "perplexity") ? "good" : "bad";
        }
    }

    private static string Notes(IReadOnlyList<string> notes) => notes.Count == 0
        ? ""
        : $"\n<ul class=\"note\">\n{string.Concat(notes.Select(static note => $"<li>{Markup.Escape(note)}</li>\n"))}</ul>";

    /// <summary>The clients that took longest beside what they usually do.</summary>
    public static string Stragglers(ReportContent run)
    {
        var clients = run.Rounds.SelectMany(static round => round.Clients).Where(static client => client.ClientSeconds is not null)
            .GroupBy(static client => client.Client, StringComparer.Ordinal).Select(client => (
                client.Key, client.Last().Site, Count: client.Count(), Last: client.Last().ClientSeconds!.Value,
                Median: Spread.Of(client.Select(static row => row.ClientSeconds), 0, highIsBad: true).Median!.Value,
                Decided: run.Aggregates.Count(round => round.Timing?.DecidedBy == client.Key)))
            .OrderByDescending(static client => client.Decided).ThenByDescending(static client => client.Median)
            .ThenBy(static client => client.Key, StringComparer.Ordinal).ToList();
        if (clients.Count == 0)
            return run.Rounds.Count < 2 ? "" : "<h2>Stragglers</h2>\n<p class=\"note\">Times of clients were not written down.</p>";
        var html = new StringBuilder(Head(
            "Stragglers", ["client", "site", "decided", "its median", "last", "last over median"], textColumns: 2));
        foreach (var (client, site, count, last, median, decided) in clients.Take(MostStragglers))
        {
            double? ratio = count > 1 && median > 0 ? last / median : null;
            html.Append(Row([
                Cell.Name(client), Cell.Word(site), new(decided.ToString(CultureInfo.InvariantCulture), decided),
                Cell.Time(median), Cell.Time(last), new(Words.Number(ratio, "0.0"), ratio) { Style = "time" },
            ]));
        }

        return html.Append(Foot).Append("<p class=\"note\">decided: rounds whose training closed with its report. Times are from ")
            .Append("assignment to report; shown are ")
            .Append(CultureInfo.InvariantCulture, $"{Math.Min(MostStragglers, clients.Count)} of {clients.Count}.</p>")
            .ToString();
    }

    /// <summary>Why clients are not in the aggregate, or not scored: those of one reason together.</summary>
    public static string Troubles(IReadOnlyList<RoundView> rounds) => Items(
        "Clients that were late, failed, refused or in quarantine",
        rounds.SelectMany(static round => round.Clients).SelectMany(static client => new[]
            {
                (Client: client, What: client.Trouble, client.Reason),
                (Client: client, What: client.ScoreReason is null ? null : "not scored", Reason: client.ScoreReason),
            }).Where(static one => one.What is not null)
            .GroupBy(static one => (one.What, one.Reason)).OrderByDescending(static group => group.Count())
            .ThenBy(static group => group.Key.What, StringComparer.Ordinal).ThenBy(static group => group.Key.Reason, StringComparer.Ordinal)
            .Select(static group => $"{Who(group.Select(static one => one.Client))}: {group.Key.What}"
                + (group.Key.Reason is null ? "" : $", {group.Key.Reason}")));

    /// <summary>What was measured and is no number.</summary>
    public static string NotFinite(IReadOnlyList<RoundView> rounds) => Items(
        "Numbers that are none",
        rounds.SelectMany(static round => round.Clients).Where(static client => client.NotFinite is not null)
            .SelectMany(static client => client.NotFinite!.Select(one => (Client: client, Name: one.Key, Text: one.Value)))
            .GroupBy(static one => (one.Name, one.Text)).OrderBy(static group => group.Key.Name, StringComparer.Ordinal)
            .Select(static group => $"{group.Key.Name} is {group.Key.Text}: {Who(group.Select(static one => one.Client))}"));

    /// <summary>What each site sent.</summary>
    public static string Traffic(IReadOnlyList<RoundAggregate> rounds)
    {
        var sites = rounds.SelectMany(static round => round.Sites).GroupBy(static site => site.Site, StringComparer.Ordinal).ToList();
        if (sites.Count == 0) return "";
        var html = new StringBuilder(Head("Sites", ["site", "sent", "trained", "late", "failed", "refused"], textColumns: 1));
        foreach (var site in sites)
        {
            var sent = site.Sum(static round => round.SentBytes);
            html.Append(Row([
                Cell.Name(site.Key), new(Words.Bytes(sent), sent), Cell.Count(site.Sum(static round => round.Trained)),
                Cell.Count(site.Sum(static round => round.Late)), Cell.Count(site.Sum(static round => round.Failed)),
                Cell.Count(site.Sum(static round => round.Refused)),
            ]));
        }

        return html.Append(Foot).Append("<p class=\"note\">In the whole run; of clients, each round counts.</p>").ToString();
    }

    /// <summary>Every round.</summary>
    public static string Rounds(ReportContent run)
    {
        string[] heads =
        [
            "round", "trained", "late", "failed", "refused", "training loss", "mean score", "agreement", "sent", "time", "waited",
            "closed by",
        ];
        var html = new StringBuilder(Head("Rounds", [.. heads, "manifest"], textColumns: 0));
        foreach (var (round, few) in run.Rounds.Zip(run.Aggregates))
        {
            var selected = round.Clients.Count(
                static client => client.Outcome is not (ClientOutcome.NotSelected or ClientOutcome.Quarantined));
            var trained = round.Round == 0 ? Words.None
                : FormattableString.Invariant(
                    $"{Outcomes(round, ClientOutcome.Trained)} of {(selected == 0 ? run.Plan.Clients.Count : selected)}");
            html.Append(Row([
                Cell.Count(round.Round), new(trained),
                Cell.Count(Outcomes(round, ClientOutcome.Late)), Cell.Count(Outcomes(round, ClientOutcome.Failed)),
                Cell.Count(Outcomes(round, ClientOutcome.Refused)),
                new(Words.Loss(round.MeanLoss) + LeftOut(round.MeanLossLeftOut), round.MeanLoss),
                new(Words.Score(round.MeanScore) + LeftOut(round.MeanScore is null ? 0 : round.MeanScoreLeftOut), round.MeanScore),
                new(Words.Number(round.Coherence, "0.000"), round.Coherence), new(Words.Bytes(round.UpdateBytes), round.UpdateBytes),
                Cell.Time(few.Seconds), Cell.Time(few.Timing?.Parts.TryGetValue(RoundTiming.Wait, out var waited) == true ? waited : null),
                new(few.Timing?.ClosedBy ?? Words.None),
            ], $"<td class=\"text\"><code title=\"{Markup.Escape(round.Sha256)}\">"
                + $"{Markup.Escape(round.Sha256.Length > 12 ? round.Sha256[..12] : round.Sha256)}</code></td>"));
        }

        return html.Append(Foot).ToString();
    }

    /// <summary>Gates that send nearly all to one head, of the last round of each client.</summary>
    public static string Gates(IReadOnlyList<RoundView> rounds) => Items("Gates that choose one head",
        rounds.SelectMany(static round => round.Clients).Where(static client => client.GateUse is not null)
            .GroupBy(static client => client.Client, StringComparer.Ordinal).Select(static client => client.MaxBy(static row => row.Round)!)
            .Where(static client => client.GateUse!.Collapsed > 0).OrderBy(static client => client.Client, StringComparer.Ordinal)
            .Select(static client => FormattableString.Invariant(
                $"{client.Client}, round {client.Round}: {client.GateUse!.Collapsed} of {client.GateUse.Layers} layers; at ")
                + FormattableString.Invariant($"{client.GateUse.Layer} head {client.GateUse.Head} is the first choice for ")
                + FormattableString.Invariant($"{100 * client.GateUse.Share:F0} % of the rows")));

    /// <summary>Why the states of tasks stayed as they were.</summary>
    public static string Kept(IReadOnlyList<RoundView> rounds) => Items("Tasks whose state stayed as it was",
        rounds.SelectMany(static round => round.Kept.Select(task => (round.Round, Task: task.Key, Why: task.Value)))
            .GroupBy(static one => (one.Task, one.Why)).OrderBy(static one => one.Key.Task, StringComparer.Ordinal)
            .Select(static one => $"{one.Key.Task}, {Words.Rounds([.. one.Select(static round => round.Round)])}: {one.Key.Why}"));

    private const string Foot = "</tbody>\n</table>\n</div>\n";

    private static string LeftOut(int count) => count == 0 ? "" : FormattableString.Invariant($" ({count} left out)");

    // Clients with their rounds; the first few, and how many more.
    private static string Who(IEnumerable<ClientRow> rows)
    {
        const int named = 5;
        var clients = rows.GroupBy(static row => row.Client, StringComparer.Ordinal)
            .Select(static client => $"{client.Key} ({Words.Rounds([.. client.Select(static row => row.Round)])})").ToList();
        return string.Join(", ", clients.Take(named)) + (clients.Count > named ? $" and {clients.Count - named} more" : "");
    }

    private static string Items(string title, IEnumerable<string> items)
    {
        var all = items.ToList();
        if (all.Count == 0) return "";
        var more = all.Count > MostItems ? $"<li>and {all.Count - MostItems} more</li>\n" : "";
        return $"<h2>{Markup.Escape(title)}</h2>\n<ul>\n"
            + $"{string.Concat(all.Take(MostItems).Select(static item => $"<li>{Markup.Escape(item)}</li>\n"))}{more}</ul>";
    }

    private static string Head(string title, IReadOnlyList<string> header, int textColumns) =>
        $"<h2>{Markup.Escape(title)}</h2>\n<div class=\"scroll\">\n<table>\n<thead><tr>"
        + string.Concat(header.Select((text, i) =>
            $"<th scope=\"col\"{(i < textColumns || text == "manifest" ? " class=\"text\"" : "")}>{Markup.Escape(text)}</th>"))
        + "</tr></thead>\n<tbody>\n";

    // The first cell names the row.
    private static string Row(IEnumerable<Cell> cells, string more = "") => $"<tr>{string.Concat(cells.Select(static (cell, column) =>
    {
        var (tag, scope) = column == 0 ? ("th", " scope=\"row\"") : ("td", "");
        var style = cell.Style is null ? "" : $" class=\"{cell.Style}\"";
        return $"<{tag}{scope}{style}{Exact.Attribute(cell.Value)}>{Markup.Escape(cell.Text)}</{tag}>";
    }))}{more}</tr>\n";

    private static int Outcomes(RoundView round, ClientOutcome outcome) =>
        round.Round == 0 ? 0 : round.Clients.Count(client => client.Outcome == outcome);

    private sealed record Cell(string Text, double? Value = null)
    {
        public string? Style { get; init; }

        public static Cell Name(string name) => new(name) { Style = "text" };

        public static Cell Word(string word) => new(word) { Style = "text" };

        public static Cell Count(int count) => new(count.ToString(CultureInfo.InvariantCulture));

        public static Cell Time(double? seconds) => new(Words.Seconds(seconds ?? 0), seconds) { Style = "time" };
    }
}
