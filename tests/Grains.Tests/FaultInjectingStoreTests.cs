using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

public sealed class FaultInjectingStoreTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-faults-").FullName;
    private readonly DirectoryBlobStore _inner;

    public FaultInjectingStoreTests() => _inner = new DirectoryBlobStore(_folder);

    public void Dispose()
    {
        _inner.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task A_store_is_away_for_the_operations_of_the_span_and_back_after_them()
    {
        var store = new FaultInjectingStore(_inner) { Unavailable = 2..4 };
        await WriteAsync(store, "a");

        await Assert.ThrowsAsync<StoreUnavailableException>(() => WriteAsync(store, "b"));
        await Assert.ThrowsAsync<StoreUnavailableException>(() => store.OpenAsync("a"));
        await WriteAsync(store, "c");

        Assert.Equal(["a", "c"], await KeysAsync());
        Assert.False(store.Crashed.IsCompleted);
    }

    [Theory]
    [InlineData(CrashMode.Before, false)]
    [InlineData(CrashMode.After, true)]
    [InlineData(CrashMode.Torn, false)]
    public async Task A_process_that_died_does_nothing_more(object mode, bool written)
    {
        var store = new FaultInjectingStore(_inner) { Crash = (2, (CrashMode)mode) };
        await WriteAsync(store, "a");

        await Assert.ThrowsAsync<CrashException>(() => WriteAsync(store, "b"));
        await Assert.ThrowsAsync<CrashException>(() => WriteAsync(store, "c"));

        Assert.Equal(written ? ["a", "b"] : ["a"], await KeysAsync());
    }

    private static Task<WrittenBlob> WriteAsync(FaultInjectingStore store, string key) =>
        store.WriteBytesAsync(key, "content"u8.ToArray(), WriteCondition.Any, default);

    private async Task<List<string>> KeysAsync()
    {
        var keys = new List<string>();
        await foreach (var key in _inner.ListAsync("")) keys.Add(key);
        return keys;
    }
}
