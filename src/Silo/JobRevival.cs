using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace FedRLora.Silo;

/// <summary>
/// Brings back the jobs that were running when their silo went away: at start-up and now and then. Asking a coordinator
/// activates it, and an activated coordinator goes on by itself.
/// </summary>
internal sealed partial class JobRevival(IGrainFactory grains, IHostApplicationLifetime lifetime, TimeProvider time, ILogger<JobRevival> logger) : BackgroundService
{
    private static readonly TimeSpan Every = TimeSpan.FromSeconds(15);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var active = new TaskCompletionSource();
        using var started = lifetime.ApplicationStarted.Register(active.SetResult); // no grain can be placed before the silo is active
        await active.Task.WaitAsync(stoppingToken);
        using var timer = new PeriodicTimer(Every, time);
        do
        {
            try
            {
                await grains.GetGrain<IJobsGrain>(Keys.Jobs).ReviveAsync(stoppingToken);
            }
            catch (Exception e) when (e is OrleansException or TimeoutException or IOException)
            {
                LogNotRevived(e.Message); // the next tick asks again
            }
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    [LoggerMessage(401, LogLevel.Warning, "Jobs were not asked for: {Reason}")]
    private partial void LogNotRevived(string reason);
}
