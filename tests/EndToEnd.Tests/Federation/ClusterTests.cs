using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>What <c>--cluster</c> accepts, and what is said when it leads nowhere.</summary>
public class ClusterTests
{
    [Theory]
    [InlineData("redis://127.0.0.1:7000", "redis://127.0.0.1:7000")]
    [InlineData("redis://cache.example/", "redis://cache.example:6379")]
    [InlineData("redis://[::1]:7000/3", "redis://[::1]:7000/3")]
    [InlineData("rediss://cache.example", "rediss://cache.example:6379")]
    [InlineData("rediss://cache.example:6380/2", "rediss://cache.example:6380/2")]
    [InlineData("https://hub.table.core.windows.net/silos", "https://hub.table.core.windows.net/silos")]
    [InlineData("http://localhost:10002/devstoreaccount1/silos", "http://127.0.0.1:10002/devstoreaccount1/silos")]
    [InlineData("localhost", "localhost")]
    public void A_place_is_read_and_written(string text, string expected) => Assert.Equal(expected, ClusterLocation.Parse(text).ToString());

    [Theory]
    [InlineData("redis://")]
    [InlineData("redis://host:0")]
    [InlineData("redis://host:70000")]
    [InlineData("redis://host/one")]
    [InlineData("redis://host/1/2")]
    [InlineData("redis://host?ssl=true")]
    [InlineData("host:6379")]
    [InlineData("http://hub.table.core.windows.net/silos")]
    [InlineData("https://hub.table.core.windows.net/")]
    [InlineData("https://hub.table.core.windows.net/silos/more")]
    [InlineData("https://hub.table.core.windows.net/si")]
    [InlineData("https://hub.table.core.windows.net/1silos")]
    [InlineData("https://hub.table.core.windows.net/my-silos")]
    [InlineData("https://hub.table.core.windows.net/silos#x")]
    [InlineData("http://127.0.0.1:10002/silos")]
    [InlineData("")]
    public void What_is_no_place_is_refused(string text) =>
        Assert.Contains("--cluster", Assert.Throws<BadInputException>(() => ClusterLocation.Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("redis://:sesame@127.0.0.1")]
    [InlineData("redis://127.0.0.1?password=sesame")]
    [InlineData("127.0.0.1:6379,password=sesame")]
    [InlineData("https://hub.table.core.windows.net/silos?sv=1&sig=sesame")]
    [InlineData("https://me:sesame@hub.table.core.windows.net/silos")]
    public async Task A_password_on_the_command_line_is_refused_and_not_repeated(string location)
    {
        var result = await CommandLine.RunAsync("silo", "--site", "here", "--cluster", location);

        Assert.Equal(2, result.Code);
        Assert.DoesNotContain("sesame", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Two_ways_to_find_silos_are_one_too_many()
    {
        var silo = await CommandLine.RunAsync("silo", "--site", "here", "--cluster", "redis://127.0.0.1", "--join", "11111");

        Assert.Equal(
            (2, "--join and --cluster redis://127.0.0.1:6379 exclude each other: with a membership kept outside there is no first silo\n"),
            (silo.Code, silo.Error));
    }

    [Fact]
    public async Task Without_Redis_a_silo_says_so_within_seconds()
    {
        var nobody = $"redis://127.0.0.1:{SiloPorts.Free().Silo}";
        var expected = (3, $"no Redis answers at {nobody}; start one, or name another with --cluster\n");
        var started = Stopwatch.GetTimestamp();

        var silo = await CommandLine.RunAsync("silo", "--site", "here", "--cluster", nobody);

        Assert.Equal(expected, (silo.Code, silo.Error));
        Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromMinutes(1), $"{Stopwatch.GetElapsedTime(started)}");
    }

    [RedisFact]
    public async Task The_password_is_taken_from_the_environment_and_never_shown()
    {
        using var tiny = new TinyFederation();
        await using var redis = await RedisServer.StartAsync("--requirepass", "sesame");

        await using var none = RunningProgram.Start(tiny.Root, "silo", "--site", "here", "--cluster", $"{redis.Location}");
        await using var wrong = RunningProgram.StartWith((RedisMembership.PasswordVariable, "tapioca"), tiny.Root, "silo", "--site", "here",
            "--cluster", $"{redis.Location}");
        await using var right = RunningProgram.StartWith((RedisMembership.PasswordVariable, "sesame"), tiny.Root, "silo", "--site", "here",
            "--cluster", $"{redis.Location}");
        await right.UntilAsync(() => right.Output.Contains("serves here", StringComparison.Ordinal), "the silo");

        Assert.Equal((3, 3), (await none.ExitAsync(), await wrong.ExitAsync()));
        Assert.Contains("refuses the password", none.Output, StringComparison.Ordinal);
        Assert.Contains("refuses the password", wrong.Output, StringComparison.Ordinal);
        Assert.All([none, wrong, right], static program => Assert.DoesNotMatch("sesame|tapioca", program.Output));
    }

    [RedisFact]
    public async Task Two_clusters_on_one_server_do_not_see_each_other()
    {
        using var tiny = new TinyFederation();
        await using var redis = await RedisServer.StartAsync();
        await using var one = Silo("one", "here", new());
        var place = new SiloPlace();
        await using var two = Silo("two", "there", place);
        await one.UntilAsync(() => (one.Output + two.Output).Split(" serves ").Length == 3, "the silos");

        var plan = TinyPlan.Write(tiny, 1, TinyPlan.Client("only", "one", "here"));
        var submitted = await RunningProgram.RunAsync(tiny.Root, ["submit", plan, .. place.To]);

        Assert.Contains("tiny waits: no silo serves site here", submitted, StringComparison.Ordinal);

        RunningProgram Silo(string cluster, string site, SiloPlace at) => RunningProgram.Start(
            tiny.Root, ["silo", "--site", site, "--cluster", $"{redis.Location}", "--cluster-id", cluster, "--store", cluster, .. at.Own]);
    }
}
