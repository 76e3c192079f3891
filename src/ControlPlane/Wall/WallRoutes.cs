using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Report;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Options;

namespace FedRLora.ControlPlane.Wall;

/// <summary>
/// The wall: the page that lists runs, the page of a run, and the files of both. What the pages show they ask for as everybody else does.
/// </summary>
internal static class WallRoutes
{
    /// <summary>
    /// What a page of the wall may do: run the program's own files and talk to its own server; no text can become a script.
    /// </summary>
    public const string ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        + "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private const string ForAYear = "private, max-age=31536000, immutable"; // only for who was let in; the address is of these very bytes

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.Home, HomeAsync).ExcludeFromDescription();
        routes.Map(Routes.RunPage, static (string run, HttpContext context) =>
        {
            RunCalls.Named(run);
            return Page(context, "run.html");
        }).ExcludeFromDescription();
        routes.Map(Routes.Assets, Asset).ExcludeFromDescription();
    }

    // A process of one run has no other to choose from.
    private static async Task<IResult> HomeAsync(RunCalls runs, ControlOptions options, HttpContext context, CancellationToken token)
    {
        var run = options.IsOfOneRun
            ? (await runs.ListAsync(token)).FirstOrDefault(static run => LocalOnlyRun.RunOf(run.JobId) is null) : null;
        return run is null ? Page(context, "runs.html") : Results.Redirect(Routes.RunPage.Pattern.Replace("{run}", run.JobId));
    }

    private static IResult Page(HttpContext context, string name)
    {
        var services = context.RequestServices;
        var options = (ControlOptions)services.GetService(typeof(ControlOptions))!;
        var tokens = (IOptionsMonitor<TokenOptions>)services.GetService(typeof(IOptionsMonitor<TokenOptions>))!;
        context.Response.Headers.ContentSecurityPolicy = ContentSecurityPolicy;
        var page = WallAssets.Text(name)
            .Replace("{{assets}}", WallAssets.Root, StringComparison.Ordinal)
            .Replace("{{steers}}", Flag(context.User.IsInRole(Principals.Operator)), StringComparison.Ordinal)
            .Replace("{{token}}", Flag(tokens.Get(TokenOptions.Scheme).AsksBrowsers), StringComparison.Ordinal)
            .Replace("{{one}}", Flag(options.IsOfOneRun), StringComparison.Ordinal)
            .Replace("{{version}}", Markup.Escape(ReportFacts.VersionOf(typeof(WallRoutes))), StringComparison.Ordinal);
        return Results.Text(page, "text/html; charset=utf-8");
    }

    private static string Flag(bool value) => value ? "true" : "false";

    private static IResult Asset(string hash, HttpContext context, string? file = null)
    {
        if (hash != WallAssets.Hash || WallAssets.Find(file ?? "") is not { } asset)
            throw new NoSuchThingException("There is no such file of the page; load the page again, the program may be another one now.");
        context.Response.Headers.CacheControl = ForAYear;
        context.Response.Headers.ContentSecurityPolicy = ContentSecurityPolicy; // a worker has the policy of its own file
        return Results.Bytes(asset.Content, asset.Type);
    }
}
