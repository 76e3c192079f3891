using System.Diagnostics;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Grains.Tests.Stores;
using FedRLora.Silo.Storage;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>What becomes of a run's files: who may read them, who else names them, and a disk that is full or read-only.</summary>
public sealed class KeptRunTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Run => Path.Combine(_tiny.Root, "made", "run");

    [Theory]
    [InlineData("", "700", "600")]
    [InlineData("store: {mode: private}", "700", "600")]
    [InlineData("store: {mode: shared-group}", "770", "660")]
    public async Task A_run_is_for_its_owner_alone_or_for_a_group(string store, string folders, string files)
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", Plan(store), "--out", Run)).Code);
        Assert.Equal(0, (await CommandLine.RunAsync("extend", Run, "--rounds", "2")).Code);

        var made = Path.GetDirectoryName(Run)!;
        Assert.Equal([folders],
            Directory.EnumerateDirectories(made, "*", SearchOption.AllDirectories).Append(made).Select(ModeOf).Distinct());
        Assert.Equal([files], Directory.EnumerateFiles(made, "*", SearchOption.AllDirectories).Select(ModeOf).Distinct());
    }

    [Fact]
    public async Task What_is_repaired_in_a_store_that_a_group_shares_is_the_groups_too()
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", Plan("store: {mode: shared-group}"), "--out", Run)).Code);
        var store = Path.Combine(Run, "store");
        foreach (var lost in new[] { "index/tiny", "jobs/tiny/current.json" }) File.Delete(Path.Combine(store, lost));

        Assert.Equal(0, (await CommandLine.RunAsync("repair", "--store", store, "--job", "tiny")).Code);

        Assert.Equal(["770"], Directory.EnumerateDirectories(store, "*", SearchOption.AllDirectories).Select(ModeOf).Distinct());
        Assert.Equal(["660"], Directory.EnumerateFiles(store, "*", SearchOption.AllDirectories).Select(ModeOf).Distinct());
    }

    [Theory]
    [InlineData(StoreMode.SharedGroup, "private", "shared-group")]
    [InlineData(StoreMode.Private, "shared-group", "private")]
    public async Task A_silo_does_not_write_what_the_others_of_its_store_cannot_read(StoreMode made, string asked, string was)
    {
        var (job, site) = (Path.Combine(_tiny.Root, "job"), Path.Combine(_tiny.Root, "site"));
        new DirectoryBlobStore(site, made).Dispose();

        foreach (var stores in new[] { new[] { "--store", site }, ["--store", job, "--site-store", site] })
        {
            var refused = await CommandLine.RunAsync(["silo", "--site", "here", "--store-mode", asked, .. stores]);

            Assert.Equal(2, refused.Code);
            Assert.StartsWith($"--store-mode: the store {site} was made {was}, not {asked};", Assert.Single(refused.ErrorLines),
                StringComparison.Ordinal);
        }

        Assert.False(Directory.Exists(job));
    }

    [Fact]
    public async Task What_is_exported_elsewhere_may_be_read_by_whoever_may_read_what_this_user_makes()
    {
        var elsewhere = Path.Combine(_tiny.Root, "handed-on");
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", Plan(), "--out", Run)).Code);

        Assert.Equal(0, (await CommandLine.RunAsync("export", Run, "--out", elsewhere)).Code);

        var plain = Path.Combine(_tiny.Root, "plain");
        await File.WriteAllTextAsync(plain, "");
        Assert.Equal([ModeOf(plain)], Directory.EnumerateFiles(elsewhere, "*", SearchOption.AllDirectories).Select(ModeOf).Distinct());
    }

    [Fact]
    public async Task A_snapshot_of_hard_links_stays_a_run_of_its_own_while_the_other_goes_on()
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", Plan("checkpoints: {keepLast: 2}"), "--out", Run)).Code);
        var snapshot = Run + "-snapshot";
        using (var copying = Process.Start("cp", ["-al", Run, snapshot])) await copying.WaitForExitAsync();
        var before = Content(snapshot);

        Assert.Equal(0, (await CommandLine.RunAsync("extend", Run, "--rounds", "4")).Code);
        Assert.Equal(0, (await CommandLine.RunAsync("gc", Run)).Code);
        Assert.Equal(0, (await CommandLine.RunAsync("export", Run)).Code);

        Assert.Equal(before, Content(snapshot));
        Assert.Equal(0, (await CommandLine.RunAsync("verify", snapshot)).Code);
        Assert.Equal(0, (await CommandLine.RunAsync("extend", snapshot, "--rounds", "4")).Code);
        Assert.Equal(Digest(await CommandLine.RunAsync("verify", Run)), Digest(await CommandLine.RunAsync("verify", snapshot)));
    }

    [Fact]
    public async Task Results_that_are_links_are_replaced_and_what_they_name_stays()
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", Plan(), "--out", Run)).Code);
        _tiny.Write("outside", ["kept"]);
        var (outside, adapter) = (Path.Combine(_tiny.Root, "outside"), Path.Combine(Run, "adapters", "one", "adapter_model.safetensors"));
        foreach (var result in new[] { adapter, Path.Combine(Run, "metrics.csv"), Path.Combine(Run, "report.html") })
        {
            File.Delete(result);
            File.CreateSymbolicLink(result, outside);
        }

        Assert.Equal(0, (await CommandLine.RunAsync("extend", Run, "--rounds", "2")).Code);

        Assert.Equal("kept\n", await File.ReadAllTextAsync(outside));
        Assert.Null(new FileInfo(adapter).LinkTarget);
        Assert.True(new FileInfo(adapter).Length > 1_000);
    }

    [Fact]
    public async Task Gc_removes_what_was_half_written_and_no_file_of_anybody_else()
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", Plan(), "--out", Run)).Code);
        var left = Path.Combine(Run, "adapters", "one", $".adapter_model.safetensors.{Guid.NewGuid():n}");
        var (others, kept) = (Path.Combine(Run, ".notes"), Path.Combine(Run, "adapters", "one", "adapter_model.safetensors"));
        foreach (var file in new[] { left, others }) await File.WriteAllTextAsync(file, "half");

        var result = await CommandLine.RunAsync("gc", Run);

        Assert.Equal((0, false, true, true), (result.Code, File.Exists(left), File.Exists(others), File.Exists(kept)));
        Assert.Contains("half-written files: removed 4 B", result.Output, StringComparison.Ordinal);
    }

    [MountFact]
    public async Task A_full_and_a_read_only_disk_end_with_3_and_a_line_that_says_how_to_go_on()
    {
        var disk = Directory.CreateDirectory(Path.Combine(_tiny.Root, "disk")).FullName;
        var run = Path.Combine(disk, "run");
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", Plan(), "--out", Run)).Code);
        Assert.True(MountFactAttribute.Run("mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk));
        try
        {
            var full = await CommandLine.RunAsync("simulate", Plan(), "--out", run);
            Assert.True(MountFactAttribute.Run("mount", "-o", "remount,size=10m", disk));
            var resumed = await CommandLine.RunAsync("resume", run);
            Assert.True(MountFactAttribute.Run("mount", "-o", "remount,ro", disk));
            var readOnly = await CommandLine.RunAsync("resume", run);
            var another = await CommandLine.RunAsync("simulate", Plan(), "--out", run + "-2");

            Assert.Equal(3, full.Code);
            Assert.Matches($"No space left on device; make room.* continue with: fedrlora resume {run}$", Assert.Single(full.ErrorLines));
            Assert.Equal(0, resumed.Code);
            Assert.Equal(Digest(await CommandLine.RunAsync("verify", Run)), Digest(await CommandLine.RunAsync("verify", run)));
            Assert.Equal((3, 3), (readOnly.Code, another.Code));
            Assert.All([readOnly, another],
                static refused => Assert.Contains("Read-only file system", Assert.Single(refused.ErrorLines), StringComparison.Ordinal));
        }
        finally
        {
            MountFactAttribute.Run("umount", "-l", disk); // also where something still looks at it
        }
    }

    private string Plan(string more = "")
    {
        var path = _tiny.WritePlan(strategy: "rounds: 1");
        File.AppendAllText(path, more + "\n");
        return path;
    }

    private static string Digest(CommandResult verified) => verified.Output[verified.Output.LastIndexOf(' ')..];

    private static string ModeOf(string path) => Convert.ToString((int)File.GetUnixFileMode(path) & 0x1FF, 8);

    // Locks hold nothing, and who uses a store makes more of them.
    private static SortedDictionary<string, string> Content(string folder) =>
        new(Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Where(static file => !file.Contains("/.locks/", StringComparison.Ordinal))
            .ToDictionary(file => Path.GetRelativePath(folder, file), static file => RoundManifest.Digest(File.ReadAllBytes(file))),
            StringComparer.Ordinal);
}
