using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Client.Rendering;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.Client.Local;

/// <summary>A whole federation in this process: one silo on loopback that serves every site of the plan.</summary>
internal sealed class EmbeddedSilo : IAsyncDisposable
{
    private readonly IHost _host;

    private EmbeddedSilo(IHost host) => _host = host;

    public IGrainFactory Grains => _host.Services.GetRequiredService<IGrainFactory>();

    public static async Task<EmbeddedSilo> StartAsync(RunDirectory run, CancellationToken cancellationToken)
    {
        var (silo, gateway) = SiloPorts.Free();
        var host = SiloHost.Create(
            new SiloOptions { Name = "embedded", Sites = ["*"], Root = run.Record.Root, Store = run.Store, SiloPort = silo, GatewayPort = gateway },
            static builder => builder.Logging.AddFilter("FedRLora", LogLevel.Warning).AddStandardError()
                .AddFilter<Microsoft.Extensions.Logging.Console.ConsoleLoggerProvider>("FedRLora.Grains", LogLevel.Error));
        try
        {
            await host.StartAsync(cancellationToken);
            return new EmbeddedSilo(host);
        }
        catch
        {
            host.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await _host.StopAsync(CancellationToken.None);
        }
        finally
        {
            _host.Dispose();
        }
    }
}

/// <summary>A job seen from outside.</summary>
internal static class JobFollowing
{
    /// <summary>Snapshots of a job until it is over; each brings the rounds that <paramref name="lastRound"/> says are not known.</summary>
    public static async IAsyncEnumerable<JobProgress> SnapshotsAsync(
        this ICoordinatorGrain coordinator, Func<int> lastRound, TimeSpan every, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (await coordinator.GetProgressAsync(lastRound(), cancellationToken) is { } progress)
        {
            yield return progress;
            if (progress.NewRounds.Count > 0) continue; // a long job's rounds come in several answers
            if (progress.Status != JobStatus.Running) yield break;
            await Task.Delay(every, cancellationToken);
        }
    }
}
