using System.Globalization;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace FedRLora.ControlPlane.Http;

/// <summary>Runs: which there are, how one begins, and how it is steered.</summary>
internal static class RunRoutes
{
    private const int NoRounds = int.MaxValue - 1, MostRounds = 100_000;
    private static readonly TimeSpan TakenWithin = TimeSpan.FromSeconds(2), AskEvery = TimeSpan.FromMilliseconds(50);

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.ListRuns, static async (RunCalls runs, CancellationToken token) =>
            Results.Ok(new RunList(Json.Schema, [.. (await runs.ListAsync(token)).Select(RunLine.Of)]))).Produces<RunList>();
        routes.Map(Routes.Submit, SubmitAsync).Produces<Steered>(StatusCodes.Status201Created)
            .Produces<Problem>(StatusCodes.Status400BadRequest);
        routes.Map(Routes.Plan, async (string run, RunCalls runs, CancellationToken token) =>
            Results.Text(await runs.PlanAsync(run, token), "application/yaml", Encoding.UTF8))
            .Produces<string>(contentType: "application/yaml");
        Steer(routes, Routes.Pause,
            static (NothingSaid _, IRunControlGrain run, CancellationToken token) => run.PauseAsync(token), stops: true);
        Steer(routes, Routes.Cancel,
            static (NothingSaid _, IRunControlGrain run, CancellationToken token) => run.CancelAsync(token), stops: true);
        Steer(routes, Routes.Resume, static (ResumeBody body, IRunControlGrain run, CancellationToken token) =>
            run.ResumeAsync(body.AllowEngineChange, body.AllowDataChange, token));
        routes.Map(Routes.Extend, static async (string run, ExtendBody body, RunCalls runs, CancellationToken token) =>
        {
            runs.RequireMany();
            if (body.Rounds is < 1 or > MostRounds) throw new BadInputException($"rounds: {body.Rounds} is not from 1 to {MostRounds}");
            var plan = await runs.PlanAsync(run, token);
            await runs.SteerAsync(run, control => ExtendAsync(body, plan, control, token), token);
            return Results.Ok(await SteeredAsync(run, runs, token));
        }).Produces<Steered>().Produces<Problem>(StatusCodes.Status404NotFound).Produces<Problem>(StatusCodes.Status409Conflict);
        routes.Map(Routes.Fork, ForkAsync).Produces<Steered>(StatusCodes.Status201Created)
            .Produces<Problem>(StatusCodes.Status400BadRequest).Produces<Problem>(StatusCodes.Status404NotFound);
        routes.Map(Routes.Rounds, RoundsAsync).Produces<string>(contentType: "application/jsonl")
            .Produces<Problem>(StatusCodes.Status404NotFound);
    }

    private static async Task<IResult> SubmitAsync(SubmitBody body, RunCalls runs, CancellationToken token)
    {
        runs.RequireMany();
        var plan = PlanReader.Require(body.Plan, "plan");
        var run = Identifiers.Check("run", body.Run ?? plan.Name);
        await runs.Control(run).SubmitAsync(body.Plan, body.LocalOnly, token);
        return Results.Created($"/v1/runs/{run}", await SteeredAsync(run, runs, token));
    }

    private static Task ExtendAsync(ExtendBody body, string plan, IRunControlGrain run, CancellationToken token)
    {
        var rounds = body.Rounds.ToString(CultureInfo.InvariantCulture);
        return run.ExtendAsync(PlanEdit.Require(plan, "strategy.rounds", rounds, "plan"), body.AllowDataChange, token);
    }

    private static async Task<IResult> ForkAsync(string run, ForkBody body, RunCalls runs, CancellationToken token)
    {
        runs.RequireMany();
        var (stored, target) = (await runs.PlanAsync(run, token), Identifiers.Check("run", body.Run));
        if (target == run) throw new BadInputException($"run: {run} is the run to begin from; give another name");
        Bodies.RequireTexts("set", body.Set);
        var plan = (body.Set ?? []).Aggregate(
            body.Plan ?? stored, static (yaml, assignment) => PlanEdit.Assign(yaml, assignment, "plan"));
        _ = PlanReader.Require(plan, "plan");
        await runs.Control(target).ForkAsync(run, body.Round, plan, body.AllowDataChange, token);
        return Results.Created($"/v1/runs/{target}", await SteeredAsync(target, runs, token));
    }

    private static void Steer<T>(
        IEndpointRouteBuilder routes, ControlRoute route, Func<T, IRunControlGrain, CancellationToken, Task> call, bool stops = false) =>
        routes.Map(route, async (string run, T body, RunCalls runs, TimeProvider time, CancellationToken token) =>
        {
            await runs.SteerAsync(run, control => call(body, control, token), token);
            var since = time.GetTimestamp(); // the run takes it at its next event, and its answer should say so
            while (stops && time.GetElapsedTime(since) < TakenWithin
                && (await runs.ProgressAsync(run, NoRounds, token)).Status == JobStatus.Running)
                await Task.Delay(AskEvery, time, token);
            return Results.Ok(await SteeredAsync(run, runs, token));
        }).Produces<Steered>().Produces<Problem>(StatusCodes.Status404NotFound).Produces<Problem>(StatusCodes.Status409Conflict);

    // Manifests as they are stored, so that whoever reads them can check their digests.
    private static async Task RoundsAsync(string run, RunCalls runs, HttpContext context, int after = -1)
    {
        var token = context.RequestAborted;
        if (after < -1) throw new BadInputException("after: give -1, for all rounds, or a round");
        var rounds = await runs.RoundsAsync(run, after, token).AsBegunAsync(token);
        context.Response.ContentType = "application/jsonl; charset=utf-8";
        await foreach (var round in rounds) await context.Response.BodyWriter.WriteAsync(RoundLine.Of(round), token);
    }

    private static async Task<Steered> SteeredAsync(string run, RunCalls runs, CancellationToken token)
    {
        var progress = await runs.ProgressAsync(run, NoRounds, token);
        return new(Json.Schema, run, StatusName(progress.Status), [.. progress.AbsentSites.Select(static hold => hold.Text)]);
    }

    private static string StatusName(JobStatus status) => status.ToString().ToLowerInvariant();
}
