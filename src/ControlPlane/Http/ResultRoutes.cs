using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Events;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Report;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Silos;
using FedRLora.Grains.Upkeep;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace FedRLora.ControlPlane.Http;

/// <summary>
/// What a run has made so far: its report, its metrics, how it stands beside its reference, and whether all of it is there.
/// </summary>
internal static class ResultRoutes
{
    private const string Csv = "text/csv", Lines = "application/jsonl", Html = "text/html";

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.Report, ReportAsync).Produces<string>(contentType: Html).ProducesOfRun();
        routes.Map(Routes.RunMetrics, MetricsAsync).Produces<string>(contentType: Csv).ProducesOfRun();
        routes.Map(Routes.Result, static async (
            string run, RunCalls runs, RunFeeds feeds, ControlServices silo, CancellationToken token) =>
            Results.Ok(await RunResults.OutcomeAsync(runs, feeds, silo.Sites, RunCalls.Named(run), token)))
            .Produces<ResultView>().ProducesOfRun();
        routes.Map(Routes.LocalOnly, LocalOnlyAsync).Produces<LocalOnlyView>().ProducesOfRun();
        routes.Map(Routes.Compare, CompareAsync).Produces<Comparison>().ProducesOfRun()
            .Produces<Problem>(StatusCodes.Status400BadRequest);
        routes.Map(Routes.Verify, VerifyAsync).Produces<VerificationView>().ProducesOfRun();
    }

    private static RouteHandlerBuilder ProducesOfRun(this RouteHandlerBuilder route) =>
        route.Produces<Problem>(StatusCodes.Status404NotFound).Produces<Problem>(StatusCodes.Status503ServiceUnavailable);

    private static async Task<IResult> ReportAsync(
        string run, RunCalls runs, ControlServices silo, LiveSilos live, TimeProvider time, CancellationToken token)
    {
        var results = await LoadAsync(run, runs, silo, token);
        var facts = new ReportFacts(
            time.GetUtcNow(), ReportFacts.VersionOf(typeof(ResultRoutes)), live.Now.Count, BytesOf: silo.BytesOf?.Invoke(results.Plan));
        var html = HtmlReport.Render(results.Plan, results.Rounds, results.LocalOnly, results.PlanYaml, facts, results.VersusLocal);
        return Results.Text(html, Html, Encoding.UTF8);
    }

    // Of the run's own rounds; those of its reference are asked for by its own name.
    private static async Task<IResult> MetricsAsync(
        string run, RunCalls runs, ControlServices silo, CancellationToken token, string format = "csv", string by = "client")
    {
        if ((format, by) is not ("csv", "client" or "task") and not ("jsonl", "client"))
            throw new BadInputException("format and by: give csv by client or task, or jsonl");
        var results = await LoadAsync(run, runs, silo, token);
        var views = results.Rounds.Select(round => RoundView.Of(round, results.Plan)).ToList();
        return (format, by) switch
        {
            ("csv", "task") => Results.Text(MetricsText.TaskCsv(views), Csv, Encoding.UTF8),
            ("csv", _) => Results.Text(MetricsText.Csv(views), Csv, Encoding.UTF8),
            _ => Results.Text(string.Concat(views.Select(static view => MetricsText.JsonLine(view) + "\n")), Lines, Encoding.UTF8),
        };
    }

    private static async Task<IResult> LocalOnlyAsync(string run, RunCalls runs, ControlServices silo, CancellationToken token)
    {
        var results = await LoadAsync(run, runs, silo, token);
        await using var leftOut = await silo.Stores.Job.OpenAsync(Keys.NoReference(run), token);
        return Results.Ok(new LocalOnlyView(
            Json.Schema, run, results.LocalOnly is null ? null : LocalOnlyRun.Of(run),
            results.VersusLocal ?? new Dictionary<string, ScoreComparison>(),
            results.Missing, leftOut is not null));
    }

    private static async Task<IResult> CompareAsync(string[] run, RunCalls runs, ControlServices silo, CancellationToken token)
    {
        if (run.Length is < 2 or > Comparison.Most) throw new BadInputException($"run: name from 2 to {Comparison.Most} runs");
        if (run.Distinct(StringComparer.Ordinal).Count() < run.Length) throw new BadInputException("run: a run is named twice");
        var compared = new List<ComparedRun>();
        foreach (var name in run)
        {
            var results = await RunResults.LoadAloneAsync(runs, name, token);
            var (versus, missing) = compared.Count == 0
                ? (null, null)
                : await results.CompareAsync(silo.Sites, run[0], token);
            compared.Add(new(name, results.PlanYaml, results.Plan, results.Rounds, versus, missing));
        }

        return Results.Ok(Comparison.Of(compared));
    }

    private static async Task<IResult> VerifyAsync(string run, ControlServices silo, CancellationToken token)
    {
        return Results.Ok(VerificationView.Of(
            run, await silo.Verification.VerifyAsync(RunCalls.Named(run), token) ?? throw new NoSuchRunException(run)));
    }

    private static async Task<RunResults> LoadAsync(string run, RunCalls runs, ControlServices silo, CancellationToken token) =>
        await RunResults.LoadAsync(runs, silo.Sites, run, token);
}
