using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Events;
using FedRLora.ControlPlane.Views;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace FedRLora.ControlPlane.Http;

/// <summary>What pictures of a whole run are made of: every client, or some tasks, in every committed round.</summary>
internal static class PictureRoutes
{
    private const int MostTasks = 32;

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.Grid, GridAsync).Produces<GridView>()
            .Produces<Problem>(StatusCodes.Status400BadRequest).Produces<Problem>(StatusCodes.Status404NotFound);
        routes.Map(Routes.Tasks, TasksAsync).Produces<TaskHistories>()
            .Produces<Problem>(StatusCodes.Status400BadRequest).Produces<Problem>(StatusCodes.Status404NotFound);
        routes.Map(Routes.Stragglers, static async (string run, RunFeeds feeds, CancellationToken token) =>
        {
            var columns = await feeds.ColumnsAsync(RunCalls.Named(run), token);
            var rounds = (await feeds.ViewAsync(run, token)).Rounds;
            return Results.Ok(StragglersView.From(run, columns, rounds));
        }).Produces<StragglersView>().Produces<Problem>(StatusCodes.Status404NotFound);
        routes.Map(Routes.ClientRounds, ClientRoundsAsync).Produces<ClientRounds>().Produces<Problem>(StatusCodes.Status404NotFound);
    }

    private static async Task<IResult> GridAsync(
        string run, RunFeeds feeds, CancellationToken token, string value = "loss", int after = -1)
    {
        GridValue of = value switch
        {
            "loss" => GridValue.Loss, "score" => GridValue.Score, "seconds" => GridValue.Seconds,
            _ => throw new BadInputException($"value: '{BadInputException.Shown(value)}' is none; give loss, score or seconds"),
        };
        return Results.Ok((await feeds.ColumnsAsync(RunCalls.Named(run), token)).Grid(run, of, after));
    }

    private static async Task<IResult> TasksAsync(string run, string[] task, RunFeeds feeds, CancellationToken token, int after = -1)
    {
        string[] named = [.. task.Distinct(StringComparer.Ordinal)];
        if (named.Length is 0 or > MostTasks)
            throw new BadInputException($"task: {named.Length} tasks are named; give from 1 to {MostTasks}, as ?task=A&task=B");
        var columns = await feeds.ColumnsAsync(RunCalls.Named(run), token);
        return Results.Ok(new TaskHistories(Json.Schema, run, [.. named.Select(one => columns.Task(one, after)
            ?? throw new NoSuchThingException($"task: run {run} has no task {BadInputException.Shown(one)}"))]));
    }

    // Message by message: the rounds of a large run are more than anybody needs to have at once.
    private static async Task<IResult> ClientRoundsAsync(string run, string client, RunCalls runs, CancellationToken token, int after = -1)
    {
        var plan = PlanReader.Require(await runs.PlanAsync(run, token), run);
        var spec = plan.Clients.FirstOrDefault(one => one.Id == client)
            ?? throw new NoSuchThingException($"client: run {run} has no client {BadInputException.Shown(client)}");
        var rows = new List<ClientRow>();
        await foreach (var round in runs.RoundsAsync(run, after, token))
        {
            if (RoundView.RowOf(round, spec) is { } row) rows.Add(row);
        }

        return Results.Ok(new ClientRounds(Json.Schema, run, client, spec.Task, spec.Site, rows));
    }
}
