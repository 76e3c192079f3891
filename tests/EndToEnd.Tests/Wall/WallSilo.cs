using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.Grains.Tests;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>A silo in this process with its control plane and a fake trainer, whose rounds a test lets go one by one.</summary>
internal sealed class WallSilo : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-wall-");
    private readonly IHost _host;
    private readonly Lock _gate = new();
    private readonly List<TaskCompletionSource> _waiting = [];
    private int _last = int.MaxValue; // of the rounds that may train

    private WallSilo(ControlOptions control)
    {
        var (silo, gateway) = SiloPorts.Free();
        Trainer = new FakeTrainer { BeforeTraining = (group, token) => MayTrainAsync(group.Round).WaitAsync(token) };
        _host = SiloHost.Create(
            new SiloOptions
            {
                Name = "one", Sites = ["*"], Root = _folder.FullName, Store = Path.Combine(_folder.FullName, "store"), SiloPort = silo,
                GatewayPort = gateway, Durability = Durability.Fast,
                Control = control,
            },
            builder =>
            {
                builder.Logging.SetMinimumLevel(LogLevel.None);
                builder.Services.RemoveAll<ITrainer>().AddSingleton<ITrainer>(Trainer);
                builder.Services.RemoveAll<IAdapterExporter>().AddSingleton<IAdapterExporter>(Trainer);
                builder.Services.RemoveAll<IRunInputs>().AddSingleton<IRunInputs>(new FakeInputs());
            });
    }

    public FakeTrainer Trainer { get; }

    /// <summary>An address that lets one browser in.</summary>
    public string Entrance => $"{_host.Services.GetRequiredService<ControlServer>().EntranceAddress()}";

    /// <summary>What a command is given to reach it.</summary>
    public string[] Target
    {
        get
        {
            var control = _host.Services.GetRequiredService<ControlServer>();
            return ["--server", $"{control.Address}", "--token-file", control.TokenFile];
        }
    }

    /// <summary>The folder of its store.</summary>
    public string Store => Path.Combine(_folder.FullName, "store");

    /// <summary>What its control plane stands on.</summary>
    public ControlServices Services => ControlServices.Of(_host.Services);

    /// <summary>Its control plane.</summary>
    public ControlServer Control => _host.Services.GetRequiredService<ControlServer>();

    public static async Task<WallSilo> StartAsync(ControlOptions? control = null)
    {
        var silo = new WallSilo(control ?? ControlOptions.OnPort(0));
        await silo._host.StartAsync();
        return silo;
    }

    /// <summary>Begins a run; its rounds up to <paramref name="last"/> may train.</summary>
    public async Task SubmitAsync(string run, string plan, int last = int.MaxValue)
    {
        Let(last);
        await Run(run).SubmitAsync(plan);
    }

    /// <summary>Rounds up to this one may train.</summary>
    public void Let(int last)
    {
        lock (_gate)
        {
            _last = last;
            foreach (var waiting in _waiting) waiting.TrySetResult();
            _waiting.Clear();
        }
    }

    /// <summary>Waits until a round of a run is committed.</summary>
    public async Task CommittedAsync(string run, int round, CancellationToken cancellationToken = default)
    {
        while (await Run(run).GetProgressAsync(round - 1, cancellationToken) is not { NewRounds.Count: > 0 })
            await Task.Delay(5, cancellationToken);
    }

    /// <summary>Where a run stands.</summary>
    public async Task<JobStatus> StatusAsync(string run) => (await Run(run).GetProgressAsync(int.MaxValue - 1))!.Status;

    public async ValueTask DisposeAsync()
    {
        Let(int.MaxValue);
        await _host.StopAsync();
        _host.Dispose();
        _folder.Delete(recursive: true);
    }

    private IRunControlGrain Run(string run) => _host.Services.GetRequiredService<IGrainFactory>().GetGrain<IRunControlGrain>(run);

    private async Task MayTrainAsync(int round)
    {
        while (true)
        {
            TaskCompletionSource waiting;
            lock (_gate)
            {
                if (round <= _last) return;
                _waiting.Add(waiting = new(TaskCreationOptions.RunContinuationsAsynchronously));
            }

            await waiting.Task;
        }
    }
}
