using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

public sealed class StorePermissionTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("fedrlora-modes-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData(StoreMode.Private, "700", "600")]
    [InlineData(StoreMode.SharedGroup, "770", "660")]
    public async Task Everything_in_a_store_is_for_its_owner_or_for_its_group(StoreMode mode, string folders, string files)
    {
        var folder = Path.Combine(_root, "a", "store");
        using (var store = new DirectoryBlobStore(folder, mode))
        {
            foreach (var condition in new[] { WriteCondition.Any, WriteCondition.Absent })
                await store.WriteAsync($"x/y/{condition.IfNoneMatch}", "x", condition);
            await store.WriteAsync("x/y/True", "y", WriteCondition.Match((await store.OpenAsync("x/y/True"))!.ETag));
        }

        Assert.Equal([folders], Directory.EnumerateDirectories(_root, "*", SearchOption.AllDirectories).Select(ModeOf).Distinct());
        Assert.Equal([files], Directory.EnumerateFiles(_root, "*", SearchOption.AllDirectories).Select(ModeOf).Distinct());
    }

    [Fact]
    public async Task A_shared_store_stays_with_the_group_of_its_folder()
    {
        var folder = Directory.CreateDirectory(Path.Combine(_root, "store")).FullName;
        File.SetUnixFileMode(folder, StorePermissions.OfFolder(StoreMode.SharedGroup) | UnixFileMode.SetGroup);
        using var store = new DirectoryBlobStore(folder, StoreMode.SharedGroup);

        await store.WriteAsync("x/y/a", "a", WriteCondition.Any);

        Assert.True(File.GetUnixFileMode(Path.Combine(folder, "x", "y")).HasFlag(UnixFileMode.SetGroup));
    }

    private static string ModeOf(string path) => Convert.ToString((int)File.GetUnixFileMode(path) & 0x1FF, 8);
}
