using System.Globalization;
using System.Text;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>The page that names the runs of a server, each with its state in words and its report.</summary>
internal static class RunsPage
{
    /// <summary>The page; it asks for itself again every few seconds, without a script.</summary>
    public static string Of(IReadOnlyList<RunLine> runs)
    {
        var rows = runs.Aggregate(new StringBuilder(), static (text, run) => text.Append(CultureInfo.InvariantCulture, $"""
            <tr><td><a href="/v1/runs/{Markup.Escape(run.Run)}/report">{Markup.Escape(run.Run)}</a></td>
            <td>{Markup.Escape(run.Name)}</td><td>{Markup.Escape(Words.Named(run.Status))}</td>
            <td>{run.Committed}/{run.Rounds}</td><td>{Markup.Escape(run.Hold?.Text ?? run.Reason)}</td></tr>

            """));
        return $"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8" />
            <meta name="viewport" content="width=device-width, initial-scale=1" />
            <meta http-equiv="refresh" content="5" />
            <title>Runs - FedRLora</title>
            <style>
            {HtmlReport.Style}</style>
            </head>
            <body>
            <h1>Runs</h1>
            {(runs.Count == 0 ? "<p class=\"lead\">There is no run yet.</p>" : $"""
            <table>
            <thead><tr><th>run</th><th>plan</th><th>status</th><th>committed</th><th>waits for</th></tr></thead>
            <tbody>
            {rows}</tbody>
            </table>
            """)}
            </body>
            </html>
            """;
    }
}
