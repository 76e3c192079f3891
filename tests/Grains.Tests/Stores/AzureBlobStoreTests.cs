using Azure.Core;
using Azure.Storage.Blobs;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;
using static FedRLora.Grains.Tests.Stores.StoreContent;

namespace FedRLora.Grains.Tests.Stores;

[Collection(AzuriteCollection.Name)]
public sealed class AzureBlobStoreTests(AzuriteServer azurite)
{
    private const int LargeBytes = 9_500_000; // three blocks
    private readonly LostAnswer _lost = new();

    [AzuriteFact]
    public async Task A_lost_answer_to_a_conditional_write_is_no_conflict()
    {
        var store = LosingStore();
        var etag = (await store.WriteAsync("a", "first", WriteCondition.Absent)).ETag;
        foreach (var bytes in new[] { Bytes(100, seed: 1), Bytes(LargeBytes, seed: 2), Bytes(100, seed: 3) })
        {
            _lost.Arm();
            var over = await store.WriteAsync("a", bytes, WriteCondition.Match(etag));
            Assert.False(_lost.IsArmed);
            Assert.Equal(over.Ref.Sha256, Digest(await store.ReadAllAsync("a")));

            _lost.Arm();
            var made = await store.WriteAsync($"{over.Ref.Sha256}", bytes, WriteCondition.Absent);
            Assert.False(_lost.IsArmed);

            await using var opened = (await store.OpenAsync("a"))!;
            Assert.Equal((opened.ETag, opened.SizeBytes), (over.ETag, made.Ref.SizeBytes));
            etag = over.ETag;
        }
    }

    [AzuriteFact]
    public async Task Who_writes_over_a_write_whose_answer_was_lost_makes_it_a_conflict()
    {
        var store = LosingStore();
        _lost.Arm();
        _lost.Meanwhile = async () => await store.WriteAsync("a", "another's", WriteCondition.Any);

        await Assert.ThrowsAsync<BlobConflictException>(() => store.WriteAsync("a", "ours", WriteCondition.Absent));

        Assert.Equal("another's", await store.ReadAsync("a"));
    }

    [AzuriteFact]
    public async Task A_large_write_counts_as_written_over_by_who_commits_before_it()
    {
        var store = azurite.NewStore();
        var (ours, theirs) = (Bytes(LargeBytes, seed: 4), Bytes(LargeBytes, seed: 5));

        var written = await store.WriteAsync("a", async (stream, token) =>
        {
            await stream.WriteAsync(ours, token);
            await store.WriteAsync("a", theirs, cancellationToken: token); // drops the blocks that we have staged
        }, WriteCondition.Any);

        Assert.Equal(Digest(ours), written.Ref.Sha256);
        Assert.Equal(Digest(theirs), Digest(await store.ReadAllAsync("a")));
        await Assert.ThrowsAsync<BlobConflictException>(() => store.WriteAsync("a", "third", WriteCondition.Match(written.ETag)));
    }

    [AzuriteFact]
    public async Task A_large_blob_that_is_written_over_while_it_is_read_is_not_mixed()
    {
        var store = azurite.NewStore();
        await store.WriteAsync("a", Bytes(LargeBytes, seed: 6));
        await using var opened = (await store.OpenAsync("a"))!;
        await opened.Content.ReadExactlyAsync(new byte[1_000]);

        await store.WriteAsync("a", Bytes(LargeBytes, seed: 7));

        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(() => opened.Content.CopyToAsync(Stream.Null));
        Assert.Contains("a was written over or deleted while it was read", refused.Message, StringComparison.Ordinal);
    }

    [AzuriteFact]
    public async Task A_container_that_vanishes_is_a_store_that_is_away_and_not_an_empty_one()
    {
        var container = $"c{Guid.NewGuid():n}";
        var store = azurite.Location($"{azurite.Endpoint}/{container}").Open();
        await store.WriteAsync("a", "a", WriteCondition.Any);

        await new BlobContainerClient(azurite.ConnectionString, container).DeleteAsync();

        await Assert.ThrowsAsync<StoreUnavailableException>(() => store.OpenAsync("a"));
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.ListAsync("").ToArrayAsync());
        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(() => store.WriteAsync("a", "a", WriteCondition.Absent));
        Assert.Contains("container is not there", refused.Message, StringComparison.Ordinal);
    }

    [AzuriteFact]
    public async Task More_blobs_than_a_page_are_listed_and_deleted()
    {
        var store = azurite.NewStore(new AzureStoreOptions { KeysPerPage = 10 });
        var keys = Enumerable.Range(0, 95).Select(static i => $"x/{i:D5}").ToArray();
        await Parallel.ForEachAsync(keys, new ParallelOptions { MaxDegreeOfParallelism = 16 },
            async (key, token) => await store.WriteAsync(key, [1], cancellationToken: token));

        Assert.Equal(keys, await store.ListAsync("x/").ToArrayAsync());
        await store.DeleteAllAsync("x/");

        Assert.Empty(await store.ListAsync("").ToArrayAsync());
    }

    private AzureBlobStore LosingStore() => new("azurite", "", "the test's connection string", options =>
    {
        options.AddPolicy(_lost, HttpPipelinePosition.PerRetry);
        return new BlobContainerClient(azurite.ConnectionString, $"c{Guid.NewGuid():n}", options);
    });
}
