using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;
using static FedRLora.Grains.Tests.Stores.StoreContent;

namespace FedRLora.Grains.Tests.Stores;

[Collection(AzuriteCollection.Name)]
public sealed class AzureOutageTests(AzuriteServer azurite)
{
    private const int LargeBytes = 9_500_000; // three blocks
    private static readonly AzureStoreOptions Impatient = new()
    {
        Budget = TimeSpan.FromSeconds(2),
        NetworkTimeout = TimeSpan.FromSeconds(0.5),
    };

    /// <summary>Some seconds, or twenty where there is time for the long form.</summary>
    internal static TimeSpan Outage { get; } = TimeSpan.FromSeconds(Environment.GetEnvironmentVariable("FEDRLORA_SOAK") is null ? 3 : 20);

    [Fact]
    public async Task A_server_that_nobody_runs_is_named_within_the_budget()
    {
        var port = AzuriteServer.FreePort();

        var refused = await RefusedInTimeAsync(port);

        Assert.Contains("Connection refused", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(AzuriteServer.AccountKey, refused.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_never_answers_is_named_within_the_budget()
    {
        using var silent = new SilentServer();

        var refused = await RefusedInTimeAsync(silent.Port);

        Assert.Contains("the connection hangs", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_gives_up_waiting_for_a_server_is_let_go_at_once()
    {
        using var silent = new SilentServer();
        using var source = new CancellationTokenSource(TimeSpan.FromMilliseconds(300));
        var since = Stopwatch.GetTimestamp();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => At(silent.Port).Open().WriteAsync("a", [1], cancellationToken: source.Token));

        Assert.True(Stopwatch.GetElapsedTime(since) < TimeSpan.FromMinutes(1));
    }

    [AzuriteFact]
    public async Task Writes_and_reads_wait_for_a_server_that_comes_back()
    {
        var store = azurite.NewStore();
        await store.WriteAsync("old", Bytes(LargeBytes, seed: 1));
        await using var opened = (await store.OpenAsync("old"))!;
        using var over = new CancellationTokenSource();
        var (done, inOutage) = (0, 0);
        var workers = Enumerable.Range(0, 4).Select(worker => Task.Run(async () =>
        {
            for (var i = 0; !over.IsCancellationRequested; i++)
            {
                var bytes = Bytes(worker % 2 == 0 ? LargeBytes : 1_000, seed: i);
                var written = await store.WriteAsync($"{worker}/{i}", bytes);
                Assert.Equal((Digest(bytes), Digest(bytes)), (written.Ref.Sha256, Digest(await store.ReadAllAsync($"{worker}/{i}"))));
                Interlocked.Increment(ref done);
            }
        })).ToArray();
        await UntilAsync(() => done > 8, workers);

        await azurite.StopAsync();
        inOutage = done;
        await Task.Delay(Outage);
        Assert.InRange(done, inOutage, inOutage + workers.Length); // they wait
        await azurite.StartAsync();

        inOutage = done;
        await UntilAsync(() => done > inOutage + 8, workers);
        await over.CancelAsync();
        await Task.WhenAll(workers);
        using var copy = new MemoryStream();
        await opened.Content.CopyToAsync(copy); // opened before, read after
        Assert.Equal(Digest(Bytes(LargeBytes, seed: 1)), Digest(copy.ToArray()));
    }

    [AzuriteFact]
    public async Task A_server_that_is_killed_in_a_large_upload_tears_nothing()
    {
        var (old, large) = (Bytes(1_000, seed: 2), Bytes(64 << 20, seed: 3));
        var store = azurite.NewStore();
        await store.WriteAsync("there", old);
        await azurite.StopAsync(); // which saves what was written
        await azurite.StartAsync();
        foreach (var key in new[] { "there", "new" })
        {
            var half = new TaskCompletionSource();
            var restarted = new TaskCompletionSource();
            var writing = store.WriteAsync(key, async (stream, token) =>
            {
                await stream.WriteAsync(large.AsMemory(0, large.Length / 2), token);
                half.SetResult();
                await stream.WriteAsync(large.AsMemory(large.Length / 2), token); // into the server's death
                await restarted.Task;
            }, WriteCondition.Any);
            await half.Task;

            await azurite.KillAsync();
            await Task.Delay(TimeSpan.FromSeconds(1));
            await azurite.StartAsync();

            Assert.Equal(key == "there" ? Digest(old) : null, await DigestOfAsync(store, key));
            restarted.SetResult();
            await AssertWholeAsync(store, key, writing, old, large);
        }
    }

    private static async Task AssertWholeAsync(IBlobStore store, string key, Task<WrittenBlob> writing, byte[] old, byte[] large)
    {
        try
        {
            Assert.Equal(Digest(large), (await writing).Ref.Sha256);
            Assert.Equal(Digest(large), await DigestOfAsync(store, key));
        }
        catch (StoreUnavailableException refused) // the server has forgotten blocks that it had acknowledged
        {
            Assert.Contains(key, refused.Message, StringComparison.Ordinal);
            Assert.Equal(key == "there" ? Digest(old) : null, await DigestOfAsync(store, key));
            await store.WriteAsync(key, large);
            Assert.Equal(Digest(large), await DigestOfAsync(store, key));
        }
    }

    private static async Task<string?> DigestOfAsync(IBlobStore store, string key)
    {
        await using var opened = await store.OpenAsync(key);
        if (opened is null) return null;
        using var copy = new MemoryStream();
        await opened.Content.CopyToAsync(copy);
        return Digest(copy.ToArray());
    }

    private static StoreLocation At(int port)
    {
        var endpoint = string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}/{AzuriteServer.Account}");
        return StoreLocation.Parse(StoreRole.Job, $"{endpoint}/container",
            _ => $"DefaultEndpointsProtocol=http;AccountName={AzuriteServer.Account};AccountKey={AzuriteServer.AccountKey};"
                + $"BlobEndpoint={endpoint};");
    }

    private static async Task<StoreUnavailableException> RefusedInTimeAsync(int port)
    {
        var location = At(port);
        var since = Stopwatch.GetTimestamp();

        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(() => location.Open(options: Impatient).OpenAsync("a"));

        Assert.InRange(Stopwatch.GetElapsedTime(since).TotalSeconds, 1.9, 30); // two seconds; a busy machine may be late to notice
        Assert.StartsWith($"Store {location.Name}: not reached within 2 s in ", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(" in 1 tries", refused.Message, StringComparison.Ordinal);
        return refused;
    }

    private static async Task UntilAsync(Func<bool> condition, Task[] workers)
    {
        while (!condition())
        {
            if (workers.Any(static worker => worker.IsCompleted)) await Task.WhenAll(workers); // one has failed
            await Task.Delay(10);
        }
    }
}
