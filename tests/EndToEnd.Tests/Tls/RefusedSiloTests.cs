using System.Security.Cryptography.X509Certificates;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Pki;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Tls;

/// <summary>Silos as processes that find one another by Redis, of which one is not let in.</summary>
public sealed class RefusedSiloTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly X509Certificate2 _authority;

    public RefusedSiloTests()
    {
        var now = TimeProvider.System.GetUtcNow();
        _authority = Issuing.Authority("study", now.AddMinutes(-5), now.AddDays(2));
    }

    public void Dispose()
    {
        _authority.Dispose();
        _tiny.Dispose();
    }

    [RedisFact]
    public async Task A_silo_that_its_peers_refuse_ends_with_one_line_and_they_serve_on()
    {
        await using var redis = await RedisServer.StartAsync();
        var serial = Certificate("south");
        Certificate("north");
        File.WriteAllText(Path.Combine(_tiny.Root, "north", TlsFiles.DeniedName), $"{serial}\n");
        await using var north = Silo(redis, "north", "north-0");
        await ServesAsync(north);

        await using var south = Silo(redis, "south", "south-0");
        var code = await south.ExitAsync();

        Assert.Equal(3, code);
        var said = south.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.True(said[^1].StartsWith("silo south-0 could not join: the silo at 127.0.0.1:", StringComparison.Ordinal), south.Output);
        Assert.True(said.Length <= 8, south.Output);
        Assert.DoesNotContain("   at ", south.Output, StringComparison.Ordinal);
        Assert.False(north.HasExited, north.Output);
        var refusals = north.Output.Split('\n').Where(static line => line.Contains("refused", StringComparison.Ordinal)).ToList();
        Assert.Contains(refusals, static line => line.Contains("revoked", StringComparison.Ordinal));
        Assert.True(refusals.Count <= 4, north.Output);
    }

    [RedisFact]
    public async Task A_copied_site_ends_and_names_where_the_first_serves_and_one_that_was_killed_is_no_copy()
    {
        await using var redis = await RedisServer.StartAsync();
        Certificate("north");
        var place = new SiloPlace();
        var first = Silo(redis, "north", "north-0", place);
        await ServesAsync(first);

        await using (var copy = Silo(redis, "north", "north-0"))
        {
            Assert.Equal(3, await copy.ExitAsync());
            Assert.Contains($"a silo of this name serves at 127.0.0.1:{place.Silo} already", copy.Output, StringComparison.Ordinal);
            Assert.False(first.HasExited, first.Output);
        }

        first.Kill();
        await first.DisposeAsync();
        await using var again = Silo(redis, "north", "north-0");
        await ServesAsync(again);
    }

    private static Task ServesAsync(RunningProgram silo) =>
        silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "the silo");

    private RunningProgram Silo(RedisServer redis, string site, string name, SiloPlace? place = null) => RunningProgram.Start(_tiny.Root,
        ["silo", "--site", site, "--name", name, "--cluster", $"{redis.Location}", "--store", "cluster",
            "--tls", Path.Combine(_tiny.Root, site), .. (place ?? new SiloPlace()).Own]);

    private string Certificate(string site) =>
        SiteCertificate.Write(Path.Combine(_tiny.Root, site), _authority, site, _authority.NotBefore, _authority.NotAfter);
}
