using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

public sealed class DirectoryBlobStoreTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-blobs-").FullName;
    private readonly DirectoryBlobStore _store;

    public DirectoryBlobStoreTests() => _store = new DirectoryBlobStore(_folder);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

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

        Assert.All(Directory.EnumerateFiles(_folder, "*", SearchOption.AllDirectories), static file => Assert.Equal(0, new FileInfo(file).Length));
    }

    [Fact]
    public async Task Files_and_folders_that_are_used_again_hold_only_what_was_written_last()
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

        Assert.Equal(["c1/4/head", "c1/4/optimizer", "c2/4/head", "c2/4/optimizer", "c3/4/head", "c3/4/optimizer"], await _store.ListAsync("").ToArrayAsync());
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
    public async Task What_is_kept_to_be_used_again_goes_with_its_store_or_with_the_next_one()
    {
        var spare = Path.Combine(_folder, ".spare");
        await WriteAsync("x/a", "a", WriteCondition.Any);
        await _store.DeleteAllAsync("x/");
        var killed = Path.Combine(spare, "killed"); // what a process that died leaves: its lock is free
        await File.WriteAllTextAsync(killed + ".lock", "");
        await File.WriteAllTextAsync(Path.Combine(Directory.CreateDirectory(Path.Combine(killed, "1")).FullName, "a"), "half deleted");
        await File.WriteAllTextAsync(Path.Combine(spare, "killed-earlier.lock"), "");
        Directory.CreateDirectory(Path.Combine(spare, "without-lock"));

        using var other = new DirectoryBlobStore(_folder);
        var living = Directory.EnumerateFiles(spare, "*", SearchOption.AllDirectories).Count(static file => Path.GetExtension(file) != ".lock");
        _store.Dispose();
        other.Dispose();

        Assert.Equal(1, living); // the first store's own, which lives
        Assert.Empty(Directory.EnumerateFileSystemEntries(spare));
        await WriteAsync("x/b", "b", WriteCondition.Any);
        Assert.Equal("b", await ReadAsync("x/b"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Blobs_are_deleted_also_where_nothing_can_be_kept(bool disposed)
    {
        await WriteAsync("x/a", "a", WriteCondition.Any);
        await _store.DeleteAllAsync("x/");
        if (disposed) _store.Dispose();
        else Array.ForEach(Directory.GetDirectories(Path.Combine(_folder, ".spare")), static folder => Directory.Delete(folder, recursive: true)); // an operator

        await WriteAsync("x/y/b", "b", WriteCondition.Any);
        await _store.DeleteAllAsync("x/");

        Assert.Empty(await _store.ListAsync("").ToArrayAsync());
        Assert.Null(await _store.OpenAsync("x/y/b"));
    }

    [Fact]
    public async Task A_store_keeps_no_more_folders_than_it_makes()
    {
        using var other = new DirectoryBlobStore(_folder);
        for (var i = 0; i < 10; i++) await WriteAsync($"x/{i}/a", "a", WriteCondition.Any);

        await other.DeleteAllAsync("x/");

        Assert.Empty(SpareFolders());
    }

    [Fact]
    public async Task A_folder_that_held_many_entries_goes_when_its_last_file_has_left()
    {
        for (var i = 0; i < 100; i++) await WriteAsync($"x/{i}", "x", WriteCondition.Any);
        await _store.DeleteAllAsync("x/");
        var large = Assert.Single(SpareFolders());
        for (var i = 0; i < 100; i++) await WriteAsync($"y/{i}", "y", WriteCondition.Any);

        await _store.DeleteAllAsync("y/");

        Assert.False(Directory.Exists(large));
    }

    [Fact]
    public async Task A_kept_file_that_cannot_be_used_again_is_deleted()
    {
        await WriteAsync("x/a", "a", WriteCondition.Any);
        await _store.DeleteAllAsync("x/");
        var kept = Assert.Single(Directory.GetFiles(Assert.Single(SpareFolders())));
        await using var held = new FileStream(kept, FileMode.Open, FileAccess.Read, FileShare.Read);

        await WriteAsync("y/b", "b", WriteCondition.Any);

        Assert.False(File.Exists(kept));
        Assert.Equal("b", await ReadAsync("y/b"));
    }

    [Fact]
    public async Task A_reader_never_finds_another_blobs_bytes()
    {
        string[] keys = ["x/a", "y/b", "z/c"];
        string Content(int key) => new((char)('a' + key), 1_000 + key); // of different lengths: two files of one length and moment look the same
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
            for (var i = 0; !enough.IsCancellationRequested; i++) await _store.WriteBytesAsync($"round/updates/{maker}-{i % 8}", "x"u8.ToArray(), WriteCondition.Any, default);
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

    private string[] SpareFolders() => [.. Directory.GetDirectories(Path.Combine(_folder, ".spare")).SelectMany(Directory.GetDirectories)];

    private Task<WrittenBlob> WriteAsync(string key, string text, WriteCondition condition) => _store.WriteAsync(key, text, condition);

    private Task<string> ReadAsync(string key) => ((IBlobStore)_store).ReadAsync(key);
}
