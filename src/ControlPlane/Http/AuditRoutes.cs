using FedRLora.Abstractions;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Audit;
using FedRLora.ControlPlane.Views;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace FedRLora.ControlPlane.Http;

/// <summary>The record of what was done, of every silo of the store.</summary>
internal static class AuditRoutes
{
    private const int MostLines = 1_000;
    private const string Lines = "application/jsonl";

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.Audit, ChainsAsync).Produces<AuditChains>();
        routes.Map(Routes.AuditLines, LinesAsync).Produces<string>(contentType: Lines).Produces<Problem>(StatusCodes.Status404NotFound);
    }

    private static async Task<IResult> ChainsAsync(AuditStore store, CancellationToken token)
    {
        List<AuditChainEnd> ends = [];
        foreach (var silo in await store.SilosAsync(token))
        {
            if (await store.LastAsync(silo, token) is var (number, line)) ends.Add(new(silo, number, AuditChain.DigestOf(line)));
        }

        return Results.Ok(new AuditChains(Json.Schema, ends));
    }

    // As they are stored, so that whoever reads them can check their digests.
    private static async Task LinesAsync(string silo, AuditStore store, HttpContext context, int after = 0, int most = MostLines)
    {
        var token = context.RequestAborted;
        if (after < 0) throw new BadInputException("after: give 0, for the lines from the first, or the number of a line");
        if (most is < 1 or > MostLines) throw new BadInputException($"most: {most} is not from 1 to {MostLines}");
        if (!Identifiers.IsValid(silo) || await store.LastAsync(silo, token) is null)
            throw new NoSuchThingException($"There is no record of a silo {BadInputException.Shown(silo)}; GET {Routes.Audit.Pattern} "
                + $"lists them.");
        var lines = await store.LinesAsync(silo, after, most, token).AsBegunAsync(token);
        context.Response.ContentType = $"{Lines}; charset=utf-8";
        await foreach (var (_, line) in lines) await context.Response.BodyWriter.WriteAsync(line, token);
    }
}
