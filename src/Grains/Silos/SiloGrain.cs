using System.Diagnostics;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Logs;
using FedRLora.Grains.Placement;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace FedRLora.Grains.Silos;

/// <summary>
/// Answers for the silo that it runs on. It asks the stores with patience of its own, and nobody waits for another's answer.
/// </summary>
[OnItsSilo, Reentrant]
internal sealed class SiloGrain(
    SiloIdentity silo, ILocalSiloDetails local, ITrainer trainer, IBlobStores stores, LogRing log, TimeProvider time,
    IEnumerable<ISiloAccount> account) : Grain, ISiloGrain
{
    private const string NoKey = "index/"; // of which a store has few
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    public override Task OnActivateAsync(CancellationToken cancellationToken) => this.GetPrimaryKeyString() == silo.Name
        ? Task.CompletedTask
        : throw new InvalidOperationException($"Silo {this.GetPrimaryKeyString()} was asked for on silo {silo.Name}.");

    public async Task<SiloNow> DescribeAsync(CancellationToken cancellationToken = default) => new()
    {
        Name = silo.Name,
        Sites = silo.Sites,
        Address = local.SiloAddress.Endpoint.ToString(),
        Version = typeof(SiloGrain).Assembly.GetName().Version?.ToString(3) ?? "unknown",
        UptimeSeconds = (time.GetUtcNow() - Started()).TotalSeconds,
        Processors = Environment.ProcessorCount,
        MemoryBytes = Environment.WorkingSet,
        MemoryLimitBytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
        Device = trainer.Device,
        Traffic = account.LastOrDefault()?.Traffic(),
        StoreTrouble = await TroubleAsync(stores.Job, cancellationToken)
            ?? (ReferenceEquals(stores.Job, stores.Site) ? null : await TroubleAsync(stores.Site, cancellationToken)),
    };

    public Task<LogLines> LogsAsync(string? run, long after, int most, CancellationToken cancellationToken = default) =>
        Task.FromResult(log.After(run, after, Math.Clamp(most, 0, LogRing.MostLines)));

    private static DateTimeOffset Started()
    {
        using var process = Process.GetCurrentProcess();
        return process.StartTime.ToUniversalTime();
    }

    private async Task<string?> TroubleAsync(IBlobStore store, CancellationToken cancellationToken)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(Patience);
        try
        {
            await Task.Run(async () =>
            {
                await foreach (var _ in store.ListAsync(NoKey, patience.Token)) break;
            }, patience.Token).WaitAsync(Patience, time, cancellationToken);
            return null;
        }
        catch (Exception e) when (StoreUnavailableException.In(e) is { } trouble)
        {
            return trouble.Message.ReplaceLineEndings(" ");
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
        {
            return $"the store has not answered within {Patience.TotalSeconds:F0} s";
        }
    }
}
