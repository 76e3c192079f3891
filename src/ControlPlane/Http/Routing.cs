using FedRLora.ControlPlane.Access;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace FedRLora.ControlPlane.Http;

/// <summary>Maps routes of the table, each behind its policy.</summary>
internal static class Routing
{
    /// <summary>Maps a route.</summary>
    public static RouteHandlerBuilder Map(this IEndpointRouteBuilder routes, ControlRoute route, Delegate handler)
    {
        var mapped = routes.MapMethods(route.Pattern, [route.Method], handler).WithMetadata(route).WithDisplayName(route.Pattern);
        if (route.Policy == Policy.Anyone) return mapped.AllowAnonymous();
        return mapped.RequireAuthorization(route.Policy.ToString())
            .Produces<Problem>(StatusCodes.Status401Unauthorized).Produces<Problem>(StatusCodes.Status403Forbidden);
    }
}
