using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary><c>report.html</c>: one file that needs nothing else, for a browser without a network.</summary>
internal static class HtmlReport
{
    /// <summary>The style sheet of every page.</summary>
    public static string Style { get; } = ReadStyle();

    /// <summary>The report.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="federated">The run's rounds, with round 0.</param>
    /// <param name="localOnly">Rounds of the run that shared nothing; null if there was none.</param>
    /// <param name="planYaml">The plan as it was written.</param>
    /// <param name="facts">How the report came about.</param>
    /// <param name="versusLocal">The last scores beside those of the local-only run, where their rows are known.</param>
    public static string Render(
        FederationPlan plan, IReadOnlyList<RoundSummary> federated, IReadOnlyList<RoundSummary>? localOnly,
        string planYaml, ReportFacts facts, IReadOnlyDictionary<string, ScoreComparison>? versusLocal = null)
    {
        var rounds = federated.Select(round => RoundView.Of(round, plan)).ToList();
        var local = localOnly?.Select(round => RoundView.Of(round, plan)).ToList() ?? [];
        return $"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8" />
            <meta name="viewport" content="width=device-width, initial-scale=1" />
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
            <title>{Markup.Escape(plan.Name)} - FedRLora</title>
            <style>
            {Style}</style>
            </head>
            <body>
            <h1>{Markup.Escape(plan.Name)}</h1>
            <p class="lead">{Lead(plan, rounds)}</p>
            {Facts(plan, federated, rounds, facts)}
            {Outcome(FinalTable.Of(plan, federated, localOnly, versusLocal))}
            {Charts("Over the rounds", Overview(rounds))}
            {Charts("Task by task: federated and local only", local.Count == 0 ? [] : TaskByTask(rounds, local))}
            {ClientByClient(rounds)}
            {Rounds(plan, rounds)}
            {Troubles(rounds)}
            {Kept(rounds)}
            {Gates(rounds)}
            <details open="open">
            <summary>Plan</summary>
            <pre><code>{Markup.Escape(planYaml)}</code></pre>
            </details>
            </body>
            </html>

            """.ReplaceLineEndings("\n");
    }

    private static string Lead(FederationPlan plan, List<RoundView> rounds)
    {
        var sites = plan.Clients.Select(static client => client.Site).Distinct().Count();
        return $"{Markup.Escape(plan.Adapter.Method)} on {Markup.Escape(plan.Model.Path)}: "
            + $"{Words.Count(plan.Clients.Count, "client")} at {Words.Count(sites, "site")}, " +
            $"{rounds.Count(static round => round.Round > 0)} of {Words.Count(plan.Strategy.Rounds, "round")} committed.";
    }

    private static string Facts(FederationPlan plan, IReadOnlyList<RoundSummary> federated, List<RoundView> rounds, ReportFacts report)
    {
        var (adapter, tensors) = (plan.Adapter, TensorUse.Of(plan.Adapter, report.BytesOf));
        var dropout = adapter.Dropout.Site == DropoutSite.None ? "none"
            : $"{Words.Named(adapter.Dropout.Site)} {Invariant(adapter.Dropout.P)}";
        (string Term, string Text, string? Style)[] facts =
        [
            ("method", adapter.Method, null),
            ("model", plan.Model.Path, null),
            ("seed", plan.Seed.ToString(CultureInfo.InvariantCulture), null),
            ("clients", plan.Clients.Count.ToString(CultureInfo.InvariantCulture), null),
            ("tasks", plan.Clients.Select(static client => client.Task).Distinct().Count().ToString(CultureInfo.InvariantCulture), null),
            ("rounds", plan.Strategy.Rounds.ToString(CultureInfo.InvariantCulture), null),
            ("rank, heads", Invariant($"{adapter.Rank}, {adapter.Heads}"), null),
            ("alpha, scaling", Invariant($"{adapter.Alpha}, {Words.Named(adapter.Scaling)}"), null),
            ("received by", string.Join("; ", tensors.Select(static tensor => $"{tensor.Tensor}: {tensor.ReceivedBy}")), null),
            ("leaves the site", TensorUse.Leaving(tensors, plan), null),
            ("dropout", dropout, null),
            ("local steps, batch", Invariant($"{plan.Training.Steps}, {plan.Training.BatchSize}"), null),
            ("learning rate", Invariant(plan.Training.LearningRate), null),
            ("sent by clients", Words.Bytes(rounds.Sum(static round => round.UpdateBytes)), null),
            ("time in rounds", Words.Seconds(rounds.Sum(static round => round.Seconds)), null),
            ("written", report.Written.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture), null),
            ("version", report.Version, null),
            ("hosts", Invariant(report.Hosts), null),
            .. report.ForkedFrom is { } parent ? [("forked from", parent, null)] : (ReadOnlySpan<(string, string, string?)>)[],
            .. federated is [.., { Manifest.Engine: { } engine }]
                ? [("engine", engine, "code")]
                : (ReadOnlySpan<(string, string, string?)>)[],
            .. federated.Count == 0 ? [] : (ReadOnlySpan<(string, string, string?)>)
            [
                ("digest of the run (its last round manifest)", federated[^1].ManifestSha256, "code"),
                ("digest of the plan", federated[^1].Manifest.PlanSha256, "code"),
            ],
        ];
        return $"<dl>\n{string.Concat(facts.Select(static fact =>
        {
            var (wide, style) = fact.Style is null ? ("", "") : (" class=\"wide\"", $" class=\"{fact.Style}\"");
            return $"<div{wide}><dt>{Markup.Escape(fact.Term)}</dt><dd{style}>{Markup.Escape(fact.Text)}</dd></div>\n";
        }))}</dl>";
    }

    private static string Outcome(FinalTable table)
    {
        var html = new StringBuilder(Head(table.Title, table.Header, table.TextColumns));
        foreach (var row in table.Clients)
            html.Append(Row(row));
        html.Append("</tbody>\n");
        if (table.Clients.Count > 1)
            html.Append("<tfoot>\n").Append(Row(table.Mean)).Append("</tfoot>\n");
        html.Append("</table>\n</div>\n").Append(ByTask(table.Tasks)).Append("<p class=\"note\">base: the frozen model without an adapter. "
            + "s.e.: standard error over the test rows, of a difference paired row by row; "
            + $"{FinalTable.Noise} and grey: inside two of them, so that other rows might as well show no difference. ");
        if (table.ComparesToLocal)
            html.Append("local: the same client with the same budget and nothing shared. ");
        return html.Append("majority: what the best constant answer would score. sent: bytes of the client's updates in the whole run.</p>")
            .Append(Notes(table.Notes)).ToString();

        string Row(FinalRow row) => Cells(table.Cells(row), table.TextColumns,
            column => column == table.DifferenceColumn && row.Difference is { } difference ? (difference, row.IsNoise) : null, row.Metric);
    }

    private static string ByTask(TaskTable? tasks) => tasks is null
        ? ""
        : Head(tasks.Title, tasks.Header, tasks.TextColumns)
            + string.Concat(tasks.Rows.Select(
                row => Cells(tasks.Cells(row), tasks.TextColumns, column => tasks.DifferenceAt(row, column), row.Metric)))
            + $"</tbody>\n</table>\n</div>\n<p class=\"note\">{Markup.Escape(TaskTable.Caption)}.</p>\n";

    private static string Head(string title, IReadOnlyList<string> header, int textColumns) =>
        $"<h2>{Markup.Escape(title)}</h2>\n<div class=\"scroll\">\n<table>\n<thead><tr>"
        + string.Concat(header.Select((text, i) => $"<th{(i < textColumns ? " class=\"text\"" : "")}>{Markup.Escape(text)}</th>"))
        + "</tr></thead>\n<tbody>\n";

    // A row, with its differences in the colour of what they say.
    private static string Cells(
        IEnumerable<string> cells, int textColumns, Func<int, (double Value, bool IsNoise)?> differenceAt, string? metric)
    {
        return $"<tr>{string.Concat(cells.Select((cell, column) => $"<td{Class(column)}>{Markup.Escape(cell)}</td>"))}</tr>\n";

        string Class(int column)
        {
            if (column < textColumns) return " class=\"text\"";
            if (differenceAt(column) is not { } difference || Math.Abs(difference.Value) < 5e-4) return "";
            if (difference.IsNoise) return " class=\"noise\"";
            return difference.Value > 0 == (metric != "perplexity") ? " class=\"good\"" : " class=\"bad\"";
        }
    }

    private static string Notes(IReadOnlyList<string> notes) => notes.Count == 0
        ? ""
        : $"\n<ul class=\"note\">\n{string.Concat(notes.Select(static note => $"<li>{Markup.Escape(note)}</li>\n"))}</ul>";

    private static string Charts(string title, IReadOnlyList<LineChart> charts)
    {
        var html = string.Concat(charts.Select(static chart => chart.ToHtml()));
        return html.Length == 0 ? "" : $"<h2>{Markup.Escape(title)}</h2>\n<div class=\"charts\">\n{html}</div>";
    }

    private static List<LineChart> Overview(List<RoundView> rounds)
    {
        var tasks = TaskNames(rounds);
        var charts = new List<LineChart>
        {
            TaskChart("Held-out loss per token, by task", tasks.Select(task => Points(
                task, rounds, static view => view.TestLoss, static view => view.Members.Select(static client => client.TestLoss)))),
        };
        foreach (var metric in rounds.SelectMany(static round => round.Tasks).Select(static task => task.Metric)
            .OfType<string>().Distinct())
        {
            Series[] series = [.. tasks.Select(task => Points(
                task, rounds, view => view.Metric == metric ? view.Score : null,
                static view => view.Compared.Select(static client => client.Score)) with
            {
                Baseline = Majority(task, rounds, metric),
            }).Where(static s => s.Points.Count > 0)];
            charts.Add(TaskChart($"Score ({metric}), by task", series) with
            {
                BaselineName = series.Any(static s => s.Baseline is not null) ? "majority class" : null,
            });
        }

        charts.Add(TaskChart("Training loss per token, by task", tasks.Select(task => Points(
            task, rounds, static view => view.MeanLoss, static view => view.Members.Select(static client => client.MeanLoss)))));
        charts.Add(new("Bytes sent by clients, per round", [new("bytes",
            [.. rounds.Where(static round => round.Round > 0).Select(static round => (round.Round, (double)round.UpdateBytes))])])
        {
            FromZero = true,
            Format = static bytes => Words.Bytes((long)bytes),
        });
        if (rounds.Any(static round => round.Coherence is not null))
            charts.Add(new("Agreement of the clients' updates (1: all in one direction)", [new("agreement", [.. rounds.Where(
                static round => round.Coherence is not null).Select(static round => (round.Round, round.Coherence!.Value))])])
                {
                    FromZero = true,
                });
        return charts;
    }

    private static LineChart TaskChart(string title, IEnumerable<Series> tasks) =>
        new(title, [.. tasks]) { BandName = "from the lowest to the highest of a task's clients; lines are their means" };

    // Of tasks with several clients: their means are above.
    private static string ClientByClient(List<RoundView> rounds)
    {
        List<LineChart> charts = [.. rounds.SelectMany(static round => round.Tasks).GroupBy(static view => view.Task)
            .Where(static task => task.Max(static view => view.Clients) > 1).Select(static task => ByClient(task.Key, [.. task]))];
        return charts.Count == 0
            ? ""
            : "<details>\n<summary>Client by client</summary>\n<div class=\"charts\">\n"
                + $"{string.Concat(charts.Select(static chart => chart.ToHtml()))}</div>\n</details>";
    }

    private static LineChart ByClient(string task, List<TaskView> rounds)
    {
        var rows = rounds.SelectMany(static view => view.Members).ToList();
        var metrics = rows.Select(static client => client.Metric).OfType<string>().Distinct().Take(2).ToList();
        Func<ClientRow, double?> value = metrics.Count == 1 ? static client => client.Score : static client => client.TestLoss;
        var clients = rows.GroupBy(static client => client.Client, StringComparer.Ordinal)
            .Select(client => new Series(client.Key, Known(client.Select(row => (row.Round, value(row))))))
            .Where(static series => series.Points.Count > 0).ToList();
        var some = clients.Count > LineChart.MostTold ? $", the first {LineChart.MostTold} of {clients.Count} clients" : "";
        var title = $"{task} ({(metrics.Count == 1 ? metrics[0] : "held-out loss per token")}){some}";
        return new(title, [.. clients.Take(LineChart.MostTold)]);
    }

    private static List<LineChart> TaskByTask(List<RoundView> rounds, List<RoundView> local) =>
    [
        .. TaskNames(rounds).Select(task =>
        {
            var metric = rounds.SelectMany(static round => round.Tasks)
                .FirstOrDefault(view => view.Task == task && view.Metric is not null)?.Metric ?? "";
            var majority = Majority(task, rounds, metric);
            return new LineChart($"{task} ({metric})",
            [
                Points(task, rounds, static view => view.Score) with { Name = "federated" },
                Points(task, local, static view => view.Score) with { Name = "local only" },
            ]) { Baseline = majority, BaselineName = majority is null ? null : "majority class" };
        }),
    ];

    private static string Rounds(FederationPlan plan, List<RoundView> rounds)
    {
        string[] heads =
            ["round", "trained", "late", "failed", "refused", "training loss", "mean score", "agreement", "sent", "time"];
        var html = new StringBuilder("<h2>Rounds</h2>\n<div class=\"scroll\">\n<table>\n<thead><tr>")
            .AppendJoin("", heads.Select(static head => $"<th>{head}</th>"))
            .Append("<th class=\"text\">manifest</th></tr></thead>\n<tbody>\n");
        foreach (var round in rounds)
        {
            var selected = round.Clients.Count(
                static client => client.Outcome is not (ClientOutcome.NotSelected or ClientOutcome.Quarantined));
            string[] cells =
            [
                Invariant(round.Round), round.Round == 0
                    ? Words.None
                    : Invariant($"{Outcomes(round, ClientOutcome.Trained)} of {(selected == 0 ? plan.Clients.Count : selected)}"),
                Invariant(Outcomes(round, ClientOutcome.Late)), Invariant(Outcomes(round, ClientOutcome.Failed)),
                Invariant(Outcomes(round, ClientOutcome.Refused)), Words.Loss(round.MeanLoss), Words.Score(round.MeanScore),
                Words.Number(round.Coherence, "0.000"), Words.Bytes(round.UpdateBytes), Words.Seconds(round.Seconds),
            ];
            html.Append("<tr>").AppendJoin("", cells.Select(static cell => $"<td>{Markup.Escape(cell)}</td>"))
                .Append(CultureInfo.InvariantCulture, $"<td class=\"text\"><code title=\"{Markup.Escape(round.Sha256)}\">")
                .Append(Markup.Escape(round.Sha256.Length > 12 ? round.Sha256[..12] : round.Sha256)).Append("</code></td></tr>\n");
        }

        return html.Append("</tbody>\n</table>\n</div>").ToString();
    }

    private static string Troubles(List<RoundView> rounds)
    {
        var items = rounds.SelectMany(static round => round.Clients)
            .Where(static client => client.Trouble is not null)
            .Select(static client => $"<li>round {client.Round}, {Markup.Escape(client.Client)}: "
                + $"{client.Trouble}{(client.Reason is null ? "" : $", {Markup.Escape(client.Reason)}")}</li>\n")
            .ToList();
        return items.Count == 0
            ? ""
            : $"<h2>Clients that were late, failed, refused or in quarantine</h2>\n<ul>\n{string.Concat(items)}</ul>";
    }

    // Of the last round of each client, where a gate sends nearly all to one head.
    private static string Gates(List<RoundView> rounds)
    {
        var items = rounds.SelectMany(static round => round.Clients).Where(static client => client.GateUse is not null)
            .GroupBy(static client => client.Client, StringComparer.Ordinal).Select(static client => client.MaxBy(static row => row.Round)!)
            .Where(static client => client.GateUse!.Collapsed > 0).OrderBy(static client => client.Client, StringComparer.Ordinal)
            .Select(static client => Invariant($"<li>{Markup.Escape(client.Client)}, round {client.Round}: {client.GateUse!.Collapsed} of ")
                + Invariant($"{client.GateUse.Layers} layers; at {Markup.Escape(client.GateUse.Layer)} head {client.GateUse.Head} is the ")
                + Invariant($"first choice for {100 * client.GateUse.Share:F0} % of the rows</li>\n"))
            .ToList();
        return items.Count == 0 ? "" : $"<h2>Gates that choose one head</h2>\n<ul>\n{string.Concat(items)}</ul>";
    }

    private static string Kept(List<RoundView> rounds)
    {
        var items = rounds.SelectMany(static round => round.Kept.Select(task => (round.Round, Task: task.Key, Why: task.Value)))
            .GroupBy(static one => (one.Task, one.Why)).OrderBy(static one => one.Key.Task, StringComparer.Ordinal)
            .Select(static one => $"<li>{Markup.Escape(one.Key.Task)}, {(one.Count() == 1 ? "round" : "rounds")} "
                + $"{string.Join(", ", one.Select(static round => round.Round))}: {Markup.Escape(one.Key.Why)}</li>\n")
            .ToList();
        return items.Count == 0 ? "" : $"<h2>Tasks whose state stayed as it was</h2>\n<ul>\n{string.Concat(items)}</ul>";
    }

    private static List<string> TaskNames(List<RoundView> rounds) =>
        [.. rounds.SelectMany(static round => round.Tasks).Select(static task => task.Task).Distinct()];

    private static Series Points(
        string task, List<RoundView> rounds, Func<TaskView, double?> value, Func<TaskView, IEnumerable<double?>>? ofClients = null)
    {
        var views = rounds.SelectMany(round => round.Tasks.Where(view => view.Task == task).Select(view => (round.Round, View: view)))
            .ToList();
        return new(task, Known(views.Select(point => (point.Round, value(point.View)))))
        {
            Band = ofClients is null || views.All(static point => point.View.Clients < 2) ? [] :
            [
                .. views.Where(point => value(point.View) is not null)
                    .Select(point => (point.Round, Values: ofClients(point.View).OfType<double>().ToList()))
                    .Where(static point => point.Values.Count > 0)
                    .Select(static point => (point.Round, point.Values.Min(), point.Values.Max())),
            ],
        };
    }

    private static List<(int Round, double Value)> Known(IEnumerable<(int Round, double? Value)> points) =>
        [.. points.Where(static point => point.Value is not null).Select(static point => (point.Round, point.Value!.Value))];

    /// <summary>Only an accuracy or an exact match can be compared with a constant answer.</summary>
    private static double? Majority(string task, List<RoundView> rounds, string metric) =>
        metric == "perplexity" ? null : rounds.SelectMany(static round => round.Tasks)
            .LastOrDefault(view => view.Task == task && view.MajorityShare is not null)?.MajorityShare;

    private static int Outcomes(RoundView round, ClientOutcome outcome) =>
        round.Round == 0 ? 0 : round.Clients.Count(client => client.Outcome == outcome);

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    private static string Invariant(double value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Invariant(int value) => value.ToString(CultureInfo.InvariantCulture);

    private static string ReadStyle()
    {
        using var stream = typeof(HtmlReport).Assembly.GetManifestResourceStream("report.css")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
