using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

public sealed class DirectoryBlobStoreTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-blobs-").FullName;
    private readonly DirectoryBlobStore _store;

    public DirectoryBlobStoreTests() => _store = new DirectoryBlobStore(_folder);

    public void Dispose()
    {
        _store.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task A_write_that_fails_half_way_leaves_no_temporary_file()
    {
        await Assert.ThrowsAsync<InvalidOperationException>(() => _store.WriteAsync("a", async (stream, token) =>
        {
            await stream.WriteAsync("half"u8.ToArray(), token);
            throw new InvalidOperationException("the trainer has failed");
        }, WriteCondition.Any));

        Assert.Empty(Directory.EnumerateFiles(Path.Combine(_folder, ".tmp")));
    }

    [Fact]
    public async Task A_folder_goes_with_its_last_blob()
    {
        foreach (var key in new[] { "x/y/a", "z/a" }) await WriteAsync(key, key, WriteCondition.Any);

        await _store.DeleteAllAsync("x/y/");
        await _store.DeleteAsync("z/a");

        Assert.False(Directory.Exists(Path.Combine(_folder, "x")));
        Assert.False(Directory.Exists(Path.Combine(_folder, "z")));
    }

    [Fact]
    public async Task A_deleted_blob_leaves_no_byte_behind()
    {
        foreach (var key in new[] { "x/a", "x/y/b" }) await WriteAsync(key, "secret", WriteCondition.Any);

        await _store.DeleteAllAsync("x/");

        Assert.Empty(Directory.EnumerateFiles(_folder, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task What_was_written_last_is_all_that_is_there()
    {
        for (var round = 0; round < 5; round++)
        {
            foreach (var client in new[] { "c1", "c2", "c3" })
            {
                await WriteAsync($"{client}/{round}/head", new string('x', 100 - round), WriteCondition.Any);
                await WriteAsync($"{client}/{round}/optimizer", $"{client} {round}", WriteCondition.Any);
                if (round > 0) await _store.DeleteAllAsync($"{client}/{round - 1}/");
            }
        }

        Assert.Equal(["c1/4/head", "c1/4/optimizer", "c2/4/head", "c2/4/optimizer", "c3/4/head", "c3/4/optimizer"],
            await _store.ListAsync("").ToArrayAsync());
        Assert.Equal((new string('x', 96), "c2 4"), (await ReadAsync("c2/4/head"), await ReadAsync("c2/4/optimizer")));
    }

    [Fact]
    public async Task Who_reads_a_blob_that_is_deleted_reads_on()
    {
        await WriteAsync("x/a", "old", WriteCondition.Any);
        await using var open = (await _store.OpenAsync("x/a"))!;

        await _store.DeleteAllAsync("x/");
        await WriteAsync("x/b", "new", WriteCondition.Any);

        using var reader = new StreamReader(open.Content);
        Assert.Equal("old", await reader.ReadToEndAsync());
    }

    [Fact]
    public async Task A_reader_never_finds_another_blobs_bytes()
    {
        string[] keys = ["x/a", "y/b", "z/c"];
        // of different lengths: two files of one length and moment look the same
        string Content(int key) => new((char)('a' + key), 1_000 + key);
        using var over = new CancellationTokenSource();
        var readers = keys.Select((key, index) => Task.Run(async () =>
        {
            while (!over.IsCancellationRequested)
            {
                await using var blob = await _store.OpenAsync(key);
                if (blob is null) continue;
                using var reader = new StreamReader(blob.Content);
                Assert.Equal(Content(index), await reader.ReadToEndAsync());
            }
        })).ToArray();

        for (var round = 0; round < 3_000; round++)
        {
            for (var key = 0; key < keys.Length; key++)
            {
                await WriteAsync(keys[key], Content(key), WriteCondition.Any);
                await _store.DeleteAllAsync(keys[(key + 1) % keys.Length][..2]);
            }
        }

        await over.CancelAsync();
        await Task.WhenAll(readers);
    }

    [Fact]
    public async Task A_write_is_placed_although_its_folder_comes_and_goes()
    {
        using var enough = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        var deleting = Task.Run(async () =>
        {
            while (!enough.IsCancellationRequested) await _store.DeleteAllAsync("round/updates/", default);
        });
        var makers = Enumerable.Range(0, 3).Select(maker => Task.Run(async () =>
        {
            for (var i = 0; !enough.IsCancellationRequested; i++)
                await _store.WriteBytesAsync($"round/updates/{maker}-{i % 8}", "x"u8.ToArray(), WriteCondition.Any, default);
        })).ToArray();

        await Task.WhenAll([deleting, .. makers]);
    }

    [Fact]
    public async Task A_blob_can_be_read_at_every_moment_while_it_is_written_over()
    {
        await WriteAsync("current", "0", WriteCondition.Any);
        using var over = new CancellationTokenSource();
        var readers = Enumerable.Range(0, 2).Select(_ => Task.Run(() =>
        {
            while (!over.IsCancellationRequested) Assert.NotEmpty(File.ReadAllBytes(Path.Combine(_folder, "current")));
        })).ToArray();

        for (var version = 1; version <= 2_000; version++) await WriteAsync("current", $"{version}", WriteCondition.Any);
        await over.CancelAsync();

        await Task.WhenAll(readers);
    }

    private Task<WrittenBlob> WriteAsync(string key, string text, WriteCondition condition) => _store.WriteAsync(key, text, condition);

    private Task<string> ReadAsync(string key) => ((IBlobStore)_store).ReadAsync(key);
}
