using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;

namespace FedRLora.ControlPlane.Audit;

/// <summary>
/// Puts what is asked of audited routes into the record: a line before it is done and one with its result, or one where it is refused.
/// </summary>
/// <param name="record">The record.</param>
/// <param name="time">The time.</param>
/// <param name="log">Where it tells what could not be written any more.</param>
internal sealed partial class AuditTrail(AuditLog record, TimeProvider time, ILogger<AuditTrail> log)
{
    private const int MostOfStrangers = 60;
    private static readonly TimeSpan Within = TimeSpan.FromMinutes(10);
    private readonly Lock _counting = new();
    private long _since = time.GetTimestamp();
    private int _ofStrangers, _unwritten;

    /// <summary>What comes before anybody is asked who they are, and sees who was refused.</summary>
    public async Task RefusalsAsync(HttpContext context, RequestDelegate next)
    {
        if (context.GetEndpoint()?.Metadata.GetMetadata<ControlRoute>() is not { IsAudited: true } route)
        {
            await next(context);
            return;
        }

        await next(context);
        if (context.Features.Get<Audited>() is not null
            || context.Response.StatusCode is not (StatusCodes.Status401Unauthorized or StatusCodes.Status403Forbidden)) return;
        // whoever can reach the port could fill the store
        if (context.Response.StatusCode == StatusCodes.Status401Unauthorized && !MayBeWritten()) return;
        await TryAddAsync(LineOf(context, route, AuditEvent.Refused) with { Status = context.Response.StatusCode });
    }

    /// <summary>What comes after it is known that somebody may do what he asks.</summary>
    public async Task ActionsAsync(HttpContext context, RequestDelegate next)
    {
        if (context.GetEndpoint()?.Metadata.GetMetadata<ControlRoute>() is not { IsAudited: true } route)
        {
            await next(context);
            return;
        }

        context.Features.Set(new Audited());
        var line = LineOf(context, route, AuditEvent.Asked);
        if (HttpMethods.IsPost(context.Request.Method)) line = await WithBodyAsync(line, context);
        line = line with { Of = await record.AddAsync(line), What = AuditEvent.Answered, Unwritten = null };
        try
        {
            await next(context);
        }
        catch (Exception e)
        {
            var hasBegun = context.Response.HasStarted;
            await TryAddAsync(line with
            {
                Status = hasBegun ? context.Response.StatusCode : Answers.Of(e).Code, WasCut = hasBegun ? true : null,
            });
            throw;
        }

        await TryAddAsync(line with { Status = context.Response.StatusCode, Run = line.Run ?? Created(context) });
    }

    private AuditLine LineOf(HttpContext context, ControlRoute route, AuditEvent what)
    {
        var user = context.User;
        return new()
        {
            Silo = "", Number = 0, Previous = "", At = default, What = what, Route = route.Name,
            From = $"{context.Connection.RemoteIpAddress}", Run = Value("run"), Client = Value("client"), Unwritten = Unwritten(),
            Who = user.Identity is not { IsAuthenticated: true } identity ? null : new(
                identity.Name ?? "", identity.AuthenticationType ?? "", user.FindFirst(Principals.CredentialClaim)?.Value,
                [.. user.FindAll(ClaimTypes.Role).Select(static role => role.Value)]),
        };

        string? Value(string name) => context.GetRouteValue(name) is string value ? Abstractions.BadInputException.Shown(value) : null;
    }

    private static async Task<AuditLine> WithBodyAsync(AuditLine line, HttpContext context)
    {
        var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted); // within the server's bound on bodies
        body.Position = 0;
        context.Request.Body = body;
        var (run, plan) = NamedIn(body.GetBuffer().AsMemory(0, (int)body.Length));
        return line with
        {
            BodySha256 = AuditChain.DigestOf(body.GetBuffer().AsSpan(0, (int)body.Length)), Run = line.Run ?? run,
            PlanSha256 = plan is null ? null : Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(plan))),
        };
    }

    private static (string? Run, string? Plan) NamedIn(ReadOnlyMemory<byte> body)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            return document.RootElement.ValueKind == JsonValueKind.Object ? (Text("run"), Text("plan")) : default;

            string? Text(string key) =>
                document.RootElement.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()
                    : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException) // the latter for half a surrogate pair
        {
            return default; // its route says what is wrong with it
        }
    }

    private static string? Created(HttpContext context) =>
        context.Response.Headers.Location is [{ } location] && location.StartsWith("/v1/runs/", StringComparison.Ordinal)
            ? Uri.UnescapeDataString(location["/v1/runs/".Length..]) : null;

    private bool MayBeWritten()
    {
        lock (_counting)
        {
            if (time.GetElapsedTime(_since) > Within) (_since, _ofStrangers) = (time.GetTimestamp(), 0);
            if (++_ofStrangers <= MostOfStrangers) return true;
            _unwritten++;
            return false;
        }
    }

    private int? Unwritten()
    {
        lock (_counting)
        {
            var count = _unwritten;
            _unwritten = 0;
            return count == 0 ? null : count;
        }
    }

    // What it tells of has happened, or was refused anyway.
    private async Task TryAddAsync(AuditLine line)
    {
        try
        {
            await record.AddAsync(line);
        }
        catch (AuditUnavailableException e)
        {
            LogLost(log, line.What, line.Route, line.Who?.Name, line.Status, e.Message);
        }
    }

    private sealed record Audited;

    [LoggerMessage(732, LogLevel.Error, "{What} {Route} by {Who} with status {Status} is not in the audit record: {Problem}")]
    private static partial void LogLost(ILogger log, AuditEvent what, string route, string? who, int? status, string problem);
}
