using FedRLora.ControlPlane.Access;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace FedRLora.ControlPlane.Http;

/// <summary>
/// What is answered where no route takes a request: another method, or another path. It comes before anybody is asked who they are.
/// </summary>
internal static class Unrouted
{
    public static async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        switch (context.GetEndpoint())
        {
            case null:
                await Problem.WriteAsync(
                    context, StatusCodes.Status404NotFound, "there is no such route; GET /openapi/v1.json lists them");
                break;
            case RouteEndpoint:
                await next(context);
                break;
            case { } refusal: // routing's own, of a path whose routes take other methods
                await (refusal.RequestDelegate?.Invoke(context) ?? Task.CompletedTask);
                var taken = string.Join(", ", context.Response.Headers.Allow.SelectMany(static allowed => (allowed ?? "").Split(',',
                        StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
                    .SelectMany(static method => HttpMethods.IsGet(method) ? [method, HttpMethods.Head] : new[] { method }));
                context.Response.Headers.Allow = taken;
                await Problem.WriteAsync(context, context.Response.StatusCode, $"this route takes {taken}");
                break;
        }
    }
}
