using System.Net.ServerSentEvents;
using System.Security.Claims;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;
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
        routes.Map(Routes.RowScores, static (string run, string client, Runs runs, HttpContext context) =>
            FileAsync(run, client, runs, context, "application/json", static (site, client, token) => site.RowScoresAsync(client, token)))
            .Produces<object>().ProducesOfClient();
        routes.Map(Routes.Steps, static (string run, string client, Runs runs, HttpContext context) =>
            FileAsync(run, client, runs, context, Lines, static (site, client, token) => site.StepsAsync(client, token)))
            .Produces<string>(contentType: Lines).ProducesOfClient();
        routes.Map(Routes.Generate, GenerateAsync).Produces<string>(contentType: "text/event-stream").ProducesOfClient();
        routes.Map(Routes.Evaluate, EvaluateAsync).Produces<RunEvaluation>().Produces<Problem>(StatusCodes.Status404NotFound);
    }

    private static Microsoft.AspNetCore.Builder.RouteHandlerBuilder ProducesOfClient(
        this Microsoft.AspNetCore.Builder.RouteHandlerBuilder route) =>
        route.Produces<Problem>(StatusCodes.Status404NotFound).Produces<Problem>(StatusCodes.Status503ServiceUnavailable);

    private static async Task AdapterAsync(
        string run, string client, Runs runs, HttpContext context, bool vllm = false, bool padRank = false, bool nearest = false)
    {
        var token = context.RequestAborted;
        var site = await SiteOfAsync(run, client, runs, context.User, token);
        var committed = Of(await runs.CommittedAsync(run, token), client);
        var pieces = await runs.Site(run, site).ExportAsync(committed, client, new FormAsked(nearest, vllm, padRank), token)
            .AsBegunAsync(token);
        context.Response.ContentType = Tar;
        context.Response.Headers["FedRLora-Round"] = $"{committed.Round}";
        context.Response.Headers.ContentDisposition = $"attachment; filename=\"{run}-{client}-{committed.Round}.tar\"";
        await TarOfPieces.WriteAsync(pieces, context.Response.BodyWriter.AsStream(), token);
    }

    private static async Task FileAsync(
        string run, string client, Runs runs, HttpContext context, string type,
        Func<ISiteRunGrain, string, CancellationToken, IAsyncEnumerable<FilePiece>> read)
    {
        var token = context.RequestAborted;
        var site = await SiteOfAsync(run, client, runs, context.User, token);
        var pieces = await read(runs.Site(run, site), client, token).AsBegunAsync(token);
        context.Response.ContentType = type;
        await foreach (var piece in pieces) await context.Response.BodyWriter.WriteAsync(piece.Content, token);
    }

    // Events: piece (more text), then end. A stream without an end was cut.
    private static async Task<IResult> GenerateAsync(
        string run, string client, GenerateBody body, Runs runs, ClaimsPrincipal user, CancellationToken token)
    {
        var site = await SiteOfAsync(run, client, runs, user, token);
        var committed = Of(await runs.CommittedAsync(run, token), client);
        var texts = await runs.Site(run, site).GenerateAsync(committed, client, body.Prompted(), token).AsBegunAsync(token);
        return TypedResults.ServerSentEvents(EventsAsync());

        async IAsyncEnumerable<SseItem<Piece>> EventsAsync()
        {
            await foreach (var text in texts) yield return new(new(text), "piece");
            yield return new(new(""), "end");
        }
    }

    private static async Task<IResult> EvaluateAsync(string run, EvaluateBody body, Runs runs, CancellationToken token)
    {
        var plan = PlanReader.Require(await runs.PlanAsync(run, token), "plan");
        var tasks = plan.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        var asked = plan.Clients.Where(client => body.Task is null || client.Task == body.Task).Select(static client => client.Id)
            .Where(client => body.Clients is null || body.Clients.Contains(client)).ToHashSet(StringComparer.Ordinal);
        if (body.Clients?.FirstOrDefault(client => !asked.Contains(client)) is { } other)
            throw new BadInputException($"clients: run {run} has no client {BadInputException.Shown(other)}"
                + (body.Task is null ? "." : $" of task {BadInputException.Shown(body.Task)}."));
        if (asked.Count == 0) throw new BadInputException($"task: run {run} has no task {BadInputException.Shown(body.Task ?? "")}.");
        var committed = (await runs.CommittedAsync(run, token))
            .Select(site => site with { Members = [.. site.Members.Where(member => asked.Contains(member.ClientId))] })
            .Where(static site => site.Members.Count > 0).ToList();
        var scored = await Task.WhenAll(committed.Select(part =>
            runs.Site(run, tasks[part.Members[0].ClientId].Site).EvaluateAsync(part, token)));
        var manifest = (await runs.RoundAsync(run, committed[0].Round, token)).Manifest;
        return Results.Ok(RunEvaluation.Of(run, plan, manifest, scored.SelectMany(static part => part)));
    }

    private static SiteAssignment Of(IReadOnlyList<SiteAssignment> committed, string client)
    {
        var part = committed.First(site => site.Members.Any(member => member.ClientId == client));
        return part with { Members = [.. part.Members.Where(member => member.ClientId == client)] };
    }

    // Also the place where it is asked whether the caller may read the site.
    private static async Task<string> SiteOfAsync(string run, string client, Runs runs, ClaimsPrincipal user, CancellationToken token)
    {
        var plan = PlanReader.Require(await runs.PlanAsync(run, token), "plan");
        var site = plan.Clients.FirstOrDefault(one => one.Id == client)?.Site
            ?? throw new NoSuchThingException($"Run {run} has no client {BadInputException.Shown(client)}.");
        return user.MayRead(site) ? site : throw new NotAllowedException($"what belongs to site {site} is not for this caller");
    }
}

/// <summary>More of a text.</summary>
/// <param name="Text">The piece.</param>
public sealed record Piece(string Text);
