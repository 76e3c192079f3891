using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Sending;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.Silo;
using FedRLora.Training;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace FedRLora.Client.Local;

/// <summary>A whole federation in this process: one silo on loopback that serves every site of the plan.</summary>
internal sealed class EmbeddedSilo : IAsyncDisposable
{
    private readonly IHost _host;

    private EmbeddedSilo(IHost host) => _host = host;

    public IGrainFactory Grains => _host.Services.GetRequiredService<IGrainFactory>();

    /// <summary>An address that lets one browser see the run; null where it is not seen over HTTP.</summary>
    public Uri? EntranceAddress => _host.Services.GetService<ControlServer>()?.EntranceAddress();

    /// <param name="run">The run that it is for.</param>
    /// <param name="maySend">What the sites let leave them.</param>
    /// <param name="work">What it works on.</param>
    /// <param name="note">Gets what is to be known of the run's inputs.</param>
    /// <param name="forecast">Gets how long training and scoring will take.</param>
    /// <param name="dashboard">Whether it is seen over HTTP.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public static async Task<EmbeddedSilo> StartAsync(
        RunDirectory run, SendingLimits maySend, Workplace work, NoteSink note, ForecastSink forecast, bool dashboard,
        CancellationToken cancellationToken)
    {
        var (silo, gateway) = SiloPorts.Free();
        var host = SiloHost.Create(
            new SiloOptions
            {
                Name = "embedded", Sites = ["*"], Root = run.Record.Root, Store = run.Store, StoreMode = run.Record.Mode,
                Durability = run.Record.Durability, Mlflow = run.Mlflow, SiloPort = silo, GatewayPort = gateway, Lanes = work.Lanes,
                Devices = work.Devices,
                MaySend = maySend,
                BeginsReferences = false, // the folder's own reference is begun, resumed and shown by who runs the folder
                Control = dashboard ? ControlOptions.OnPort(0) with { IsOfOneRun = true } : null,
            },
            builder =>
            {
                builder.Services.AddSingleton(note);
                builder.Services.AddSingleton(forecast);
                // In place of its own. Who gave them frees them: what a container is given as it is, it leaves alone.
                if (work.Trainers is { } trainers) builder.Services.AddSingleton(trainers).AddSingleton<IPrompter>(trainers);
                builder.Logging.AddFilter("Orleans", LogLevel.Critical).AddStandardError()
                    .AddFilter<ConsoleLoggerProvider>("FedRLora", LogLevel.Warning)
                    .AddFilter<ConsoleLoggerProvider>("FedRLora.Grains", LogLevel.Error);
            });
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
