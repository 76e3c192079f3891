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
        var mapped = routes.MapMethods(route.Pattern, [route.Method], handler).WithMetadata(route).WithDisplayName(route.Pattern)
            .WithName(route.Name).WithSummary(route.Summary).WithTags(GroupOf(route));
        if (route.Policy == Policy.Anyone) return mapped.AllowAnonymous();
        if (route.Method == "POST")
        {
            mapped.Produces<Problem>(StatusCodes.Status400BadRequest).Produces<Problem>(StatusCodes.Status413PayloadTooLarge)
                .Produces<Problem>(StatusCodes.Status415UnsupportedMediaType);
        }

        return mapped.RequireAuthorization(route.Policy.ToString())
            .Produces<Problem>(StatusCodes.Status401Unauthorized).Produces<Problem>(StatusCodes.Status403Forbidden);
    }

    private static string GroupOf(ControlRoute route) => route.Pattern.Split('/') switch
    {
        [_, "v1", "runs", _, "clients", ..] => "clients",
        [_, "v1", "runs", ..] => "runs",
        [_, "v1", ..] => "cluster",
        _ => "server",
    };
}
