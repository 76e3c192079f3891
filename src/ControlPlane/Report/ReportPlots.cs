using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>The pictures of a run, by the panels that they stand in.</summary>
internal sealed record ReportPlots
{
    private const int MostClientCharts = 6, MostWithErrors = 4;

    private const string Across = "p10 to p90 of the clients";

    public required IReadOnlyList<Plot> Time { get; init; }

    public required IReadOnlyList<Plot> Curves { get; init; }

    public required IReadOnlyList<Plot> TaskByTask { get; init; }

    public required IReadOnlyList<Plot> Cells { get; init; }

    public required IReadOnlyList<Plot> Drift { get; init; }

    public required IReadOnlyList<Plot> ClientByClient { get; init; }

    /// <summary>Those that are files beside the report; each has another name.</summary>
    public IEnumerable<Plot> Files => ((IEnumerable<Plot>)[.. Time, .. Curves, .. Cells, .. Drift]).Where(static plot => !plot.IsEmpty);

    /// <summary>The pictures of a run; some may be empty.</summary>
    public static ReportPlots Of(ReportContent run)
    {
        var rounds = run.Rounds;
        return new()
        {
            Time = [new Timeline(run.Aggregates)],
            Curves = [.. Scores(run), .. Losses(run)],
            TaskByTask = run.LocalOnly.Count == 0 ? [] : Compared(run),
            Cells =
            [
                new Heatmap("heatmap", "training loss", rounds, static client => client.MeanLoss, Words.Loss,
                    byRatio: true),
                new Heatmap("heatmap-score", "score", RoundsWith(rounds, static client => client.Score), static client => client.Score,
                    Words.Score),
                new Heatmap("heatmap-seconds", "seconds", rounds, static client => client.ClientSeconds,
                    static seconds => Words.Seconds(seconds ?? 0), byRatio: true),
            ],
            Drift = [.. Drifts(run)],
            ClientByClient = Clients(rounds),
        };
    }

    private static IEnumerable<Plot> Scores(ReportContent run)
    {
        var scored = run.Aggregates.Zip(run.Rounds).Where(static round => round.First.Score?.Mean is not null).ToList();
        if (scored.Count > 0)
        {
            var several = scored.Max(static round => round.First.Score!.N) > 1;
            yield return Spreads("score", $"Score ({scored[^1].First.Metric}), all clients", several,
                [.. scored.Select(static round => (round.First.Round, round.First.Score!, round.Second.MeanScore))],
                Known(run.LocalOnly.Select(static round => (round.Round, round.MeanScore))), run.Final.Mean.StandardError)
                with
            {
                Baseline = run.Final.Mean.Base, BaselineName = run.Final.Mean.Base is null ? null : "base: the frozen model",
            };
        }

        var number = scored.Count > 0 ? 1 : 0; // where clients have several metrics, the first is the picture of the run
        foreach (var metric in run.Rounds.SelectMany(static round => round.Tasks).Select(static task => task.Metric)
            .OfType<string>().Distinct())
        {
            Series[] series = [.. Tasks(run.Rounds).Select(task => Points(
                task, run.Rounds, view => view.Metric == metric ? view.Score : null,
                static view => view.Compared.Select(static client => client.Score)) with
            {
                Baseline = Majority(task, run.Rounds, metric),
                Errors = Errors(task, run.Rounds, metric),
            }).Where(static s => s.Points.Count > 0)];
            if (series.Length > MostWithErrors) series = [.. series.Select(static one => one with { Errors = [] })];
            yield return TaskChart(number++ switch { 0 => "score", 1 => "score-by-task", var n => $"score-by-task-{n}" },
                $"Score ({metric}), by task", series) with
            {
                BaselineName = series.Any(static s => s.Baseline is not null) ? "majority class" : null,
            };
        }
    }

    private static IEnumerable<Plot> Losses(ReportContent run)
    {
        var trained = run.Aggregates.Zip(run.Rounds).Where(static round => round.First.Loss.Mean is not null).ToList();
        if (trained.Count > 0)
        {
            yield return Spreads("loss", "Training loss per token, all clients", trained.Max(static round => round.First.Loss.N) > 1,
                [.. trained.Select(static round => (round.First.Round, round.First.Loss, round.Second.MeanLoss))],
                Known(run.LocalOnly.Select(static round => (round.Round, round.MeanLoss))), null);
        }

        yield return TaskChart("heldout-loss", "Held-out loss per token, by task", Tasks(run.Rounds).Select(task => Points(
            task, run.Rounds, static view => view.TestLoss, static view => view.Members.Select(static client => client.TestLoss))));
        yield return TaskChart("loss-by-task", "Training loss per token, by task", Tasks(run.Rounds).Select(task => Points(
            task, run.Rounds, static view => view.MeanLoss, static view => view.Members.Select(static client => client.MeanLoss))));
    }

    private static IEnumerable<Plot> Drifts(ReportContent run)
    {
        yield return new LineChart("bytes", "Bytes sent by clients, per round", [new("bytes",
            [.. run.Rounds.Where(static round => round.Round > 0).Select(static round => (round.Round, (double)round.UpdateBytes))])])
        {
            FromZero = true,
            Format = static bytes => Words.Bytes((long)bytes),
        };
        yield return new LineChart("agreement", "Agreement of the clients' updates (1: all in one direction)", [new("agreement",
            Known(run.Rounds.Select(static round => (round.Round, round.Coherence))))])
        {
            FromZero = true,
        };
        var norms = run.Aggregates.Where(static round => round.Norm.Mean is not null).ToList();
        if (norms.Count > 0)
        {
            yield return Spreads("norms", "Norm of the clients' updates", norms.Max(static round => round.Norm.N) > 1,
                [.. norms.Select(static round => (round.Round, round.Norm, round.Norm.Mean))], [], null);
        }
    }

