using System.CommandLine;
using System.Net.Sockets;
using FedRLora.Abstractions.Grains;
using FedRLora.Client.Commands;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Hosting;

namespace FedRLora.Client.Cluster;

/// <summary>A cluster client to silos on this machine.</summary>
internal sealed class ClusterConnection : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);
    private readonly IHost _host;

    private ClusterConnection(IHost host) => _host = host;

    /// <summary>The option that names the gateways.</summary>
    public static Option<int[]> Gateways()
    {
        var ports = SharedOptions.Ports("--gateway", "Gateway port of a silo on this machine; repeat it to survive the loss of one");
        ports.DefaultValueFactory = static _ => [SiloPorts.Gateway];
        return ports;
    }

    public ICoordinatorGrain Coordinator(string run) => Grains.GetGrain<ICoordinatorGrain>(run);

    public IJobsGrain Jobs => Grains.GetGrain<IJobsGrain>(Abstractions.Keys.Jobs);

    private IGrainFactory Grains => _host.Services.GetRequiredService<IGrainFactory>();

    /// <exception cref="EnvironmentException">No silo answers.</exception>
    public static async Task<ClusterConnection> OpenAsync(int[] gateways, CancellationToken cancellationToken)
    {
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Logging.SetMinimumLevel(LogLevel.None);
        builder.UseOrleansClient(client => client
            .UseLocalhostClustering(gateways, SiloHost.ServiceId, SiloHost.ServiceId)
            .Configure<GatewayOptions>(static options => options.GatewayListRefreshPeriod = TimeSpan.FromSeconds(5))
            .UseConnectionRetryFilter(static (_, _) => Task.FromResult(false)));
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
            throw new EnvironmentException($"No silo answers on 127.0.0.1, gateway {string.Join(", ", gateways)}; start one with fedrlora silo, or name its --gateway.", e);
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

/// <summary>The machine, not the user's input, is why it does not work: exit code 3.</summary>
internal sealed class EnvironmentException(string message, Exception? innerException = null) : Exception(message, innerException);
