using FedRLora.Abstractions.Ports;
using static FedRLora.Grains.Tests.Stores.StoreContent;

namespace FedRLora.Grains.Tests.Stores;

/// <summary>What every store promises; each store inherits these tests.</summary>
public abstract class BlobStoreConformance
{
    private const int LargeBytes = 9_500_000; // three blocks, the last one not full

    /// <summary>The store under test.</summary>
    protected abstract IBlobStore Store { get; }

    /// <summary>The same store, as another process would open it.</summary>
    protected abstract IBlobStore OpenAgain();

    [StoreFact]
    public async Task A_blob_is_read_as_it_was_written_with_its_digest()
    {
        var written = await Store.WriteAsync("a/b.txt", "hello", WriteCondition.Any);

        Assert.Equal("hello", await Store.ReadAsync("a/b.txt"));
        Assert.Equal(("a/b.txt", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", 5L),
            (written.Ref.Key, written.Ref.Sha256, written.Ref.SizeBytes));
    }

    [StoreFact]
    public async Task Blobs_of_every_size_come_back_whole()
    {
        const int block = 4 << 20;
        foreach (var size in new[] { 0, 1, 100_000, block - 1, block, block + 1, 2 * block, LargeBytes })
        {
            var bytes = Bytes(size, seed: size);

            var written = await Store.WriteAsync($"sizes/{size}", bytes);

            Assert.Equal((Digest(bytes), (long)size), (written.Ref.Sha256, written.Ref.SizeBytes));
            Assert.Equal(written.Ref.Sha256, Digest(await Store.ReadAllAsync($"sizes/{size}")));
        }
    }

    [StoreFact]
    public async Task A_blob_is_written_and_read_in_small_pieces_in_place()
    {
        var bytes = Bytes(LargeBytes, seed: 1);

        var written = await Store.WriteAsync("a", (stream, token) => Task.Run(() =>
        {
            for (var at = 0; at < bytes.Length; at += 70_001) stream.Write(bytes, at, Math.Min(70_001, bytes.Length - at));
        }, token), WriteCondition.Any);

        await using var opened = (await Store.OpenAsync("a"))!;
        var read = new byte[LargeBytes];
        await Task.Run(() =>
        {
            for (var at = 0; at < read.Length;) at += opened.Content.Read(read, at, Math.Min(300_007, read.Length - at));
        });
        Assert.Equal(0, opened.Content.Read(new byte[1], 0, 1));
        Assert.Equal((written.Ref.Sha256, written.Ref.Sha256), (Digest(bytes), Digest(read)));
    }

    [StoreFact]
    public async Task A_blob_that_is_not_there_opens_as_null() => Assert.Null(await Store.OpenAsync("nobody/wrote/this"));

    [StoreFact]
    public async Task A_blob_that_must_be_absent_is_not_overwritten()
    {
        await Store.WriteAsync("a", "first", WriteCondition.Absent);

        await Assert.ThrowsAsync<BlobConflictException>(() => Store.WriteAsync("a", "second", WriteCondition.Absent));
        await Assert.ThrowsAsync<BlobConflictException>(() => Store.WriteAsync("a", Bytes(LargeBytes, seed: 2), WriteCondition.Absent));

        Assert.Equal("first", await Store.ReadAsync("a"));
    }

    [StoreFact]
    public async Task A_version_is_written_over_once()
    {
        var first = await Store.WriteAsync("a", "first", WriteCondition.Absent);

        var second = await Store.WriteAsync("a", "second", WriteCondition.Match(first.ETag));

        await Assert.ThrowsAsync<BlobConflictException>(() => Store.WriteAsync("a", "third", WriteCondition.Match(first.ETag)));
        await Assert.ThrowsAsync<BlobConflictException>(
            () => Store.WriteAsync("a", Bytes(LargeBytes, seed: 3), WriteCondition.Match(first.ETag)));
        await Assert.ThrowsAsync<BlobConflictException>(() => Store.WriteAsync("b", "third", WriteCondition.Match(first.ETag)));
        Assert.NotEqual(first.ETag, second.ETag);
        Assert.Equal("second", await Store.ReadAsync("a"));
    }

    [StoreFact]
    public async Task A_version_is_the_same_to_who_wrote_it_and_to_who_opens_it()
    {
        var empty = await Store.WriteAsync("empty", [], WriteCondition.Any);
        var small = await Store.WriteAsync("small", "hello", WriteCondition.Any);
        var large = await Store.WriteAsync("large", Bytes(LargeBytes, seed: 4));

        await using var openedEmpty = (await Store.OpenAsync("empty"))!;
        await using var openedSmall = (await Store.OpenAsync("small"))!;
        await using var openedLarge = (await Store.OpenAsync("large"))!;

        Assert.Equal((empty.ETag, small.ETag, large.ETag), (openedEmpty.ETag, openedSmall.ETag, openedLarge.ETag));
        await Store.WriteAsync("large", "over it", WriteCondition.Match(openedLarge.ETag));
    }

    [StoreFact]
    public async Task Of_many_writers_over_one_version_exactly_one_wins()
    {
        var etag = (await Store.WriteAsync("current", "0", WriteCondition.Absent)).ETag;

        await RaceAsync("current", WriteCondition.Match(etag));
    }

    [StoreFact]
    public async Task Of_many_writers_where_nothing_is_exactly_one_wins() => await RaceAsync("new", WriteCondition.Absent);

    [StoreFact]
    public async Task Of_large_writes_at_once_without_a_condition_one_is_there_whole()
    {
        var contents = Enumerable.Range(0, 4).Select(static seed => Bytes(LargeBytes, seed)).ToArray();

        var written = await Task.WhenAll(contents.Select(bytes => Store.WriteAsync("a", bytes)));

        Assert.Equal(contents.Select(Digest), written.Select(static blob => blob.Ref.Sha256));
        Assert.Contains(Digest(await Store.ReadAllAsync("a")), contents.Select(Digest));
    }

    [StoreFact]
    public async Task A_write_that_fails_half_way_leaves_the_old_content()
    {
        await Store.WriteAsync("a", "old", WriteCondition.Any);

        await Assert.ThrowsAsync<InvalidOperationException>(() => FailAsync("a"));
        await Assert.ThrowsAsync<InvalidOperationException>(() => FailAsync("b"));

        Assert.Equal("old", await Store.ReadAsync("a"));
        Assert.Null(await Store.OpenAsync("b"));
        Assert.Equal(["a"], await Store.ListAsync("").ToArrayAsync());
    }

    [StoreFact]
    public async Task A_reader_finds_the_old_content_or_the_new_and_never_a_part()
    {
        await Store.WriteAsync("current", new string('a', 1_000), WriteCondition.Any);
        using var over = new CancellationTokenSource();
        var reads = 0;
        var readers = Enumerable.Range(0, 2).Select(_ => Task.Run(async () =>
        {
            while (!over.IsCancellationRequested)
            {
                var text = await Store.ReadAsync("current");
                Assert.Equal(new string(text[0], 1_000 * (text[0] - 'a' + 1)), text);
                Interlocked.Increment(ref reads);
            }
        })).ToArray();

        for (var version = 0; version < 200 || (Volatile.Read(ref reads) <= 20 && !readers.Any(reader => reader.IsCompleted)); version++)
            await Store.WriteAsync("current", new string((char)('a' + (version % 26)), 1_000 * ((version % 26) + 1)), WriteCondition.Any);
        await over.CancelAsync();

        await Task.WhenAll(readers);
        Assert.True(reads > 20, $"{reads} reads");
    }

    [StoreFact]
    public async Task Keys_are_listed_by_prefix_in_ordinal_order_and_deleted_ones_are_gone()
    {
        foreach (var key in new[] { "x/b", "x/a/c", "x/B", "y/a", "xx", "x/a-c", "x/a.c", "x/10", "x/9" })
            await Store.WriteAsync(key, key, WriteCondition.Any);

        await Store.DeleteAsync("x/a/c");
        await Store.DeleteAsync("x/a/c");

        Assert.Equal(["x/10", "x/9", "x/B", "x/a-c", "x/a.c", "x/b"], await Store.ListAsync("x/").ToArrayAsync());
        Assert.Equal(["x/a-c", "x/a.c"], await Store.ListAsync("x/a").ToArrayAsync());
        Assert.Equal("xx", (await Store.ListAsync("x").ToArrayAsync())[^1]);
        Assert.Empty(await Store.ListAsync("nothing/here/").ToArrayAsync());
        Assert.Null(await Store.OpenAsync("x/a/c"));
    }

    [StoreFact]
    public async Task What_lies_under_a_prefix_is_deleted_and_what_lies_beside_it_stays()
    {
        foreach (var key in new[] { "x/a", "x/y/b", "xx/a", "z/x/a" }) await Store.WriteAsync(key, key, WriteCondition.Any);

        await Store.DeleteAllAsync("x/");
        await Store.DeleteAllAsync("nothing/here/");

        Assert.Equal(["xx/a", "z/x/a"], await Store.ListAsync("").ToArrayAsync());
    }

    [StoreFact]
    public async Task A_deleted_blob_can_be_written_anew()
    {
        var first = await Store.WriteAsync("a", "first", WriteCondition.Absent);
        await Store.DeleteAsync("a");

        await Assert.ThrowsAsync<BlobConflictException>(() => Store.WriteAsync("a", "second", WriteCondition.Match(first.ETag)));
        await Store.WriteAsync("a", "third", WriteCondition.Absent);

        Assert.Equal("third", await Store.ReadAsync("a"));
    }

    [StoreFact]
    public async Task What_one_process_writes_another_reads()
    {
        await Store.WriteAsync("a", "written here", WriteCondition.Any);

        Assert.Equal("written here", await OpenAgain().ReadAsync("a"));
    }

    [StoreFact]
    public async Task A_key_that_leaves_its_place_is_refused_by_every_operation()
    {
        foreach (var key in new[] { "../outside", "a//b", "/etc/passwd", "a/./b", "a b", ".locks/x", "a?b", "a%2e", "" })
        {
            await Assert.ThrowsAsync<ArgumentException>(() => Store.WriteAsync(key, "x", WriteCondition.Any));
            await Assert.ThrowsAsync<ArgumentException>(() => Store.OpenAsync(key));
            await Assert.ThrowsAsync<ArgumentException>(() => Store.DeleteAsync(key));
            await Assert.ThrowsAsync<ArgumentException>(() => Store.DeleteAllAsync(key + "/"));
            await Assert.ThrowsAsync<ArgumentException>(async () => await Store.ListAsync(key + "/").ToArrayAsync());
        }
    }

    [StoreFact]
    public async Task A_cancelled_write_is_cancelled_and_leaves_the_old_content()
    {
        await Store.WriteAsync("a", "old", WriteCondition.Any);
        using var source = new CancellationTokenSource();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Store.WriteAsync("a", async (stream, token) =>
        {
            await stream.WriteAsync(Bytes(LargeBytes, seed: 5), token);
            await source.CancelAsync();
            await stream.WriteAsync(Bytes(LargeBytes, seed: 6), token);
        }, WriteCondition.Any, source.Token));

        Assert.Equal("old", await Store.ReadAsync("a"));
    }

    private async Task FailAsync(string key) => await Store.WriteAsync(key, async (stream, token) =>
    {
        await stream.WriteAsync(Bytes(LargeBytes, seed: 7), token);
        throw new InvalidOperationException("the trainer has failed");
    }, WriteCondition.Any);

    private async Task RaceAsync(string key, WriteCondition condition)
    {
        var other = OpenAgain();

        var outcomes = await Task.WhenAll(Enumerable.Range(1, 16).Select(async writer =>
        {
            try
            {
                await (writer % 2 == 0 ? Store : other).WriteAsync(key, $"{writer}", condition);
                return writer;
            }
            catch (BlobConflictException)
            {
                return 0;
            }
        }));

        var winner = Assert.Single(outcomes, static outcome => outcome != 0);
        Assert.Equal($"{winner}", await Store.ReadAsync(key));
    }
}
