using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Numerics;
using FedRLora.Grains.Runs;
using FedRLora.Silo.Storage;

namespace FedRLora.Benchmarks.Wall;

/// <summary>
/// Rounds of a stored run that nobody trained: manifests with losses that fall and scores that rise, some late and failed clients, and
/// states that are those of the last round that was trained. To train 500,000 times takes an hour, and the page shows manifests.
/// </summary>
internal static class MadeRounds
{
    private static readonly DateTimeOffset Begin = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    /// <summary>Commits rounds of a run whose silo is not running up to <paramref name="last"/>.</summary>
    public static async Task CommitAsync(string folder, string run, int last)
    {
        using var store = new DirectoryBlobStore(folder, durability: Durability.Fast);
        var log = new CommitLog(store, run);
        var current = (await log.ReadAsync(CancellationToken.None))!;
        var manifest = await log.ManifestAsync(current.Round, current.ManifestSha256, CancellationToken.None);
        var random = new SplitMix64(7);
        var trained = manifest;
        for (var (round, digest) = (current.Round + 1, current.ManifestSha256); round <= last; round++)
        {
            manifest = trained with
            {
                Round = round, Previous = digest, Coherence = 0.2 + (0.6 * Uniform(random)),
                Clients = [.. trained.Clients.Select((client, i) => Of(client, i, round, random))],
            };
            var shared = Path.Combine(folder, Keys.Shared(run, round, trained.Shared.Sha256));
            Directory.CreateDirectory(Path.GetDirectoryName(shared)!);
            File.Copy(Path.Combine(folder, Keys.Shared(run, trained.Round, trained.Shared.Sha256)), shared);
            digest = await log.CommitAsync(manifest, CancellationToken.None);
            await log.RecordTimingAsync(round, 8 + (4 * Uniform(random)), TimingOf(manifest, random), CancellationToken.None);
        }

        await store.DeleteAsync(Keys.Memory(run)); // it remembers a round that is over now
    }

    private static ManifestClient Of(ManifestClient client, int i, int round, SplitMix64 random)
    {
        var drawn = Uniform(random);
        var loss = 0.4 + (0.02 * (i % 10)) + (2.5 * Math.Exp(-round / 120.0)) + (0.3 * Uniform(random));
        var score = client.Score! with { Value = Math.Clamp(1.05 - (0.3 * loss) - (0.1 * Uniform(random)), 0, 1), Loss = loss };
        var absent = client with
        {
            Outcome = drawn < 0.01 ? ClientOutcome.Failed : ClientOutcome.Late, Reason = drawn < 0.01 ? "a.jsonl: no such file" : null,
            Weight = 0, Update = null, Numbers = new(), Score = score,
        };
        return drawn < 0.03 ? absent
            : client with { MeanLoss = loss, ProductNorm = 0.1 + (0.05 * Uniform(random)), Score = score };
    }

    private static RoundTiming TimingOf(RoundManifest manifest, SplitMix64 random) => new()
    {
        CommittedAt = Begin.AddSeconds(10 * manifest.Round), Attempts = 1, ClosedBy = RoundTiming.ByAll,
        DecidedBy = manifest.Clients[^1].Id,
        Parts = new Dictionary<string, double>
        {
            [RoundTiming.Select] = 0.01, [RoundTiming.Train] = 6, [RoundTiming.Wait] = 2, [RoundTiming.Aggregate] = 0.4,
            [RoundTiming.Evaluate] = 1.2, [RoundTiming.Commit] = 0.1,
        },
        ClientSeconds = manifest.Clients.Where(static client => client.Outcome == ClientOutcome.Trained)
            .ToDictionary(static client => client.Id, _ => 4 + (4 * Uniform(random))),
    };

    private static double Uniform(SplitMix64 random) => (random.Next() >> 11) * (1.0 / (1UL << 53));
}
