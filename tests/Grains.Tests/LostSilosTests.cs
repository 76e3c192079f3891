using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Numerics;
using FedRLora.Grains.Store;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests;

/// <summary>Silos that are killed and replaced for as long as a job runs. FEDRLORA_SOAK=1 asks for twenty seeds instead of three.</summary>
public sealed class LostSilosTests(ITestOutputHelper log)
{
    private const int Rounds = 24;
    private static readonly TimeSpan KillEvery = TimeSpan.FromSeconds(1);
    private static readonly string Job = TestFederation.Plan(clients: 12, rounds: Rounds, more: "training: {groupSize: 2}");

    private static readonly Lazy<Task<(string Digest, TimeSpan Took, int Kills)>> Undisturbed = new(static () => RunAsync(killing: null));

    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, Environment.GetEnvironmentVariable("FEDRLORA_SOAK") == "1" ? 20 : 3)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task A_silo_killed_every_second_changes_no_bit_and_stops_no_job(int seed)
    {
        var (expected, calm, _) = await Undisturbed.Value;
        var (digest, stormy, kills) = await RunAsync(new SplitMix64(Seed.For((ulong)seed, 0, "", "kills")));

        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"seed {seed}: {kills} kills in {stormy.TotalSeconds:F1} s, undisturbed {calm.TotalSeconds:F1} s; digest {digest}"));
        Assert.Equal(expected, digest);
        Assert.True(kills >= 3, $"{kills} kills");
    }

    // Nobody outside asks for the job while it runs: what brings it back is the silos' own doing.
    private static async Task<(string Digest, TimeSpan Took, int Kills)> RunAsync(SplitMix64? killing)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(120));
        await using var federation = await TestFederation.StartAsync(["*", "*", "*"], resendAfter: TimeSpan.FromSeconds(10));
        federation.Trainer.BeforeTraining = static (_, token) => Task.Delay(200, token);
        var started = Stopwatch.GetTimestamp();
        await federation.Coordinator("job").SubmitAsync(Job, patience.Token);
        var (kills, nextKill) = (0, KillEvery);
        while (true)
        {
            if (await CommittedAsync(federation, patience.Token) is { Round: Rounds } last)
                return (last.ManifestSha256, Stopwatch.GetElapsedTime(started), kills);
            if (killing is not null && Stopwatch.GetElapsedTime(started) > nextKill)
            {
                await federation.Cluster.KillSiloAsync(federation.Cluster.Silos[killing.Next(federation.Cluster.Silos.Count)]);
                await federation.Cluster.StartAdditionalSiloAsync();
                kills++;
                nextKill = Stopwatch.GetElapsedTime(started) + KillEvery;
            }

            await Task.Delay(20, patience.Token);
        }
    }

    private static async Task<CurrentRound?> CommittedAsync(TestFederation federation, CancellationToken cancellationToken) =>
        await federation.Store.ReadBytesAsync(Keys.Current("job"), cancellationToken) is { } bytes
            ? CurrentRound.Parse(bytes, "job") : null;
}
