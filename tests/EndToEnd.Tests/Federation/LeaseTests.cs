using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using FedRLora.Silo;
using FedRLora.Silo.Clustering;
using FedRLora.Silo.Storage;
using FedRLora.Training.Tests;
using StackExchange.Redis;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Silos as processes that meet on one store.</summary>
public sealed class LeaseTests
{
    [Fact]
    public async Task A_second_cluster_on_a_store_is_refused_by_name_and_goes_through_when_the_first_is_gone()
    {
        using var tiny = new TinyFederation();
        var place = new SiloPlace();
        await using var first = await ServingAsync(tiny, place.Own);
        await using var second = Silo(tiny);

        Assert.Equal(3, await second.ExitAsync());
        Assert.Matches(
            $@"^the store \S+cluster is in use by the cluster of silos 127\.0\.0\.1:{place.Silo} "
            + @"\(fedrlora at .+, term 1, until \d\d:\d\d:\d\dZ\); join that one, stop it, or name another --store\s*$", second.Output);
        Assert.False(first.HasExited, first.Output);

        first.Interrupt();
        Assert.Equal(0, await first.ExitAsync());
        await using var third = await ServingAsync(tiny);
        Assert.Equal(2, (await LeaseAsync(tiny)).Term);

        third.Kill();
        await third.ExitAsync();
        await using var fourth = await ServingAsync(tiny);
        Assert.Equal(3, (await LeaseAsync(tiny)).Term);
    }

    [Fact]
    public async Task A_silo_whose_store_was_taken_by_another_cluster_ends_with_one_line()
    {
        using var tiny = new TinyFederation();
        await using var silo = await ServingAsync(tiny);
        var taken = await LeaseAsync(tiny) with
        {
            Term = 7, Cluster = "another", Place = "redis://elsewhere:6379", Silos = [new LeasedSilo("elsewhere", "127.0.0.1:11112@5")],
            Expires = TimeProvider.System.GetUtcNow() + ClusterLease.Duration,
        };
        await Store(tiny).WriteBytesAsync(Keys.ClusterLease, taken.ToBytes(), WriteCondition.Any, CancellationToken.None);

        Assert.Equal(3, await silo.ExitAsync());
        Assert.Contains(
            "cluster was taken by the cluster of silos 127.0.0.1:11112 of elsewhere (fedrlora at redis://elsewhere:6379, term 7, until ",
            silo.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_lease_that_was_changed_or_lost_is_written_again_by_its_cluster()
    {
        using var tiny = new TinyFederation();
        await using var silo = await ServingAsync(tiny);
        var file = Path.Combine(tiny.Root, "cluster", Keys.ClusterLease);
        var held = await LeaseAsync(tiny);

        await File.WriteAllTextAsync(file, "{}");
        await silo.UntilAsync(() => ReadOrNull(file) is { } lease && lease.Cluster == held.Cluster, "the changed lease");
        File.Delete(file);
        await silo.UntilAsync(() => ReadOrNull(file) is { } lease && lease.Cluster == held.Cluster, "the lost lease");
    }

    [RedisFact]
    public async Task A_silo_that_the_membership_does_not_take_back_ends_with_one_line()
    {
        using var tiny = new TinyFederation();
        await using var redis = await RedisServer.StartAsync();
        await using var silo = await ServingAsync(tiny, "--cluster", $"{redis.Location}");
        await using var connection = await ConnectionMultiplexer.ConnectAsync(RedisMembership.Configuration(redis.Location));
        var database = connection.GetDatabase();
        await database.ExecuteAsync("ACL", "SETUSER", "default", "-hset", "-hsetnx", "-hmset", "-eval", "-evalsha");
        await database.KeyDeleteAsync("fedrlora/members/fedrlora");

        Assert.Equal(3, await silo.ExitAsync());
        Assert.Matches(
            $@"silo here-\d+ ends: its row has vanished from the membership at {redis.Location} and cannot be written again: NOPERM",
            silo.Output);
    }

    private static RunningProgram Silo(TinyFederation tiny, params string[] more)
    {
        string[] ports = more.Contains("--port") ? [] : new SiloPlace().Own;
        return RunningProgram.Start(tiny.Root, ["silo", "--site", "here", "--store", "cluster", .. ports, .. more]);
    }

    private static async Task<RunningProgram> ServingAsync(TinyFederation tiny, params string[] more)
    {
        var silo = Silo(tiny, more);
        await silo.UntilAsync(() => silo.Output.Contains("serves here", StringComparison.Ordinal), "a silo");
        return silo;
    }

    private static DirectoryBlobStore Store(TinyFederation tiny) => new(Path.Combine(tiny.Root, "cluster"));

    private static async Task<ClusterLease> LeaseAsync(TinyFederation tiny) =>
        ClusterLease.Parse((await Store(tiny).ReadBytesAsync(Keys.ClusterLease, CancellationToken.None))!);

    private static ClusterLease? ReadOrNull(string file)
    {
        try
        {
            return ClusterLease.Parse(File.ReadAllBytes(file));
        }
        catch (Exception e) when (e is CorruptBlobException or FileNotFoundException)
        {
            return null;
        }
    }
}
