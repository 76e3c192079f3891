using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains;
using FedRLora.Grains.Silos;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Orleans.Runtime;

namespace FedRLora.ControlPlane.Http;

/// <summary>Who is there: sites, silos, and what the silos say in their logs.</summary>
internal static class ClusterRoutes
{
    private const int MostLines = 2_000;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.Sites, SitesAsync).Produces<SiteList>();
        routes.Map(Routes.Silos, SilosAsync).Produces<SiloList>();
        routes.Map(Routes.SiloLogs, static (ControlServices services, CancellationToken token, string? after, int most = MostLines) =>
            LogsAsync(run: null, after, most, services, token)).Produces<LogView>();
        routes.Map(Routes.Logs, static async (
            string run, ControlServices services, RunCalls runs, CancellationToken token, string? after, int most = MostLines) =>
        {
            await runs.PlanAsync(run, token);
            return await LogsAsync(run, after, most, services, token);
        }).Produces<LogView>().Produces<Problem>(StatusCodes.Status404NotFound);
        routes.Map(Routes.Metrics, static (HttpContext context, ControlServices services) =>
            services.Metrics?.WriteAsync(context)
            ?? Problem.WriteAsync(context, StatusCodes.Status404NotFound, "this silo keeps no metrics")).ExcludeFromDescription();
    }

    private static async Task<IResult> SitesAsync(ControlServices services, RunCalls runs, CancellationToken token)
    {
        var sites = new SortedDictionary<string, (List<string> Silos, List<string> Waits)>(StringComparer.Ordinal);
        foreach (var silo in services.Live.Now)
        {
            foreach (var site in silo.Sites) Of(site).Silos.Add(silo.Name);
        }

        foreach (var run in await runs.ListAsync(token))
        {
            if (run.Status != JobStatus.Running) continue;
            foreach (var (hold, site) in run.AbsentSites.SelectMany(static hold => hold.Sites.Select(site => (hold, site))))
                Of(site.Site).Waits.Add($"{run.JobId}: {hold.Text}");
        }

        return Results.Ok(
            new SiteList(Json.Schema, [.. sites.Select(static site => new SiteView(site.Key, site.Value.Silos, site.Value.Waits))]));

        (List<string> Silos, List<string> Waits) Of(string site)
        {
            if (!sites.TryGetValue(site, out var found)) sites[site] = found = ([], []);
            return found;
        }
    }

    private static async Task<IResult> SilosAsync(ControlServices services, CancellationToken token)
    {
        var silos = await Task.WhenAll(services.Live.Now.Select(async silo =>
        {
            var (now, problem) = await AskAsync(services, silo.Name, grain => grain.DescribeAsync(token), token);
            return new SiloView(silo.Name, silo.Sites, now, problem);
        }));
        return Results.Ok(new SiloList(Json.Schema, silos));
    }

    private static async Task<IResult> LogsAsync(string? run, string? after, int most, ControlServices services, CancellationToken token)
    {
        if (most is < 1 or > MostLines) throw new BadInputException($"most: {most} is not from 1 to {MostLines}");
        var known = Known(after);
        var parts = await Task.WhenAll(services.Live.Now.Select(async silo => (silo.Name, Answer: await AskAsync(
            services, silo.Name, grain => grain.LogsAsync(run, known.GetValueOrDefault(silo.Name), most, token), token))));
        foreach (var (silo, (lines, _)) in parts)
        {
            if (lines is not null) known[silo] = lines.Last;
        }

        return Results.Ok(new LogView(
            Json.Schema,
            [.. parts.SelectMany(static part => (part.Answer.Value?.Lines ?? []).Select(line => new SiloLine(part.Name, line)))
                .OrderBy(static line => line.Line.At)],
            string.Join(',', known.OrderBy(static one => one.Key, StringComparer.Ordinal)
                .Select(static one => string.Create(CultureInfo.InvariantCulture, $"{one.Key}:{one.Value}"))),
            parts.Sum(static part => part.Answer.Value?.Forgotten ?? 0),
            [.. parts.Where(static part => part.Answer.Problem is not null).Select(static part => $"{part.Name}: {part.Answer.Problem}")]));
    }

    // The number of the last known line by silo, as an answer before named it.
    private static Dictionary<string, long> Known(string? after)
    {
        var known = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var part in (after ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var at = part.LastIndexOf(':');
            if (at <= 0 || !long.TryParse(part.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                throw new BadInputException("after: give what an answer before had as next");
            known[part[..at]] = number;
        }

        return known;
    }

    private static async Task<(T? Value, string? Problem)> AskAsync<T>(
        ControlServices services, string silo, Func<ISiloGrain, Task<T>> ask, CancellationToken token)
        where T : class
    {
        try
        {
            return (await ask(services.Grains.GetGrain<ISiloGrain>(silo)).WaitAsync(Patience, services.Time, token), null);
        }
        catch (Exception e) when (e is OrleansException || Unanswered.Is(e, token))
        {
            return (null, "it does not answer");
        }
    }
}
