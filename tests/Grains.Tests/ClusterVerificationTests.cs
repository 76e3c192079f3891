using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;
using Microsoft.Extensions.DependencyInjection;

namespace FedRLora.Grains.Tests;

/// <summary>A run whose sites have stores of their own, verified from one silo.</summary>
public sealed class ClusterVerificationTests : IDisposable
{
    private static readonly string[] Sites = ["north", "south"];
    private readonly string _root = Directory.CreateTempSubdirectory("fedrlora-verify-").FullName;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task Every_part_is_looked_at_where_it_lies()
    {
        await using var federation = await StartAsync();

        var report = await VerifyAsync(federation);

        Assert.Empty(report.Broken);
        Assert.Empty(report.OtherSites);
        Assert.Equal(await IntactByHandAsync(), report.Intact);
        Assert.Equal((2, (await federation.FinishAsync("job", InTime)).NewRounds[^1].ManifestSha256), (report.LastRound, report.Digest));
    }

    [Fact]
    public async Task A_head_that_was_changed_at_its_site_is_named_by_whichever_silo_is_asked()
    {
        await using var federation = await StartAsync();
        var head = Keys.Head("job", "south", "c00001", 2);
        await File.WriteAllTextAsync(Path.Combine(_root, "south", head), "changed", InTime);

        foreach (var site in Sites) Assert.Equal(head, Assert.Single((await VerifyAsync(federation, site)).Broken).Key);
    }

    [Fact]
    public async Task A_store_that_a_site_has_lost_is_broken_and_not_left_out()
    {
        await using var federation = await StartAsync();
        Directory.Delete(Path.Combine(_root, "south", "sites"), recursive: true);

        var report = await VerifyAsync(federation, "north");

        Assert.Contains(Keys.Head("job", "south", "c00001", 2), report.Broken.Select(static finding => finding.Key));
        Assert.All(report.Broken, static finding => Assert.Contains("/south/", "/" + finding.Key, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_site_without_a_silo_is_named_as_not_looked_at()
    {
        await using var federation = await StartAsync();
        var south = federation.Cluster.Silos.Single(silo => federation.SiteOf[silo.Name] == "south");
        await federation.Cluster.StopSiloAsync(south);

        var report = await VerifyAsync(federation, "north");

        Assert.Empty(report.Broken);
        Assert.Equal(["south"], report.OtherSites);
        Assert.StartsWith("site south: ", report.NotAsked["south"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_run_that_is_not_there_has_no_report()
    {
        await using var federation = await StartAsync();

        Assert.Null(await VerificationOf(federation, "north").VerifyAsync("other", InTime));
    }

    private async Task<TestFederation> StartAsync()
    {
        var federation = await TestFederation.StartAsync(Sites, folder: Path.Combine(_root, "jobs"),
            siteStoreOf: site => new DirectoryBlobStore(Path.Combine(_root, site)));
        await federation.RunAsync("job", TestFederation.Plan(clients: 3, rounds: 2, site: static i => Sites[i % 2]), InTime);
        return federation;
    }

    private static async Task<RunReport> VerifyAsync(TestFederation federation, string site = "north") =>
        (await VerificationOf(federation, site).VerifyAsync("job", InTime))!;

    private static ClusterVerification VerificationOf(TestFederation federation, string site) =>
        federation.Cluster.Silos.First(silo => federation.SiteOf[silo.Name] == site).ServiceProvider
            .GetRequiredService<ClusterVerification>();

    // As fedrlora verify --store --site-store does, site by site.
    private async Task<int> IntactByHandAsync()
    {
        using var jobs = new DirectoryBlobStore(Path.Combine(_root, "jobs"));
        using var north = new DirectoryBlobStore(Path.Combine(_root, "north"));
        using var south = new DirectoryBlobStore(Path.Combine(_root, "south"));
        var first = await new RunVerifier(jobs, north, "job").VerifyAsync(InTime);
        var second = await new RunVerifier(jobs, south, "job").VerifyAsync(InTime);
        Assert.Equal(["south", "north"], first!.OtherSites.Concat(second!.OtherSites));
        var ofJob = await new RunVerifier(jobs, north, "job").VerifyJobAsync(InTime);
        return first.Intact + second.Intact - ofJob!.Intact;
    }
}
