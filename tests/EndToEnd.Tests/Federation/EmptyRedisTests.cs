using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>
/// Redis is killed in the middle of a run of four silos and comes back empty: at once; with FEDRLORA_SOAK=1 also after half a minute
/// and after more than a minute. Then everything is killed, and begins again with nothing but the store.
/// </summary>
public sealed class EmptyRedisTests(ITestOutputHelper log)
{
    private static readonly bool Soak = Environment.GetEnvironmentVariable("FEDRLORA_SOAK") == "1";
    private static readonly TimeSpan AnswersWithin = TimeSpan.FromMinutes(2);
    // beside what the first start took: silos that were all killed at once, docs/clusters.md
    private static readonly TimeSpan JoinsWithin = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan[] Away = Soak
        ? [TimeSpan.Zero, TimeSpan.FromSeconds(30), TimeSpan.FromSeconds(75)]
        : [TimeSpan.Zero, TimeSpan.Zero, TimeSpan.FromSeconds(3)];
    private static readonly string[] Sites = ["east", "north", "south", "west"];
    private static readonly int Rounds = Soak ? 32 : 20;
    // at least, on however fast a machine: the run must not be over before Redis was away
    private static readonly string RoundTakes = Soak ? "5s" : "1.5s";

    [RedisFact]
    public async Task A_run_whose_Redis_comes_back_empty_three_times_changes_no_bit_and_has_no_second_cluster()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(
            tiny, Rounds,
            string.Join('\n', Sites.Select(static (site, i) => TinyPlan.Client($"{site}-1", i % 2 == 0 ? "one" : "two", site))),
            more: $"faults: [{{kind: delay, clients: [west-1], delay: {RoundTakes}}}]");
        await using var calm = RunningProgram.Start(tiny.Root, "simulate", plan, "--out", "calm");
        await using var redis = await RedisServer.StartAsync();
        var cluster = $"{redis.Location}";
        var started = Stopwatch.GetTimestamp();
        await using var silos = new FourSilos(tiny.Root, cluster);
        await silos.ServeAsync();
        var first = Stopwatch.GetElapsedTime(started);
        await RunningProgram.RunAsync(tiny.Root, ["submit", plan, "--run", "stormy", .. silos.To]);
        for (var i = 0; i < Away.Length; i++)
        {
            await CommittedAsync(tiny, "stormy", (2 * i) + 1, silos);
            await redis.KillAsync();
            await Task.Delay(Away[i]);
            await redis.StartEmptyAsync();
            var took = Soak || i == 0 ? await AnswersWithAFifthSiloAsync(tiny, cluster, silos) : await AnswersAsync(tiny, silos);
            var round = TinyPlan.Committed(tiny, "stormy")!.Round;
            log.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"away for {Away[i].TotalSeconds:F0} s: runs answers {took.TotalSeconds:F1} s after the restart; round {round}"));
            Assert.True(round < Rounds, "the run was over before Redis was");
        }

        Assert.All(silos.Programs, program => Assert.False(program.HasExited, program.Output));
        Assert.Contains("\"term\": 1,", Lease(tiny), StringComparison.Ordinal);

        // A total restart: the same ports, the store, and a Redis that knows of nothing.
        await silos.KillAsync();
        await redis.KillAsync();
        var kept = TinyPlan.Committed(tiny, "stormy")!.Round;
        Assert.True(kept < Rounds, "the run was over before all was killed");
        await redis.StartEmptyAsync();
        var restarted = Stopwatch.GetTimestamp();
        silos.Start();
        await silos.ServeAsync();
        var joined = Stopwatch.GetElapsedTime(restarted);
        await RunningProgram.RunAsync(tiny.Root, ["watch", "stormy", .. silos.To]);

        Assert.True(await calm.ExitAsync() == 0, calm.Output);
        var expected = CurrentRound.Parse(
            await File.ReadAllBytesAsync(Path.Combine(tiny.Root, "calm", "store", Keys.Current("tiny"))), "calm");
        log.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"all killed after round {kept}: four silos serve {joined.TotalSeconds:F1} s later, at first {first.TotalSeconds:F1} s"));
        log.WriteLine($"digests {expected.ManifestSha256}, {TinyPlan.Committed(tiny, "stormy")!.ManifestSha256}");
        Assert.Equal(expected, TinyPlan.Committed(tiny, "stormy"));
        Assert.Equal(Rounds, expected.Round);
        Assert.Contains("\"term\": 2,", Lease(tiny), StringComparison.Ordinal);
        Assert.True(joined < first + JoinsWithin, $"{joined}, at first {first}");
    }

    // One that starts while the membership is empty: it may wait or join, but never be another cluster.
    private static async Task<TimeSpan> AnswersWithAFifthSiloAsync(TinyFederation tiny, string cluster, FourSilos silos)
    {
        await using var fifth = RunningProgram.Start(
            tiny.Root, "silo", "--site", "east", "--name", "fifth", "--store", "cluster", "--site-store", "store-east",
            "--cluster", cluster);
        var took = await AnswersAsync(tiny, silos);
        await fifth.UntilAsync(() => fifth.Output.Contains("serves east", StringComparison.Ordinal), "the fifth silo");
        var serving = Stopwatch.GetTimestamp();
        while (Count(Lease(tiny), "\"address\"") < Sites.Length + 1)
        {
            Assert.True(
                Stopwatch.GetElapsedTime(serving) < AnswersWithin,
                $"the fifth silo is not of the cluster:\n{Lease(tiny)}\n{fifth.Output}\n{silos.Output}");
            await Task.Delay(50);
        }

        return took;
    }

    // As a person does it: again and again until it answers.
    private static async Task<TimeSpan> AnswersAsync(TinyFederation tiny, FourSilos silos)
    {
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            await using var runs = RunningProgram.Start(tiny.Root, ["runs", .. silos.To]);
            var code = await runs.ExitAsync();
            if (code == 0 && runs.Output.Contains("stormy", StringComparison.Ordinal)) return Stopwatch.GetElapsedTime(started);
            Assert.True(Stopwatch.GetElapsedTime(started) < AnswersWithin, $"runs ended with {code}:\n{runs.Output}");
        }
    }

    private static async Task CommittedAsync(TinyFederation tiny, string run, int round, FourSilos silos) =>
        await silos.Programs[0].UntilAsync(() => TinyPlan.Committed(tiny, run)?.Round >= round, $"round {round}");

    private static string Lease(TinyFederation tiny) => File.ReadAllText(Path.Combine(tiny.Root, "cluster", Keys.ClusterLease));

    private static int Count(string text, string word) => text.Split(word).Length - 1;

    private sealed class FourSilos : IAsyncDisposable
    {
        private readonly string _folder;
        private readonly string[][] _arguments;

        public FourSilos(string folder, string cluster)
        {
            _folder = folder;
            Ports = FreePorts.Take(3 * Sites.Length);
            _arguments = [.. Sites.Select((site, i) => new[]
            {
                "silo", "--site", site, "--cluster", cluster, "--port", $"{Ports[i]}", "--gateway", $"{Ports[Sites.Length + i]}",
                "--control", $"{Ports[(2 * Sites.Length) + i]}", "--store", "cluster", "--site-store", $"store-{site}",
            })];
            Start();
        }

        public int[] Ports { get; }

        public string[] To => ["--server", $"http://127.0.0.1:{Ports[2 * Sites.Length]}"];

        public RunningProgram[] Programs { get; private set; } = [];

        public string Output => string.Join("\n---\n", Programs.Select(static program => program.Output));

        public void Start() => Programs = [.. _arguments.Select(arguments => RunningProgram.Start(_folder, arguments))];

        public async Task ServeAsync()
        {
            foreach (var program in Programs)
                await program.UntilAsync(() => program.Output.Contains("serves", StringComparison.Ordinal), "a silo");
        }

        public async Task KillAsync()
        {
            foreach (var program in Programs) program.Kill();
            foreach (var program in Programs) await program.DisposeAsync();
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var program in Programs) await program.DisposeAsync();
        }
    }
}