    // A mean with the band of its clients.
    private static LineChart Spreads(
        string name, string title, bool several, IReadOnlyList<(int Round, Spread Of, double? Mean)> rounds,
        List<(int Round, double Value)> alone, double? lastError)
    {
        var leftOut = rounds.Where(static round => round.Of.LeftOut > 0).Select(static round => round.Round).ToList();
        var (last, mean) = (rounds[^1].Round, rounds[^1].Mean);
        return new(name, title,
        [
            new("mean over clients", Known(rounds.Select(static round => (round.Round, round.Mean))))
            {
                Style = "s0",
                Band = several ? [.. rounds.Select(static round => (round.Round, round.Of.P10!.Value, round.Of.P90!.Value))] : [],
                Errors = mean is { } value && lastError is { } error ? [(last, value, error)] : [],
            },
            .. several ? (Series[])
            [
                new("median", Known(rounds.Select(static round => (round.Round, round.Of.Median)))) { Style = "s2 dashed" },
                new("worst client", Known(rounds.Select(static round => (round.Round, round.Of.Worst)))) { Style = "s1 dotted" },
            ] : [],
            .. alone.Count == 0 ? [] : (Series[])[new("local only, mean over clients", alone) { Style = "s3" }],
        ])
        {
            BandName = several ? Across : null,
            Note = leftOut.Count == 0 ? null : $"Some clients of the cohort have no number and are left out: {Words.Rounds(leftOut)}.",
        };
    }

    private static LineChart TaskChart(string name, string title, IEnumerable<Series> tasks)
    {
        var all = tasks.ToList();
        var some = all.Count > LineChart.MostTold ? $", the first {LineChart.MostTold} of {all.Count} tasks" : "";
        return new(name, title + some, [.. all.Take(LineChart.MostTold)])
        {
            BandName = "from the lowest to the highest of a task's clients; lines are their means",
        };
    }

    // Of tasks with several clients: their means are above.
    private static List<Plot> Clients(IReadOnlyList<RoundView> rounds) =>
    [
        .. rounds.SelectMany(static round => round.Tasks).GroupBy(static view => view.Task)
            .Where(static task => task.Max(static view => view.Clients) > 1).Take(MostClientCharts)
            .Select(static task => ByClient(task.Key, [.. task])),
    ];

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
        return new("", title, [.. clients.Take(LineChart.MostTold)]);
    }

    private static List<Plot> Compared(ReportContent run) =>
    [
        .. Tasks(run.Rounds).Take(LineChart.MostTold).Select(task =>
        {
            var metric = run.Rounds.SelectMany(static round => round.Tasks)
                .FirstOrDefault(view => view.Task == task && view.Metric is not null)?.Metric ?? "";
            var majority = Majority(task, run.Rounds, metric);
            return new LineChart("", $"{task} ({metric})",
            [
                Points(task, run.Rounds, static view => view.Score) with
                {
                    Name = "federated", Errors = Errors(task, run.Rounds, metric),
                },
                Points(task, run.LocalOnly, static view => view.Score) with
                {
                    Name = "local only", Errors = Errors(task, run.LocalOnly, metric),
                },
            ]) { Baseline = majority, BaselineName = majority is null ? null : "majority class" };
        }),
    ];

    private static List<string> Tasks(IReadOnlyList<RoundView> rounds) =>
        [.. rounds.SelectMany(static round => round.Tasks).Select(static task => task.Task).Distinct()];

    private static IReadOnlyList<RoundView> RoundsWith(IReadOnlyList<RoundView> rounds, Func<ClientRow, double?> value) =>
        [.. rounds.Where(round => round.Clients.Any(client => value(client) is not null))];

    private static Series Points(
        string task, IReadOnlyList<RoundView> rounds, Func<TaskView, double?> value,
        Func<TaskView, IEnumerable<double?>>? ofClients = null)
    {
        var views = ViewsOf(task, rounds).ToList();
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

    private static List<(int Round, double Value, double Error)> Errors(string task, IReadOnlyList<RoundView> rounds, string metric) =>
    [
        .. ViewsOf(task, rounds)
            .Where(point => point.View.Metric == metric && point.View is { Score: not null, StandardError: not null })
            .Select(static point => (point.Round, point.View.Score!.Value, point.View.StandardError!.Value)),
    ];

    private static IEnumerable<(int Round, TaskView View)> ViewsOf(string task, IReadOnlyList<RoundView> rounds) =>
        rounds.SelectMany(round => round.Tasks.Where(view => view.Task == task).Select(view => (round.Round, View: view)));

    private static List<(int Round, double Value)> Known(IEnumerable<(int Round, double? Value)> points) =>
        [.. points.Where(static point => point.Value is not null).Select(static point => (point.Round, point.Value!.Value))];

    /// <summary>Only an accuracy or an exact match can be compared with a constant answer.</summary>
    private static double? Majority(string task, IReadOnlyList<RoundView> rounds, string metric) =>
        metric == "perplexity" ? null
            : ViewsOf(task, rounds).LastOrDefault(static one => one.View.MajorityShare is not null).View?.MajorityShare;
}
