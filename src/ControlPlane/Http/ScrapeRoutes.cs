using FedRLora.ControlPlane.Access;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace FedRLora.ControlPlane.Http;

/// <summary>What Prometheus reads of the silo.</summary>
internal static class ScrapeRoutes
{
    public static void Add(IEndpointRouteBuilder routes) => routes.Map(Routes.Metrics, static (HttpContext context, ControlServices silo) =>
            silo.Metrics?.WriteAsync(context) ?? Problem.WriteAsync(context, 404, "this silo keeps no metrics"))
        .Produces<string>(contentType: "text/plain");
}
