using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Numerics;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Coordination;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>
/// kill -9 at seeded moments after the first and before the last commit; FEDRLORA_KILLS asks for more than the sample of every run.
/// </summary>
public sealed class KilledRunTests(ITestOutputHelper log)
{
    private const int Rounds = 12;

    private static int Kills =>
        int.TryParse(Environment.GetEnvironmentVariable("FEDRLORA_KILLS"), CultureInfo.InvariantCulture, out var kills) ? kills : 3;

    /// <summary>With own heads, and with heads of tasks, one of which is absent for some rounds.</summary>
    public static TheoryData<string, string> Plans => new()
    {
        { TinyPlan.Adapter, "" },
        {
            "{method: fedsa-lora, rank: 4, alpha: 6, scopeB: task}",
            "faults: [{kind: absent, clients: [c1, c3, c5], rounds: {from: 4, to: 6}}]"
        },
    };

    [Theory, MemberData(nameof(Plans))]
    public async Task A_killed_and_resumed_run_has_the_digest_of_an_undisturbed_one(string adapter, string faults)
    {
        using var tiny = new TinyFederation();
        var clients = Enumerable.Range(0, 6).Select(static i => TinyPlan.Client($"c{i}", i % 2 == 0 ? "one" : "two"));
        var plan = TinyPlan.Write(tiny, Rounds, string.Join('\n', clients), faults, adapter);
        await RunningProgram.RunAsync(tiny.Root, "simulate", plan, "--out", "undisturbed");
        var expected = Digest(Path.Combine(tiny.Root, "undisturbed"));
        var random = new SplitMix64(Seed.For(7, 0, "", "kills"));
        Phase[] targets = [Phase.Training, Phase.Aggregating, Phase.Committing, Phase.Evaluating];
        var hit = new Dictionary<Phase, int>();

        var kills = 0;
        for (var i = 0; i < 3 * Kills + 60 && (kills < Kills || targets.Take(3).Any(target => !hit.ContainsKey(target))); i++)
        {
            var target = targets.Take(3).FirstOrDefault(target => !hit.ContainsKey(target), targets[random.Next(targets.Length)]);
            var (folder, round) = (Path.Combine(tiny.Root, $"killed-{i}"), 2 + random.Next(Rounds / 2));
            await using (var program = RunningProgram.Start(tiny.Root, "simulate", plan, "--out", folder))
            {
                await program.UntilAsync(
                    () => Stored(folder) is { } state && (state.Round > round || (state.Round == round && state.Phase == target)),
                    $"{target} of round {round}");
                if (target == Phase.Training) await Task.Delay(random.Next(30));
                program.Kill();
                await program.ExitAsync();
            }

            var (left, committed) = (Stored(folder)!, Committed(folder));
            if (committed == Rounds) continue; // a fast machine had finished before the kill came
            kills++;
            var during = left.Round == committed + 1 ? left.Phase : Phase.Committing; // the pointer moved, its state did not
            hit[during] = hit.GetValueOrDefault(during) + 1;
            await RunningProgram.RunAsync(tiny.Root, "resume", folder);
            log.WriteLine($"kill {kills}: in {during} of round {left.Round}, {committed} committed; digest {Digest(folder)}");
            Assert.Equal(expected, Digest(folder));
        }

        log.WriteLine(string.Join(", ", hit.OrderBy(static entry => entry.Key).Select(static entry => $"{entry.Key} {entry.Value}")));
        Assert.All(targets.Take(3), target => Assert.True(hit.ContainsKey(target), $"no kill hit {target}"));
    }

    private static RoundState? Stored(string folder)
    {
        try
        {
            return JsonSerializer.Deserialize<JobMemory>(
                File.ReadAllBytes(Path.Combine(folder, "store", "grains", "job", "tiny.json")))!.State;
        }
        catch (IOException)
        {
            return null; // not written yet
        }
    }

    private static int Committed(string folder) => Current(folder).Round;

    private static string Digest(string folder) => Current(folder).ManifestSha256;

    private static CurrentRound Current(string folder) =>
        CurrentRound.Parse(File.ReadAllBytes(Path.Combine(folder, "store", Keys.Current("tiny"))), folder);
}
