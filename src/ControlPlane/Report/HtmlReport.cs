using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>
/// <c>report.html</c>: one file that needs nothing else, for a browser without a network and for paper. Its panels are the wall's, in the
/// wall's order.
/// </summary>
internal static class HtmlReport
{
    /// <inheritdoc cref="ReportContent.Of"/>
    public static string Render(
        FederationPlan plan, IReadOnlyList<RoundSummary> federated, IReadOnlyList<RoundSummary>? localOnly,
        string planYaml, ReportFacts facts, IReadOnlyDictionary<string, ScoreComparison>? versusLocal = null) =>
        Render(ReportContent.Of(plan, federated, localOnly, planYaml, facts, versusLocal));

    /// <summary>The report.</summary>
    public static string Render(ReportContent run)
    {
        var plots = run.Plots;
        return $"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8" />
            <meta name="viewport" content="width=device-width, initial-scale=1" />
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:" />
            <title>{Markup.Escape(run.Plan.Name)} - FedRLora</title>
            <style>
            {ReportStyle.OfReport}</style>
            </head>
            <body>
            <h1>{Markup.Escape(run.Plan.Name)}</h1>
            <p class="lead">{Lead(run)}</p>
            {Facts(run)}
            {ReportTables.Outcome(run.Final)}
            {Figures("Time of rounds", plots.Time, TimeNote(run))}
            {Figures("Score and loss", plots.Curves)}
            {Figures("Task by task: federated and local only", plots.TaskByTask)}
            {Figures("Clients by round", plots.Cells)}
            {ReportTables.Stragglers(run)}
            {ReportTables.Troubles(run.Rounds)}
            {ReportTables.NotFinite(run.Rounds)}
            {ReportTables.Traffic(run.Aggregates)}
            {Figures("Bytes and drift", plots.Drift)}
            {Clients(plots.ClientByClient)}
            {ReportTables.Rounds(run)}
            {ReportTables.Kept(run.Rounds)}
            {ReportTables.Gates(run.Rounds)}
            <details open="open">
            <summary>Plan</summary>
            <pre><code>{Markup.Escape(run.PlanYaml)}</code></pre>
            </details>
            </body>
            </html>

            """.ReplaceLineEndings("\n");
    }

    private static string Lead(ReportContent run)
    {
        var (plan, committed) = (run.Plan, run.Rounds.Count(static round => round.Round > 0));
        var sites = plan.Clients.Select(static client => client.Site).Distinct().Count();
        return $"{Markup.Escape(plan.Adapter.Method)} on {Markup.Escape(plan.Model.Path)}: "
            + $"{Words.Count(plan.Clients.Count, "client")} at {Words.Count(sites, "site")}, "
            + $"{committed} of {Words.Count(plan.Strategy.Rounds, "round")} committed.";
    }

    private static string Facts(ReportContent run)
    {
        var (plan, rounds, report) = (run.Plan, run.Rounds, run.Facts);
        var (adapter, tensors) = (plan.Adapter, TensorUse.Of(plan.Adapter, report.BytesOf));
        var (sent, seconds) = (rounds.Sum(static round => round.UpdateBytes), rounds.Sum(static round => round.Seconds));
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
            ("sent by clients", Words.Bytes(sent), null),
            ("time in rounds", Words.Seconds(seconds), null),
            ("written", report.Written.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture), null),
            ("version", report.Version, null),
            ("hosts", Invariant(report.Hosts), null),
            .. report.ForkedFrom is { } parent ? [("forked from", parent, null)] : (ReadOnlySpan<(string, string, string?)>)[],
            .. run.Last is { Manifest.Engine: { } engine }
                ? [("engine", engine, "code")]
                : (ReadOnlySpan<(string, string, string?)>)[],
            .. run.Last is not { } last ? [] : (ReadOnlySpan<(string, string, string?)>)
            [
                ("digest of the run (its last round manifest)", last.ManifestSha256, "code"),
                ("digest of the plan", last.Manifest.PlanSha256, "code"),
            ],
        ];
        return $"<dl>\n{string.Concat(facts.Select(fact =>
        {
            var (wide, style) = fact.Style is null ? ("", "") : (" class=\"wide\"", $" class=\"{fact.Style}\"");
            var exact = Exact.Attribute(fact.Term switch { "sent by clients" => sent, "time in rounds" => seconds, _ => null });
            return $"<div{wide}><dt>{Markup.Escape(fact.Term)}</dt><dd{style}{exact}>{Markup.Escape(fact.Text)}</dd></div>\n";
        }))}</dl>";
    }

    private static string? TimeNote(ReportContent run) => run.Aggregates.Any(static round => round.Timing is not null) ? null
        : run.Aggregates.Any(static round => round.Seconds is not null) ? "What rounds took their time for was not written down."
        : run.Aggregates.Count == 0 ? null : "The time of rounds was not measured.";

    private static string Figures(string title, IReadOnlyList<Plot> plots, string? note = null)
    {
        var html = string.Concat(plots.Select(static plot => plot.ToHtml()));
        if (html.Length == 0 && note is null) return "";
        return $"<h2>{Markup.Escape(title)}</h2>\n{(html.Length == 0 ? "" : $"<div class=\"charts\">\n{html}</div>")}"
            + (note is null ? "" : $"<p class=\"note\">{Markup.Escape(note)}</p>");
    }

    private static string Clients(IReadOnlyList<Plot> plots) => plots.Count == 0
        ? ""
        : "<details>\n<summary>Client by client</summary>\n<div class=\"charts\">\n"
            + $"{string.Concat(plots.Select(static plot => plot.ToHtml()))}</div>\n</details>";

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    private static string Invariant(double value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Invariant(int value) => value.ToString(CultureInfo.InvariantCulture);
}
