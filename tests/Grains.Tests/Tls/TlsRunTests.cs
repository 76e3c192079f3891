using FedRLora.Abstractions.Messages;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests.Tls;

/// <summary>Runs of two sites over mutual TLS.</summary>
public sealed class TlsRunTests(ITestOutputHelper log)
{
    private static readonly string Plan = TestFederation.Plan(rounds: 3, site: static i => i % 2 == 0 ? "north" : "south");

    [Fact]
    public async Task Two_silos_over_mutual_TLS_make_the_run_that_one_without_it_makes()
    {
        await using var plain = await TestFederation.StartAsync(["north", "south"]);
        var expected = await plain.RunAsync("run", Plan, CancellationToken.None);
        await using var silos = new TlsSilos();
        var north = await silos.StartAsync("north-a", "north");
        var south = await silos.StartAsync("south-a", "south");

        var digest = await RunAsync(north, "run", Plan);

        log.WriteLine(string.Join('\n', north.Log.All.Concat(south.Log.All)));
        Assert.Equal(expected, digest);
        Assert.True(north.Open.Count > 0 && south.Open.Count > 0);
    }

    internal static async Task<string> RunAsync(TlsSilo silo, string job, string plan)
    {
        await silo.Coordinator(job).SubmitAsync(plan, CancellationToken.None);
        while (true)
        {
            if (await silo.Coordinator(job).GetProgressAsync(-1, CancellationToken.None) is { Status: not JobStatus.Running } over)
            {
                Assert.True(over.Status == JobStatus.Finished, over.Reason);
                return over.NewRounds[^1].ManifestSha256;
            }

            await Task.Delay(20);
        }
    }
}
