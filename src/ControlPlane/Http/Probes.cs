using FedRLora.Abstractions;
using FedRLora.ControlPlane.Access;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Hosting;

namespace FedRLora.ControlPlane.Http;

/// <summary>
/// Probes of whoever keeps the process going. That it lives is said without asking anybody; that it is ready, once its store answers.
/// </summary>
internal static class Probes
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(4);

    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.Live, static () => Results.Text("alive\n")).Produces<string>(contentType: "text/plain");
        routes.Map(Routes.Ready, ReadyAsync).Produces<string>(contentType: "text/plain")
            .Produces<string>(StatusCodes.Status503ServiceUnavailable, "text/plain");
    }

    private static async Task<IResult> ReadyAsync(ControlServices services, IHostApplicationLifetime life, CancellationToken token)
    {
        if (life.ApplicationStopping.IsCancellationRequested) return NotReady("it is stopping");
        using var enough = new CancellationTokenSource(Patience, services.Time);
        using var asking = CancellationTokenSource.CreateLinkedTokenSource(token, enough.Token);
        try
        {
            await foreach (var _ in services.Stores.Job.ListAsync(Keys.Index, asking.Token)) break;
            return Results.Text("ready\n");
        }
        catch (OperationCanceledException) when (enough.IsCancellationRequested && !token.IsCancellationRequested)
        {
            return NotReady($"the store of runs has not answered for {Patience.TotalSeconds:F0} s");
        }
        catch (Exception e) when (e is IOException or TimeoutException or UnauthorizedAccessException)
        {
            return NotReady($"the store of runs does not answer: {e.Message.ReplaceLineEndings(" ")}");
        }
    }

    private static IResult NotReady(string reason) =>
        Results.Text($"not ready: {reason}\n", statusCode: StatusCodes.Status503ServiceUnavailable);
}
