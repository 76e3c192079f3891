using System.Text;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

public sealed class DirectoryBlobStoreTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-blobs-").FullName;
    private readonly DirectoryBlobStore _store;

    public DirectoryBlobStoreTests() => _store = new DirectoryBlobStore(_folder);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_blob_is_read_as_it_was_written_with_its_digest()
    {
        var written = await WriteAsync("a/b.txt", "hello", WriteCondition.Any);

        Assert.Equal("hello", await ReadAsync("a/b.txt"));
        Assert.Equal(("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", 5L), (written.Ref.Sha256, written.Ref.SizeBytes));
    }

    [Fact]
    public async Task A_blob_that_must_be_absent_is_not_overwritten()
    {
        await WriteAsync("a", "first", WriteCondition.Absent);

        await Assert.ThrowsAsync<BlobConflictException>(() => WriteAsync("a", "second", WriteCondition.Absent));

        Assert.Equal("first", await ReadAsync("a"));
    }

    [Fact]
    public async Task Of_many_writers_over_one_version_exactly_one_wins()
    {
        var etag = (await WriteAsync("current", "0", WriteCondition.Absent)).ETag;
        var other = new DirectoryBlobStore(_folder); // as another process would open it

        var outcomes = await Task.WhenAll(Enumerable.Range(1, 16).Select(async writer =>
        {
            try
            {
                await (writer % 2 == 0 ? _store : other).WriteAsync("current", Text($"{writer}"), WriteCondition.Match(etag));
                return writer;
            }
            catch (BlobConflictException)
            {
                return 0;
            }
        }));

        var winner = Assert.Single(outcomes, static outcome => outcome != 0);
        Assert.Equal($"{winner}", await ReadAsync("current"));
    }

    [Fact]
    public async Task A_write_that_fails_half_way_leaves_the_old_content()
    {
        await WriteAsync("a", "old", WriteCondition.Any);

        await Assert.ThrowsAsync<InvalidOperationException>(() => _store.WriteAsync("a", async (stream, token) =>
        {
            await stream.WriteAsync("half"u8.ToArray(), token);
            throw new InvalidOperationException("the disk is full");
        }, WriteCondition.Any));

        Assert.Equal("old", await ReadAsync("a"));
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(_folder, ".tmp")));
    }

    [Fact]
    public async Task Keys_are_listed_by_prefix_in_ordinal_order_and_deleted_ones_are_gone()
    {
        foreach (var key in new[] { "x/b", "x/a/c", "x/B", "y/a", "xx" }) await WriteAsync(key, key, WriteCondition.Any);

        await _store.DeleteAsync("x/a/c");
        await _store.DeleteAsync("x/a/c");

        Assert.Equal(["x/B", "x/b"], await _store.ListAsync("x/").ToArrayAsync());
        Assert.Null(await _store.OpenAsync("x/a/c"));
    }

    [Theory]
    [InlineData("../outside")]
    [InlineData("a//b")]
    [InlineData("/etc/passwd")]
    [InlineData("a/./b")]
    [InlineData("a b")]
    [InlineData(".locks/x")]
    [InlineData("")]
    public async Task A_key_cannot_leave_the_folder(string key) => await Assert.ThrowsAsync<ArgumentException>(() => WriteAsync(key, "x", WriteCondition.Any));

    private Task<WrittenBlob> WriteAsync(string key, string text, WriteCondition condition) => _store.WriteAsync(key, Text(text), condition);

    private static Func<Stream, CancellationToken, Task> Text(string text) => (stream, token) => stream.WriteAsync(Encoding.UTF8.GetBytes(text), token).AsTask();

    private async Task<string> ReadAsync(string key)
    {
        await using var blob = await _store.OpenAsync(key) ?? throw new FileNotFoundException(key);
        using var reader = new StreamReader(blob.Content);
        return await reader.ReadToEndAsync();
    }
}
