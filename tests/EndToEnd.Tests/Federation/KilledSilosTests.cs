using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Numerics;
using FedRLora.Silo;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>
/// kill -9 of silos while a run lasts: after each of the first rounds; with FEDRLORA_SOAK=1 every three seconds of a longer run, or as soon
/// as the one before is replaced.
/// </summary>
public sealed class KilledSilosTests(ITestOutputHelper log)
{
    private static readonly bool Soak = Environment.GetEnvironmentVariable("FEDRLORA_SOAK") == "1";
    private static readonly int Rounds = Soak ? 12 : 6;
    private static readonly int Steps = Soak ? 100 : 20;
    private const int KillsInASample = 3;
    private static readonly TimeSpan KillEvery = TimeSpan.FromSeconds(3);
    private static readonly string[] Sites = ["east", "north", "south"];

    [RedisFact]
    public async Task Six_silos_of_three_sites_killed_in_turn_change_no_bit()
    {
        await using var redis = await RedisServer.StartAsync();
        await KillInTurnAsync(redis.Location);
    }

    [TableSoakFact]
    public async Task Nor_do_they_where_tables_of_Azure_keep_the_membership()
    {
        await using var tables = await TableServer.StartAsync();
        await KillInTurnAsync(tables.Location, tables.Variable);
    }

    private async Task KillInTurnAsync(ClusterLocation cluster, params (string Name, string Value)[] environment)
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, Rounds, string.Join('\n', Sites.SelectMany(
            static site => new[] { TinyPlan.Client($"{site}-1", "one", site), TinyPlan.Client($"{site}-2", "two", site) })));
        await File.WriteAllTextAsync(plan,
            (await File.ReadAllTextAsync(plan)).Replace("steps: 4,", $"steps: {Steps},", StringComparison.Ordinal));
        var started = Stopwatch.GetTimestamp();
        await using var silos = new KillableSilos(tiny.Root, cluster, environment, [.. Sites, .. Sites]);
        await silos.ReadyAsync();
        log.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"six silos after {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s"));

        var calm = await RunAsync(tiny, silos, plan, "calm", disturb: null);
        var random = new SplitMix64(Seed.For(7, 0, "", "silo kills"));
        log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Rounds} rounds undisturbed: {calm.Took.TotalSeconds:F1} s"));
        (string Digest, TimeSpan Took) stormy;
        try
        {
            stormy = await RunAsync(tiny, silos, plan, "stormy",
                round => silos.IsDue(round) ? silos.KillOneAsync(random) : Task.CompletedTask);
        }
        finally
        {
            log.WriteLine(silos.Output);
        }

        log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Rounds} rounds: {calm.Took.TotalSeconds:F1} s undisturbed, "
            + $"{stormy.Took.TotalSeconds:F1} s with {silos.Kills} kills; digests {calm.Digest}, {stormy.Digest}"));
        Assert.Equal(calm.Digest, stormy.Digest);
        Assert.True(silos.Kills >= KillsInASample, $"{silos.Kills} kills");
    }

    private static async Task<(string Digest, TimeSpan Took)> RunAsync(
        TinyFederation tiny, KillableSilos silos, string plan, string run, Func<int, Task>? disturb)
    {
        await RunningProgram.RunAsync(tiny.Root, ["submit", plan, "--run", run, .. silos.To]);
        var started = Stopwatch.GetTimestamp();
        await using var watch = RunningProgram.Start(tiny.Root, ["watch", run, .. silos.To]);
        while (!watch.HasExited)
        {
            if (disturb is not null) await disturb(TinyPlan.Committed(tiny, run)?.Round ?? 0);
            Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromMinutes(Soak ? 10 : 2), $"{run} does not end:\n{watch.Output}");
            await Task.Delay(10);
        }

        var took = Stopwatch.GetElapsedTime(started);
        Assert.True(await watch.ExitAsync() == 0, watch.Output);
        var committed = TinyPlan.Committed(tiny, run)!;
        Assert.Equal(Rounds, committed.Round);
        return (committed.ManifestSha256, took);
    }

    /// <summary>Silos as a supervisor keeps them: whatever ends is started again.</summary>
    private sealed class KillableSilos : IAsyncDisposable
    {
        private readonly (string[] Arguments, RunningProgram Program)[] _silos;
        private readonly List<string> _outputs = [];
        private readonly string _folder;
        private readonly (string Name, string Value)[] _environment;
        private long _lastKill = Stopwatch.GetTimestamp();

        public KillableSilos(
            string folder, ClusterLocation cluster, (string Name, string Value)[] environment, IReadOnlyList<string> sites)
        {
            (_folder, _environment) = (folder, environment);
            var ports = FreePorts.Take(3 * sites.Count);
            To = [.. sites.SelectMany((_, i) => new[] { "--server", $"http://127.0.0.1:{ports[(3 * i) + 2]}" })];
            _silos = [.. sites.Select((site, i) =>
            {
                var (port, gateway, control) = (ports[3 * i], ports[(3 * i) + 1], ports[(3 * i) + 2]);
                string[] arguments =
                [
                    "silo", "--site", site, "--name", $"{site}-{i}", "--cluster", $"{cluster}", "--port", $"{port}",
                    "--gateway", $"{gateway}", "--control", $"{control}", "--store", "cluster", "--site-store", $"store-{site}",
                ];
                return (arguments, RunningProgram.StartWith(environment, folder, arguments));
            })];
        }

        public int Kills { get; private set; }

        /// <summary>The options of a command to all of them, so that it outlives any.</summary>
        public string[] To { get; }

        /// <summary>What they all wrote, those that are gone first.</summary>
        public string Output => string.Join("\n---\n", _outputs.Concat(_silos.Select(static silo => silo.Program.Output)));

        public async Task ReadyAsync()
        {
            foreach (var (_, program) in _silos)
                await program.UntilAsync(() => program.Output.Contains("serves", StringComparison.Ordinal), "a silo");
        }

        /// <summary>Whether the next one is to be killed when so many rounds are committed.</summary>
        public bool IsDue(int round) => Soak
            ? Stopwatch.GetElapsedTime(_lastKill) > KillEvery && Serving().Count == _silos.Length
            : Kills < Math.Min(round, KillsInASample);

        /// <summary>Kills one of the silos whose site has another, if there is one, and starts whatever is not there.</summary>
        public async Task KillOneAsync(SplitMix64 random)
        {
            var serving = Serving();
            var candidates = serving.Where(i => serving.Contains((i + (_silos.Length / 2)) % _silos.Length)).Order().ToArray();
            if (candidates.Length > 0)
            {
                var victim = _silos[candidates[random.Next(candidates.Length)]].Program;
                victim.Kill();
                await victim.ExitAsync();
                (Kills, _lastKill) = (Kills + 1, Stopwatch.GetTimestamp());
            }

            for (var i = 0; i < _silos.Length; i++)
            {
                if (!_silos[i].Program.HasExited) continue;
                _outputs.Add($"{(serving.Contains(i) ? "killed" : "ended by itself")}:\n{_silos[i].Program.Output}");
                await _silos[i].Program.DisposeAsync();
                _silos[i].Program = RunningProgram.StartWith(_environment, _folder, _silos[i].Arguments);
            }
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var (_, program) in _silos) await program.DisposeAsync();
        }

        private HashSet<int> Serving() =>
            [.. Enumerable.Range(0, _silos.Length)
                .Where(i => !_silos[i].Program.HasExited && _silos[i].Program.Output.Contains("serves", StringComparison.Ordinal))];
    }
}
