using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>
/// Makes the stores of a silo durable. Whoever asks while that is done shares the next time with all others, so that a thousand
/// sites in one process make their files durable twice in a round.
/// </summary>
public sealed class DurableStores(IBlobStores stores)
{
    private readonly Lock _gate = new();
    private Task _last = Task.CompletedTask;
    private Task? _next; // not begun

    /// <summary>Returns when all that was answered before this call survives a power cut, in the job's store and in the site's.</summary>
    /// <exception cref="StoreUnavailableException">A store cannot be used.</exception>
    public Task MakeDurableAsync(CancellationToken cancellationToken)
    {
        lock (_gate) return (_next ??= MakeDurableAfterAsync(_last)).WaitAsync(cancellationToken);
    }

    private async Task MakeDurableAfterAsync(Task before)
    {
        await before.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding); // who waited for it has its failure
        lock (_gate) (_last, _next) = (_next!, null); // whoever asks from here on may have written meanwhile
        await stores.Site.MakeDurableAsync(CancellationToken.None); // others wait too
        if (!ReferenceEquals(stores.Site, stores.Job)) await stores.Job.MakeDurableAsync(CancellationToken.None);
    }
}
