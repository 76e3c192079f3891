using System.Buffers;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Events;
using FedRLora.ControlPlane.Views;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Hosting;

namespace FedRLora.ControlPlane.Http;

/// <summary>A run as it is, and as it goes on: server-sent events whose ids any silo goes on from.</summary>
internal static class EventRoutes
{
    private const string EventStream = "text/event-stream";

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.ShowRun, static async (string run, RunFeeds feeds, CancellationToken token) =>
            Results.Ok(await feeds.ViewAsync(RunCalls.Named(run), token)))
            .Produces<RunView>().Produces<Problem>(StatusCodes.Status404NotFound);
        routes.Map(Routes.Events, EventsAsync).Produces<string>(contentType: EventStream).Produces<Problem>(StatusCodes.Status404NotFound);
        routes.Map(Routes.ManyEvents, ManyEventsAsync).Produces<string>(contentType: EventStream)
            .Produces<Problem>(StatusCodes.Status400BadRequest);
    }

    private static async Task EventsAsync(
        string run, RunFeeds feeds, HttpContext context, IHostApplicationLifetime life,
        [FromHeader(Name = "Last-Event-ID")] string? lastEventId = null)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, life.ApplicationStopping);
        if (Heads.IsHead(context))
        {
            await feeds.ViewAsync(RunCalls.Named(run), over.Token);
            context.Response.ContentType = EventStream;
            return;
        }

        var events = await feeds.SubscribeAsync(RunCalls.Named(run), lastEventId, over.Token).AsBegunAsync(over.Token);
        await WriteAsync(context, events, over.Token);
    }

    private static async Task ManyEventsAsync(
        string[] run, ManyRuns runs, HttpContext context, IHostApplicationLifetime life,
        string? after = null, [FromHeader(Name = "Last-Event-ID")] string? lastEventId = null)
    {
        string[] named = [.. run.Distinct(StringComparer.Ordinal)];
        if (named.Length is 0 or > ManyRuns.Most)
            throw new BadInputException($"run: {named.Length} runs are named; give from 1 to {ManyRuns.Most}, as ?run=A&run=B");
        using var over = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, life.ApplicationStopping);
        var at = string.IsNullOrEmpty(lastEventId) ? after : lastEventId; // a browser names its first address each time
        await WriteAsync(context, runs.SubscribeAsync(named, at, over.Token), over.Token);
    }

    // A silo that stops lets its listeners go at once, so that they go on at another; and one whose credential ends hears no more.
    // Something is sent every few seconds, if only a sign of life.
    private static async Task WriteAsync(HttpContext context, IAsyncEnumerable<FeedEvent> events, CancellationToken token)
    {
        context.Response.ContentType = EventStream;
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        if (Heads.IsHead(context)) return;
        var writer = context.Response.BodyWriter;
        await writer.FlushAsync(token); // a browser knows that it is connected, also where a run takes its time
        var standing = context.Features.Get<Standing>();
        await foreach (var one in events.WithCancellation(token))
        {
            if (standing?.Is() == false) return;
            Write(writer, one);
            if ((await writer.FlushAsync(token)).IsCompleted) return;
        }
    }

    // The content is one line; of several runs it is put beside the name of its run.
    private static void Write(PipeWriter writer, FeedEvent one)
    {
        if (one.Id is { } id) Encoding.UTF8.GetBytes($"id: {id}\n", writer);
        Encoding.UTF8.GetBytes($"event: {one.Type}\ndata: ", writer);
        if (one.Run is { } run)
        {
            var key = one.Type is FeedEvents.Gone or FeedEvents.Away ? "error" : "data";
            Encoding.UTF8.GetBytes($"{{\"schema\":{Json.Schema},\"run\":{JsonSerializer.Serialize(run, Json.Lines)},\"{key}\":", writer);
        }

        writer.Write(one.Json);
        if (one.Run is not null) writer.Write("}"u8);
        writer.Write("\n\n"u8);
    }
}
