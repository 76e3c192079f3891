using FedRLora.Abstractions.Grains;
using FedRLora.Grains.Silos;
using Microsoft.Extensions.DependencyInjection;

namespace FedRLora.Grains.Tests;

public sealed class SiloGrainTests
{
    [Fact]
    public async Task Each_silo_answers_for_itself_whoever_is_asked()
    {
        await using var federation = await TestFederation.StartAsync(["north", "south"]);
        var live = federation.Cluster.Silos[0].ServiceProvider.GetRequiredService<LiveSilos>().Now;

        var told = await Task.WhenAll(live.Select(silo => federation.Cluster.Client.GetGrain<ISiloGrain>(silo.Name).DescribeAsync()));

        Assert.Equal(["north", "south"], live.SelectMany(static silo => silo.Sites).Order(StringComparer.Ordinal));
        Assert.Equal(live.Select(static silo => silo.Name), told.Select(static silo => silo.Name));
        Assert.Equal(2, told.Select(static silo => silo.Address).Distinct().Count());
        Assert.All(told, static silo => Assert.Null(silo.StoreTrouble));
        Assert.All(told, static silo => Assert.InRange(silo.MemoryBytes, 1, silo.MemoryLimitBytes));
    }

    [Fact]
    public async Task A_silo_says_why_its_store_cannot_be_used()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-");
        var store = new FaultInjectingStore(new Silo.Storage.DirectoryBlobStore(folder.FullName));
        await using var federation = await TestFederation.StartAsync(store: store);
        var silo = Assert.Single(federation.Cluster.Silos[0].ServiceProvider.GetRequiredService<LiveSilos>().Now);
        store.Unavailable = 0..int.MaxValue;

        var told = await federation.Cluster.Client.GetGrain<ISiloGrain>(silo.Name).DescribeAsync();

        Assert.NotNull(told.StoreTrouble);
        folder.Delete(recursive: true);
    }

    [Fact]
    public async Task The_log_of_a_run_is_asked_of_each_silo_from_a_line_on()
    {
        await using var federation = await TestFederation.StartAsync(["north", "south"]);
        var inTime = new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;
        foreach (var run in new[] { "first", "second" })
        {
            await federation.RunAsync(run,
                TestFederation.Plan(clients: 2, rounds: 1, site: static i => i == 0 ? "north" : "south"), inTime);
        }

        var silos = federation.Cluster.Silos[0].ServiceProvider.GetRequiredService<LiveSilos>().Now;
        var logs = await Task.WhenAll(
            silos.Select(silo => federation.Cluster.Client.GetGrain<ISiloGrain>(silo.Name).LogsAsync("first", 0, 2_000)));

        Assert.All(logs.SelectMany(static log => log.Lines), static line => Assert.Equal("first", line.Run));
        Assert.Equal(2, logs.SelectMany(static log => log.Lines).Where(static line => line.Event == 102).Count()); // rounds 0 and 1
        var site = logs.SelectMany(static log => log.Lines).Where(static line => line.Event == 301).ToArray();
        Assert.Equal(["c00000 north", "c00001 south"], site.Select(static line => $"{line.Client} {line.Site}").Distinct().Order());
        Assert.Contains(site, static line => line.Round == 1);
        var rest = await federation.Cluster.Client.GetGrain<ISiloGrain>(logs[0].Silo).LogsAsync(null, logs[0].Last, 2_000);
        Assert.All(rest.Lines, line => Assert.True(line.Number > logs[0].Last));
    }
}
