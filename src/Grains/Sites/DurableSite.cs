using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Sites;

/// <summary>
/// Makes a silo's site store durable, for all sites that are in this process. Whoever asks during a flush shares the next one with all
/// others: a thousand sites cost two of them in a round. Updates in the job's store need none: who lost one trains again.
/// </summary>
public sealed class DurableSite(IBlobStores stores)
{
    private readonly Lock _gate = new();
    private Task _last = Task.CompletedTask;
    private Task? _next; // not begun

    /// <summary>Returns when all that was answered before this call survives a power cut.</summary>
    /// <exception cref="StoreUnavailableException">The store cannot be used.</exception>
    public Task MakeDurableAsync(CancellationToken cancellationToken)
    {
        lock (_gate) return (_next ??= FlushAfterAsync(_last)).WaitAsync(cancellationToken);
    }

    private async Task FlushAfterAsync(Task before)
    {
        // Who waited for it has its failure.
        await before.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding);
        lock (_gate) (_last, _next) = (_next!, null); // whoever asks from here on may have written meanwhile
        await stores.Site.MakeDurableAsync(CancellationToken.None); // others wait too
    }
}
