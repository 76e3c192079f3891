using System.Diagnostics;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

/// <summary>What somebody outside a store has linked to, or what a store's own folders link to, stays as it is.</summary>
public sealed class StoreLinkTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("fedrlora-links-").FullName;
    private readonly string _outside;
    private readonly DirectoryBlobStore _store;

    public StoreLinkTests()
    {
        _outside = Directory.CreateDirectory(Path.Combine(_root, "outside")).FullName;
        File.WriteAllText(Path.Combine(_outside, "kept"), "kept");
        _store = new DirectoryBlobStore(Store);
    }

    private string Store => Path.Combine(_root, "store");

    public void Dispose()
    {
        _store.Dispose();
        Directory.Delete(_root, recursive: true);
    }

    [Fact]
    public async Task A_snapshot_of_hard_links_keeps_every_byte_while_the_store_goes_on()
    {
        for (var round = 0; round < 3; round++) await WriteRoundAsync(round);
        var snapshot = Path.Combine(_root, "snapshot");
        using (var copying = Process.Start("cp", ["-al", Store, snapshot])) await copying.WaitForExitAsync();
        var before = Content(snapshot);

        for (var round = 3; round < 8; round++)
        {
            await WriteRoundAsync(round);
            await _store.DeleteAllAsync($"rounds/{round - 3}/");
            await _store.DeleteAsync($"heads/{round - 3}");
            await _store.WriteAsync("current", $"{round}", WriteCondition.Any);
        }

        Assert.Equal(11, before.Count);
        Assert.Equal(before, Content(snapshot));

        async Task WriteRoundAsync(int round)
        {
            foreach (var client in new[] { "a", "b" })
                await _store.WriteAsync($"rounds/{round}/updates/{client}", $"{client}{round}", WriteCondition.Any);
            await _store.WriteAsync($"heads/{round}", $"head {round}", WriteCondition.Any);
            await _store.WriteAsync("current", $"{round}", WriteCondition.Any);
            await _store.WriteAsync("pointer", $"{round}",
                round == 0 ? WriteCondition.Absent : WriteCondition.Match((await _store.OpenAsync("pointer"))!.ETag));
        }
    }

    [Theory]
    [InlineData("rounds/1/")] // the folder itself is the link
    [InlineData("rounds/")] // it is in the folder
    public async Task Deleting_a_folder_deletes_a_link_and_not_what_it_names(string prefix)
    {
        Directory.CreateDirectory(Path.Combine(Store, "rounds"));
        Directory.CreateSymbolicLink(Path.Combine(Store, "rounds", "1"), _outside);
        File.CreateSymbolicLink(Path.Combine(Store, "rounds", "a"), Path.Combine(_outside, "kept"));

        await _store.DeleteAllAsync(prefix);

        Assert.False(Directory.Exists(Path.Combine(Store, "rounds", "1")));
        Assert.Equal("kept", await File.ReadAllTextAsync(Path.Combine(_outside, "kept")));
    }

    [Fact]
    public async Task A_blob_that_is_a_link_is_deleted_or_replaced_and_not_what_it_names()
    {
        foreach (var key in new[] { "deleted", "replaced", "conditional" })
            File.CreateSymbolicLink(Path.Combine(Store, key), Path.Combine(_outside, "kept"));

        await _store.DeleteAsync("deleted");
        await _store.WriteAsync("replaced", "new", WriteCondition.Any);
        await _store.WriteAsync("conditional", "new", WriteCondition.Match((await _store.OpenAsync("conditional"))!.ETag));

        Assert.Equal("kept", await File.ReadAllTextAsync(Path.Combine(_outside, "kept")));
        Assert.Equal(["conditional", "replaced"], await _store.ListAsync("").ToArrayAsync());
        Assert.All(new[] { "replaced", "conditional" }, key => Assert.Null(new FileInfo(Path.Combine(Store, key)).LinkTarget));
    }

    [Theory]
    [InlineData("rounds")]
    [InlineData("rounds/1")]
    [InlineData("rounds/1/updates")]
    public async Task Nothing_is_written_or_deleted_behind_a_link_and_the_link_is_named(string link)
    {
        var place = Path.Combine(Store, link);
        Directory.CreateDirectory(Path.GetDirectoryName(place)!);
        var behind = Path.Combine(_outside, "rounds/1/updates"[Math.Min(link.Length + 1, 16)..]);
        Directory.CreateDirectory(behind);
        await File.WriteAllTextAsync(Path.Combine(behind, "a"), "a");
        Directory.CreateSymbolicLink(place, _outside);

        var refusals = new[]
        {
            await Assert.ThrowsAsync<StoreUnavailableException>(() => _store.WriteAsync("rounds/1/updates/b", "b", WriteCondition.Any)),
            await Assert.ThrowsAsync<StoreUnavailableException>(() => _store.WriteAsync("rounds/1/updates/c", "c", WriteCondition.Absent)),
            await Assert.ThrowsAsync<StoreUnavailableException>(() => _store.DeleteAsync("rounds/1/updates/a")),
            await Assert.ThrowsAsync<StoreUnavailableException>(() => _store.DeleteAllAsync("rounds/1/updates/inner/")),
        };

        Assert.All(refusals, refusal => Assert.Contains($"{link} is a link", refusal.Message, StringComparison.Ordinal));
        Assert.Equal("a", await File.ReadAllTextAsync(Path.Combine(behind, "a")));
        Assert.Contains("rounds/1/updates/a", await _store.ListAsync("rounds/1/updates/").ToArrayAsync()); // reading goes on
        Assert.Equal("a", await ((IBlobStore)_store).ReadAsync("rounds/1/updates/a"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(Store, ".tmp")));
    }

    [Theory]
    [InlineData(".tmp")]
    [InlineData(".locks")]
    public void A_store_whose_own_folder_is_a_link_is_not_opened(string own)
    {
        var other = Path.Combine(_root, "other");
        Directory.CreateDirectory(other);
        Directory.CreateSymbolicLink(Path.Combine(other, own), _outside);

        var refusal = Assert.Throws<StoreUnavailableException>(() => new DirectoryBlobStore(other));

        Assert.Contains($"{own} is a link", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(["kept"], Directory.EnumerateFileSystemEntries(_outside).Select(Path.GetFileName));
    }

    [Fact]
    public async Task Leftovers_that_are_links_go_without_what_they_name()
    {
        Directory.CreateSymbolicLink(Path.Combine(Store, ".tmp", "1"), _outside);
        File.CreateSymbolicLink(Path.Combine(Store, ".tmp", "2"), Path.Combine(_outside, "kept"));
        Directory.CreateDirectory(Path.Combine(Store, ".tmp", "3", "updates"));
        await File.WriteAllTextAsync(Path.Combine(Store, ".tmp", "3", "updates", "a"), "half deleted");

        var sizeBytes = _store.Leftovers(remove: true);

        Assert.True(sizeBytes >= 12, $"{sizeBytes}");
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(Store, ".tmp")));
        Assert.Equal("kept", await File.ReadAllTextAsync(Path.Combine(_outside, "kept")));
    }

    [Fact]
    public async Task The_store_itself_may_be_a_link_to_its_folder()
    {
        var link = Path.Combine(_root, "link");
        Directory.CreateSymbolicLink(link, Store);
        using var through = new DirectoryBlobStore(link);

        await through.WriteAsync("x/a", "a", WriteCondition.Absent);
        await through.MakeDurableAsync();

        Assert.Equal("a", await ((IBlobStore)_store).ReadAsync("x/a"));
        await through.DeleteAllAsync("x/");
        Assert.Null(await _store.OpenAsync("x/a"));
    }

    private static SortedDictionary<string, string> Content(string folder) =>
        new(Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Where(static file => !file.Contains("/.locks/", StringComparison.Ordinal))
            .ToDictionary(file => Path.GetRelativePath(folder, file), File.ReadAllText), StringComparer.Ordinal);
}
