using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

public sealed class CommitLogTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-commits-").FullName;
    private readonly DirectoryBlobStore _store;

    public CommitLogTests() => _store = new DirectoryBlobStore(_folder);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_round_that_is_committed_again_with_the_same_content_is_a_success()
    {
        var first = await CommitAsync(new CommitLog(_store, "job"), Manifest(0, "plan"));

        Assert.Equal(first, await CommitAsync(new CommitLog(_store, "job"), Manifest(0, "plan")));
    }

    [Fact]
    public async Task A_coordinator_that_was_replaced_cannot_commit()
    {
        var replaced = new CommitLog(_store, "job");
        await CommitAsync(replaced, Manifest(0, "plan"));
        var successor = new CommitLog(_store, "job");
        await successor.ReadAsync(default);
        var committed = await CommitAsync(successor, Manifest(1, "theirs"));

        await Assert.ThrowsAsync<CommitConflictException>(() => CommitAsync(replaced, Manifest(1, "ours")));

        Assert.Equal(committed, (await new CommitLog(_store, "job").ReadAsync(default))!.ManifestSha256);
        Assert.Equal("theirs", (await successor.ManifestAsync(1, committed, default)).PlanSha256);
    }

    [Fact]
    public async Task A_manifest_that_a_crash_left_uncommitted_is_replaced()
    {
        var log = new CommitLog(_store, "job");
        await CommitAsync(log, Manifest(0, "plan"));
        await _store.WriteBytesAsync(Keys.Manifest("job", 1, RoundManifest.Digest(Manifest(1, "left").ToBytes())),
            Manifest(1, "left").ToBytes(), Abstractions.Ports.WriteCondition.Any, default);

        var committed = await CommitAsync(log, Manifest(1, "new"));

        Assert.Equal("new", (await log.ManifestAsync(1, committed, default)).PlanSha256);
    }

    [Fact]
    public async Task A_flipped_byte_in_a_manifest_is_named_with_both_digests()
    {
        var log = new CommitLog(_store, "job");
        var committed = await CommitAsync(log, Manifest(0, "plan"));
        var path = Path.Combine(_folder, StoredRounds.Manifest(_folder, "job", 0));
        var bytes = await File.ReadAllBytesAsync(path);
        bytes[^3] ^= 1;
        await File.WriteAllBytesAsync(path, bytes);

        var refused = await Assert.ThrowsAsync<CorruptBlobException>(() => log.ManifestAsync(0, committed, default));

        Assert.Contains(committed, refused.Message, StringComparison.Ordinal);
        Assert.Contains(RoundManifest.Digest(bytes), refused.Message, StringComparison.Ordinal);
    }

    private static Task<string> CommitAsync(CommitLog log, RoundManifest manifest) => log.CommitAsync(manifest, default);

    private static RoundManifest Manifest(int round, string plan) =>
        new() { Round = round, PlanSha256 = plan, Shared = new BlobDigest("00", 1), Clients = [] };
}
