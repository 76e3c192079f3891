using System.Diagnostics;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;
using static FedRLora.Grains.Tests.Stores.StoreContent;

namespace FedRLora.Grains.Tests.Stores;

public sealed class FolderErrorTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-errors-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_full_disk_is_named_and_the_same_write_succeeds_when_there_is_room()
    {
        var room = int.MaxValue;
        using var store = new DirectoryBlobStore(_folder, StoreMode.Private, Durability.Full,
            (root, mode) => new SmallDisk(LocalDisk.Open(root, mode), () => room));
        await store.WriteAsync("a", "old", WriteCondition.Any);
        room = 200_000;

        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(() => store.WriteAsync("a", Bytes(300_000, seed: 1)));

        Assert.Equal($"Store {_folder}: No space left on device; make room, then try again.", refused.Message);
        Assert.Equal("old", await store.ReadAsync("a"));
        Assert.Empty(Leftovers());
        room = int.MaxValue;
        await store.WriteAsync("a", Bytes(300_000, seed: 1));
        Assert.Equal(Digest(Bytes(300_000, seed: 1)), Digest(await store.ReadAllAsync("a")));
    }

    [MountFact]
    public async Task A_small_file_system_fills_up_and_is_used_again()
    {
        Assert.True(MountFactAttribute.Run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", _folder));
        try
        {
            using var store = new DirectoryBlobStore(_folder);
            await store.WriteAsync("a", Bytes(600_000, seed: 2));

            foreach (var condition in new[] { WriteCondition.Any, WriteCondition.Absent })
            {
                var refused = await Assert.ThrowsAsync<StoreUnavailableException>(
                    () => store.WriteAsync("y/b", Bytes(600_000, seed: 3), condition));
                Assert.Contains("No space left on device", refused.Message, StringComparison.Ordinal);
            }

            Assert.Empty(Leftovers());
            Assert.Equal(["a"], await store.ListAsync("").ToArrayAsync());
            Assert.Equal(Digest(Bytes(600_000, seed: 2)), Digest(await store.ReadAllAsync("a")));
            await store.DeleteAsync("a");
            await store.WriteAsync("y/b", Bytes(600_000, seed: 3), WriteCondition.Absent);
            Assert.Equal(Digest(Bytes(600_000, seed: 3)), Digest(await store.ReadAllAsync("y/b")));

            Assert.True(MountFactAttribute.Run("mount", "-o", "remount,ro", _folder));
            var readOnly = await Assert.ThrowsAsync<StoreUnavailableException>(() => store.WriteAsync("c", "c", WriteCondition.Any));
            Assert.Contains("Read-only file system; mount it for writing", readOnly.Message, StringComparison.Ordinal);
        }
        finally
        {
            MountFactAttribute.Run("umount", "-l", _folder);
        }
    }

    [Fact]
    public async Task A_folder_that_is_away_is_no_empty_store_and_is_used_again_when_it_is_back()
    {
        var (root, away) = (Path.Combine(_folder, "store"), Path.Combine(_folder, "away"));
        using var store = new DirectoryBlobStore(root);
        var etag = (await store.WriteAsync("x/a", "a", WriteCondition.Any)).ETag;
        Directory.Move(root, away);
        foreach (var mountPoint in new[] { false, true })
        {
            if (mountPoint) Directory.CreateDirectory(root); // what lies under a file system that is not mounted

            await AssertAwayAsync(() => store.OpenAsync("x/a"));
            await AssertAwayAsync(() => store.WriteAsync("x/a", "b", WriteCondition.Any));
            await AssertAwayAsync(() => store.WriteAsync("x/a", "b", WriteCondition.Absent));
            await AssertAwayAsync(() => store.WriteAsync("x/a", "b", WriteCondition.Match(etag)));
            await AssertAwayAsync(async () => await store.ListAsync("x/").ToArrayAsync());
            await AssertAwayAsync(() => store.DeleteAsync("x/a"));
            await AssertAwayAsync(() => store.DeleteAllAsync("x/"));
            Assert.Equal(mountPoint, Directory.Exists(root));
        }

        Directory.Delete(root); // and empty
        Directory.Move(away, root);
        await store.WriteAsync("x/a", "b", WriteCondition.Match(etag));
        Assert.Equal("b", await store.ReadAsync("x/a"));

        async Task AssertAwayAsync(Func<Task> action)
        {
            var refused = await Assert.ThrowsAsync<StoreUnavailableException>(action);
            Assert.Contains($"{root}: the folder is not there", refused.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_folder_that_may_not_be_made_is_named()
    {
        // nobody may, the root neither
        var refused = Assert.Throws<StoreUnavailableException>(static () => new DirectoryBlobStore("/sys/fedrlora"));

        Assert.Matches("^Store /sys/fedrlora: (Operation not permitted|Permission denied|Read-only file system); .*, then try again\\.$",
            refused.Message);
    }

    [Fact]
    public async Task What_a_writer_itself_throws_is_not_the_stores()
    {
        using var store = new DirectoryBlobStore(_folder);

        await Assert.ThrowsAsync<FileNotFoundException>(
            () => store.WriteAsync("a", static (_, _) => throw new FileNotFoundException("no model"), WriteCondition.Any));

        Assert.Empty(Leftovers());
    }

    private string[] Leftovers() => Directory.GetFileSystemEntries(Path.Combine(_folder, ".tmp"));
}
