using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Audit;
using FedRLora.Grains.Sites;
using FedRLora.Grains.Store;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace FedRLora.ControlPlane.Http;

/// <summary>Turns what went wrong into a status code and one line.</summary>
internal sealed partial class Answers(ILogger<Answers> logger) : IMiddleware
{
    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        try
        {
            await next(context);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested || context.Response.HasStarted)
        {
            context.Abort(); // nobody is there to be answered, or the silo stops in the middle of a stream
        }
        catch (Exception e)
        {
            var (code, line) = Of(e);
            if (code == StatusCodes.Status500InternalServerError) LogFailed(context.Request.Method, context.GetEndpoint()?.DisplayName, e);
            if (context.Response.HasStarted) context.Abort(); // a stream that was cut must not look like one that has ended
            else await Problem.WriteAsync(context, code, line);
        }
    }

    /// <summary>Status code and line.</summary>
    internal static (int Code, string Line) Of(Exception exception) => exception switch
    {
        NoSuchThingException => (StatusCodes.Status404NotFound, exception.Message),
        AuditUnavailableException => (StatusCodes.Status503ServiceUnavailable, OneLine(exception.Message)),
        NotAllowedException => (StatusCodes.Status403Forbidden, exception.Message),
        RefusedException => (StatusCodes.Status409Conflict, exception.Message),
        BadHttpRequestException { InnerException: JsonException e, StatusCode: var code } => (code, BodyProblem.Of(e)),
        BadHttpRequestException { StatusCode: var code } bad => (code, BodyProblem.Of(bad)),
        _ when CorruptBlobException.OrBadInputIn(exception) is { } refusal => (refusal is BadInputException
            ? StatusCodes.Status400BadRequest : StatusCodes.Status422UnprocessableEntity, refusal.Message),
        _ when StoreUnavailableException.In(exception) is { } away => (StatusCodes.Status503ServiceUnavailable, away.Message),
        UnansweredException or SiteUnavailableException => (StatusCodes.Status503ServiceUnavailable, exception.Message),
        OrleansException or TimeoutException or OperationCanceledException =>
            (StatusCodes.Status503ServiceUnavailable, "a silo of the cluster does not answer; try again"),
        _ => (StatusCodes.Status500InternalServerError, $"{exception.GetType().Name}: {OneLine(exception.Message)}"),
    };

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");

    [LoggerMessage(701, LogLevel.Error, "{Method} {Route} failed")]
    private partial void LogFailed(string method, string? route, Exception exception);
}

/// <summary>Who calls may not do that: 403.</summary>
public sealed class NotAllowedException(string message) : Exception(message);
