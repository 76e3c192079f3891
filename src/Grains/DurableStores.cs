using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>What makes the stores of a silo durable, for all sites that are in this process.</summary>
public sealed class DurableStores(IBlobStores stores)
{
    private readonly SharedFlush _site = new(stores.Site);
    private readonly SharedFlush? _job = ReferenceEquals(stores.Site, stores.Job) ? null : new(stores.Job);

    /// <summary>Returns when all that was answered before this call survives a power cut in the site's store.</summary>
    /// <exception cref="StoreUnavailableException">The store cannot be used.</exception>
    public Task MakeSiteDurableAsync(CancellationToken cancellationToken) => _site.FlushAsync(cancellationToken);

    /// <summary>The same in the site's store and in the job's.</summary>
    /// <exception cref="StoreUnavailableException">A store cannot be used.</exception>
    public async Task MakeBothDurableAsync(CancellationToken cancellationToken)
    {
        await _site.FlushAsync(cancellationToken);
        if (_job is not null) await _job.FlushAsync(cancellationToken);
    }

    // Whoever asks during a flush shares the next one with all others: a thousand sites in one process cost two of them in a round.
    private sealed class SharedFlush(IBlobStore store)
    {
        private readonly Lock _gate = new();
        private Task _last = Task.CompletedTask;
        private Task? _next; // not begun

        public Task FlushAsync(CancellationToken cancellationToken)
        {
            lock (_gate) return (_next ??= FlushAfterAsync(_last)).WaitAsync(cancellationToken);
        }

        private async Task FlushAfterAsync(Task before)
        {
            await before.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding); // who waited for it has its failure
            lock (_gate) (_last, _next) = (_next!, null); // whoever asks from here on may have written meanwhile
            await store.MakeDurableAsync(CancellationToken.None); // others wait too
        }
    }
}
