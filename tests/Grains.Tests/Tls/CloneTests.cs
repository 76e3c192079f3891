using System.Net;
using System.Net.Sockets;
using FedRLora.Silo.Clustering;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;

namespace FedRLora.Grains.Tests.Tls;

/// <summary>Two silos of one name: which of them serves.</summary>
public sealed class CloneTests : IAsyncLifetime, IDisposable
{
    private readonly TlsSilos _silos = new();

    public Task InitializeAsync() => Task.CompletedTask;

    public Task DisposeAsync() => _silos.DisposeAsync().AsTask();

    public void Dispose() => _silos.Dispose();

    [Fact]
    public async Task A_clone_is_told_where_the_first_is_and_a_restart_or_a_moved_silo_is_none()
    {
        var first = await _silos.StartAsync("north-a", "north");
        var clone = _silos.Create("north-a", "north");
        var neighbour = _silos.Create("north-b", "north");

        Assert.Contains(
            $"a silo of this name serves at {first.Address.Endpoint} already", await FindAsync(clone), StringComparison.Ordinal);
        Assert.Null(await FindAsync(neighbour));
        // of a machine whose advertised name was copied with it
        Assert.NotNull(await FindAsync(_silos.Create("north-a", "north", port: first.SiloPort)));
        var row = first.Address;
        await first.DisposeAsync();
        // as a killed one leaves it
        _silos.Table.Claim(row, "north-a@north", SiloStatus.Active, TestAuthority.Now.UtcDateTime);
        Assert.Null(await FindAsync(clone));
        Assert.Null(await FindAsync(_silos.Create("north-a", "north", port: first.SiloPort))); // at the same place
    }

    [Fact]
    public async Task A_row_that_nobody_stands_behind_with_a_certificate_keeps_no_silo_out()
    {
        using var rogue = new TcpListener(IPAddress.Loopback, 0);
        rogue.Start();
        _silos.Table.Claim(SiloAddress.New((IPEndPoint)rogue.LocalEndpoint, 1), "north-a@north", SiloStatus.Active,
            TestAuthority.Now.UtcDateTime);

        Assert.Null(await FindAsync(_silos.Create("north-a", "north")));
    }

    [Fact]
    public async Task Of_two_that_start_at_the_same_moment_one_stays()
    {
        TlsSilo[] both = [_silos.Create("north-a", "north"), _silos.Create("north-a", "north")];
        await Task.WhenAll(both.Select(static silo => silo.Host.StartAsync()));
        var ends = both.Select(static silo => silo.Host.Services.GetRequiredService<SiloEnding>().Reason).ToArray();

        var ended = await Task.WhenAny(ends).WaitAsync(TimeSpan.FromSeconds(30));

        var stays = both[ends[0] == ended ? 1 : 0];
        Assert.Contains($"serves at {stays.Address.Endpoint} already", await ended, StringComparison.Ordinal);
        Assert.Equal(1, ends.Count(static end => end.IsCompleted));
    }

    private static Task<string?> FindAsync(TlsSilo silo) =>
        silo.Host.Services.GetRequiredService<CloneWatch>().FindAsync(CancellationToken.None);
}
