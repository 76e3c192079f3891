using System.Diagnostics;
using System.Net.Sockets;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Hosting;

namespace FedRLora.Client.Cluster;

/// <summary>A cluster client.</summary>
internal sealed class ClusterConnection : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan AnswerPatience = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan TryAgainFor = TimeSpan.FromSeconds(6);
    private static readonly TimeSpan TryAgainAfter = TimeSpan.FromMilliseconds(250);
    private readonly IHost _host;

    private ClusterConnection(IHost host) => _host = host;

    public IRunControlGrain Coordinator(string run) => Grains.GetGrain<IRunControlGrain>(run);

    public IJobsGrain Jobs => Grains.GetGrain<IJobsGrain>(Keys.Jobs);

    /// <summary>Every run of the silos' store.</summary>
    /// <exception cref="UnansweredException">No silo answers.</exception>
    public Task<IReadOnlyList<JobProgress>> RunsAsync(CancellationToken cancellationToken) =>
        PatientQuestion.AskAsync(Jobs.ListAsync, AnswerPatience, cancellationToken: cancellationToken);

    /// <summary>What a run that was accepted will wait for all the same: sites of its plan that no silo serves now, a line each.</summary>
    public async Task<IReadOnlyList<string>> AbsentSitesAsync(string run, CancellationToken cancellationToken)
    {
        var progress = await PatientQuestion.AskAsync(
            token => Coordinator(run).GetProgressAsync(int.MaxValue - 1, token), AnswerPatience, cancellationToken: cancellationToken);
        return [.. (progress?.AbsentSites ?? []).Select(static hold => hold.Text)];
    }

    private IGrainFactory Grains => _host.Services.GetRequiredService<IGrainFactory>();

    /// <exception cref="EnvironmentException">No silo answers.</exception>
    /// <exception cref="ClusterUnavailableException">What keeps the membership does not answer.</exception>
    public static async Task<ClusterConnection> OpenAsync(
        ClusterLocation cluster, string clusterId, int[] gateways, CancellationToken cancellationToken)
    {
        if (cluster is ClusterLocation.Redis redis) await RedisMembership.RequireAsync(redis, cancellationToken);
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Logging.SetMinimumLevel(LogLevel.None);
        var started = Stopwatch.GetTimestamp();
        builder.UseOrleansClient(client => client
            .AddClustering(cluster, clusterId, gateways)
            .Configure<GatewayOptions>(static options => options.GatewayListRefreshPeriod = TimeSpan.FromSeconds(5))
            .UseConnectionRetryFilter(async (_, token) =>
            {
                // The membership names silos for some seconds after they were killed; gateways named by hand are there or not.
                if (cluster is ClusterLocation.Localhost || Stopwatch.GetElapsedTime(started) > TryAgainFor) return false;
                await Task.Delay(TryAgainAfter, token);
                return true;
            }));
        var host = builder.Build();
        try
        {
            await host.StartAsync(cancellationToken).WaitAsync(Patience, cancellationToken);
            return new ClusterConnection(host);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            host.Dispose();
            throw;
        }
        catch (Exception e) when (e is Orleans.Runtime.OrleansException or SocketException or TimeoutException)
        {
            host.Dispose();
            var start = $"start one with {OwnCommand.Name} silo --site NAME";
            var other = clusterId == SiloHost.ServiceId ? "" : $" --cluster-id {clusterId}";
            throw new EnvironmentException(cluster is ClusterLocation.Localhost
                ? $"No silo answers on 127.0.0.1, gateway {string.Join(", ", gateways)}; {start}, or name its --gateway."
                : $"No silo of cluster {clusterId} at {cluster} answers; {start} --cluster {cluster}{other}", e);
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
