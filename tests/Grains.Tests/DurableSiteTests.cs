using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Sites;

namespace FedRLora.Grains.Tests;

public sealed class DurableSiteTests
{
    [Fact]
    public async Task Whoever_asks_while_it_is_done_shares_the_next_time()
    {
        var store = new SlowStore();
        var durable = new DurableSite(new Stores(store, store));
        var first = durable.MakeDurableAsync(CancellationToken.None);
        await store.Begun.WaitAsync();

        var others = Enumerable.Range(0, 1_000).Select(_ => durable.MakeDurableAsync(CancellationToken.None)).ToArray();
        store.Go.Release();
        await first;
        await store.Begun.WaitAsync();
        Assert.DoesNotContain(others, static other => other.IsCompleted);
        store.Go.Release();
        await Task.WhenAll(others);

        Assert.Equal(2, store.Times);
    }

    [Fact]
    public async Task A_failure_is_that_of_those_who_waited_for_it()
    {
        var store = new SlowStore { Trouble = new StoreUnavailableException("no space left") };
        var durable = new DurableSite(new Stores(store, store));
        store.Go.Release(2);

        await Assert.ThrowsAsync<StoreUnavailableException>(() => durable.MakeDurableAsync(CancellationToken.None));
        store.Trouble = null;

        await durable.MakeDurableAsync(CancellationToken.None);
    }

    private sealed record Stores(IBlobStore Job, IBlobStore Site) : IBlobStores;

    private sealed class SlowStore : IBlobStore
    {
        public SemaphoreSlim Begun { get; } = new(0);

        public SemaphoreSlim Go { get; } = new(0);

        public Exception? Trouble { get; set; }

        public int Times { get; private set; }

        public async Task MakeDurableAsync(CancellationToken cancellationToken = default)
        {
            Times++;
            Begun.Release();
            await Go.WaitAsync(cancellationToken);
            if (Trouble is { } trouble) throw trouble;
        }

        public Task<WrittenBlob> WriteAsync(
            string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
            CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public IAsyncEnumerable<string> ListAsync(string prefix, CancellationToken cancellationToken = default) =>
            throw new NotSupportedException();

        public Task DeleteAsync(string key, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default) => throw new NotSupportedException();
    }
}
