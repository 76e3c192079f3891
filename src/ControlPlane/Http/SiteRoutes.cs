using System.Net.ServerSentEvents;
using System.Security.Claims;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Clients;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace FedRLora.ControlPlane.Http;

/// <summary>
/// What belongs to a site: adapters, scores of rows, points of steps, texts that its heads write. Each is made on a silo of the site and
/// streamed through this one, to those who may read that site.
/// </summary>
internal static class SiteRoutes
{
    private const string Tar = "application/x-tar", Lines = "application/jsonl";

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.Adapter, AdapterAsync).Produces<byte[]>(contentType: Tar).ProducesOfClient();
        routes.Map(Routes.RowScores, RowScoresAsync).Produces<RowScoresView>().ProducesOfClient();
        routes.Map(Routes.Steps, static (string run, string client, RunCalls runs, ControlServices silo, HttpContext context) =>
            FileAsync(run, client, runs, context, Lines, token => silo.Sites.StepsAsync(run, client, token)))
            .Produces<string>(contentType: Lines).ProducesOfClient();
        routes.Map(Routes.Generate, GenerateAsync).Produces<string>(contentType: "text/event-stream").ProducesOfClient();
        routes.Map(Routes.Evaluate, EvaluateAsync).Produces<RunEvaluation>().Produces<Problem>(StatusCodes.Status404NotFound);
    }

    private static RouteHandlerBuilder ProducesOfClient(this RouteHandlerBuilder route) =>
        route.Produces<Problem>(StatusCodes.Status404NotFound).Produces<Problem>(StatusCodes.Status503ServiceUnavailable);

    private static async Task AdapterAsync(
        string run, string client, RunCalls runs, ControlServices silo, HttpContext context, bool vllm = false, bool padRank = false,
        bool nearest = false)
    {
        var token = context.RequestAborted;
        await RequireAsync(run, client, runs, context.User, token);
        var pieces = await silo.Sites.ExportAsync(run, client, new FormAsked(nearest, vllm, padRank), token).AsBegunAsync(token);
        context.Response.ContentType = Tar;
        context.Response.Headers.ContentDisposition = $"attachment; filename=\"{run}-{client}.tar\"";
        await TarOfPieces.WriteAsync(pieces, context.Response.BodyWriter.AsStream(), token);
    }

    private static async Task<IResult> RowScoresAsync(
        string run, string client, RunCalls runs, ControlServices silo, ClaimsPrincipal user, CancellationToken token)
    {
        await RequireAsync(run, client, runs, user, token);
        using var kept = new MemoryStream();
        await foreach (var piece in silo.Sites.RowScoresAsync(run, client, token)) kept.Write(piece.Content);
        return kept.Length > 0
            ? Results.Ok(RowScoresView.Of(run, client, RowScoresFile.Parse(kept.ToArray())))
            : throw new NoSuchThingException($"No row of client {client} of run {run} has been scored yet.");
    }

    private static async Task FileAsync(
        string run, string client, RunCalls runs, HttpContext context, string type,
        Func<CancellationToken, IAsyncEnumerable<FilePiece>> read)
    {
        var token = context.RequestAborted;
        await RequireAsync(run, client, runs, context.User, token);
        var pieces = await read(token).AsBegunAsync(token);
        context.Response.ContentType = type;
        await foreach (var piece in pieces) await context.Response.BodyWriter.WriteAsync(piece.Content, token);
    }

    // Events: piece (more text), then end. A stream without an end was cut.
    private static async Task<IResult> GenerateAsync(
        string run, string client, GenerateBody body, RunCalls runs, ControlServices silo, ClaimsPrincipal user, CancellationToken token)
    {
        await RequireAsync(run, client, runs, user, token);
        var texts = await silo.Sites.GenerateAsync(run, client, body.Prompted(), token).AsBegunAsync(token);
        return TypedResults.ServerSentEvents(EventsAsync());

        async IAsyncEnumerable<SseItem<Piece>> EventsAsync()
        {
            await foreach (var text in texts) yield return new(new(text), "piece");
            yield return new(new(""), "end");
        }
    }

    private static async Task<IResult> EvaluateAsync(
        string run, EvaluateBody body, RunCalls runs, ControlServices silo, CancellationToken token)
    {
        Bodies.RequireTexts("clients", body.Clients);
        if (body.Clients is []) throw new BadInputException("clients: the list is empty; leave it out for all clients");
        var plan = PlanReader.Require(await runs.PlanAsync(run, token), "plan");
        var ofTask = plan.Clients.Where(client => body.Task is null || client.Task == body.Task)
            .Select(static client => client.Id).ToList();
        if (ofTask.Count == 0) throw new BadInputException($"task: run {run} has no task {BadInputException.Shown(body.Task ?? "")}.");
        if (body.Clients?.FirstOrDefault(client => !ofTask.Contains(client)) is { } other)
            throw new BadInputException($"clients: run {run} has no client {BadInputException.Shown(other)}"
                + (body.Task is null ? "." : $" of task {BadInputException.Shown(body.Task)}."));
        var (round, clients) = await silo.Sites.EvaluateAsync(run, body.Clients?.ToArray() ?? [.. ofTask], token);
        var manifest = (await runs.RoundAsync(run, round, token)).Manifest;
        return Results.Ok(RunEvaluation.Of(run, manifest, clients));
    }

    private static async Task RequireAsync(string run, string client, RunCalls runs, ClaimsPrincipal user, CancellationToken token)
    {
        var plan = PlanReader.Require(await runs.PlanAsync(run, token), "plan");
        var site = plan.Clients.FirstOrDefault(one => one.Id == client)?.Site
            ?? throw new NoSuchThingException($"Run {run} has no client {BadInputException.Shown(client)}.");
        if (!user.MayRead(site)) throw new NotAllowedException($"what belongs to site {site} is not for this caller");
    }
}

/// <summary>More of a text.</summary>
/// <param name="Text">The piece.</param>
public sealed record Piece(string Text);
