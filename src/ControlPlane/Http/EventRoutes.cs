using System.Buffers;
using System.IO.Pipelines;
using System.Text;
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
    }

    private static async Task EventsAsync(
        string run, RunFeeds feeds, HttpContext context, IHostApplicationLifetime life,
        [FromHeader(Name = "Last-Event-ID")] string? lastEventId = null)
    {
        // a silo that stops lets its listeners go at once, so that they go on at another
        using var over = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, life.ApplicationStopping);
        var token = over.Token;
        var events = await feeds.SubscribeAsync(RunCalls.Named(run), lastEventId, token).AsBegunAsync(token);
        context.Response.ContentType = EventStream;
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        var writer = context.Response.BodyWriter;
        await foreach (var one in events)
        {
            Write(writer, one);
            if ((await writer.FlushAsync(token)).IsCompleted) return;
        }
    }

    // The content is one line.
    private static void Write(PipeWriter writer, FeedEvent one)
    {
        if (one.Id is { } id) Encoding.UTF8.GetBytes($"id: {id}\n", writer);
        Encoding.UTF8.GetBytes($"event: {one.Type}\ndata: ", writer);
        writer.Write(one.Json);
        writer.Write("\n\n"u8);
    }
}
