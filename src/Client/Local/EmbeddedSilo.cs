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
            new SiloOptions
            {
                Name = "embedded", Sites = ["*"], Root = run.Record.Root, Store = run.Store, StoreMode = run.Record.Mode,
                Durability = run.Record.Durability, SiloPort = silo, GatewayPort = gateway,
            },
            static builder => builder.Logging
                .AddFilter("FedRLora", LogLevel.Warning).AddFilter("Orleans", LogLevel.Critical).AddStandardError()
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
