using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests;

/// <summary>
/// A process dies in any single operation of its store, and the next one finishes the run with the digest of an undisturbed one. A
/// seeded sample of the points; with FEDRLORA_SOAK set, every one.
/// </summary>
public sealed class CrashTests(ITestOutputHelper output) : IDisposable
{
    private const string Job = "job";
    private const int Sampled = 14;

    private string _plan = "";

    private readonly string _root = Directory.CreateTempSubdirectory("fedrlora-crash-").FullName;

    private static bool Soak => Environment.GetEnvironmentVariable("FEDRLORA_SOAK") is { Length: > 0 };

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    /// <summary>
    /// With own heads; with heads of tasks, one of which is absent for two rounds; with those, statistics, A in odd rounds alone, and a
    /// server optimizer that remembers.
    /// </summary>
    public static TheoryData<string, string, string> Plans => new()
    {
        { "fedsa-lora", "", "" },
        { TestFederation.TaskHeads, Absent, "" },
        {
            "{method: fedsa-lora, scopeB: task, objectives: [alignment], lifecycle: [{rounds: even, train: [B]}]}", Absent,
            "  serverOptimizer: {rule: adam, variant: flower}\n"
        },
    };

    private const string Absent = "faults: [{kind: absent, clients: [c00001, c00003], rounds: {from: 2, to: 3}}]";

    [Theory, MemberData(nameof(Plans))]
    public async Task A_process_that_dies_in_any_operation_of_its_store_changes_no_bit(string adapter, string faults, string strategy)
    {
        _plan = TestFederation.Plan(clients: 4, rounds: 5,
            more: $"training: {{groupSize: 1}}\ncheckpoints: {{keepLast: 2, keepEvery: 3}}\n{faults}",
            strategy: strategy, site: static i => i < 2 ? "north" : "south", adapter: adapter);
        var watch = Stopwatch.StartNew();
        var (expected, operations) = await UndisturbedAsync();
        var points = Enum.GetValues<CrashMode>()
            .SelectMany(mode => Enumerable.Range(1, operations).Select(operation => (Operation: operation, Mode: mode))).ToArray();
        if (!Soak) new Random(1).Shuffle(points);
        var (tried, missed, wrong) = (0, 0, new List<string>());
        foreach (var (operation, mode) in Soak ? points : points.Take(Sampled))
        {
            var (died, problem) = await DieAndGoOnAsync(operation, mode, expected);
            if (problem is not null) wrong.Add($"{mode} operation {operation}, {died}: {problem}");
            if (died is null) missed++;
            tried++;
        }

        output.WriteLine(
            $"{tried} of {points.Length} points ({operations} operations, {missed} not reached) in {watch.Elapsed.TotalSeconds:0.0} s");
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
        Assert.InRange(missed, 0, tried / 2); // operations run in parallel: the last numbers may not come up
    }

    private async Task<(string Digest, int Operations)> UndisturbedAsync()
    {
        using var directory = new DirectoryBlobStore(Path.Combine(_root, "undisturbed"));
        var store = new FaultInjectingStore(directory);
        await using var federation = await TestFederation.StartAsync(folder: _root, store: store);
        return (await federation.RunAsync(Job, _plan, InTime), store.Operations);
    }

    private async Task<(string? Died, string? Problem)> DieAndGoOnAsync(int operation, CrashMode mode, string expected)
    {
        var folder = Path.Combine(_root, $"{operation}-{mode}");
        var died = await DieAsync(folder, (operation, mode));
        var problem = await GoOnAsync(folder, expected);
        Directory.Delete(folder, recursive: true);
        return (died, problem);
    }

    private async Task<string?> GoOnAsync(string folder, string expected)
    {
        using var directory = new DirectoryBlobStore(folder);
        await using (var federation = await TestFederation.StartAsync(folder: _root, store: directory))
        {
            var coordinator = federation.Coordinator(Job);
            // as its user would
            if (await coordinator.GetProgressAsync(int.MaxValue - 1, InTime) is null) await coordinator.SubmitAsync(_plan, InTime);
            var over = await federation.FinishAsync(Job, InTime);
            if (over.Status != JobStatus.Finished) return $"{over.Status}: {over.Reason}";
            if (over.NewRounds[^1].ManifestSha256 is var digest && digest != expected) return $"digest {digest}, expected {expected}";
        }

        var report = await new RunVerifier(directory, directory, Job).VerifyAsync(InTime);
        return report is { Broken.Count: 0, Unchecked.Count: 0, LastRound: 5 }
            ? null
            : $"not verified: {string.Join("; ", report?.Broken ?? [])}";
    }

    // The operation in which it died; null where the run ended without it.
    private async Task<string?> DieAsync(string folder, (int Operation, CrashMode Mode) point)
    {
        using var directory = new DirectoryBlobStore(folder);
        var store = new FaultInjectingStore(directory) { Crash = point };
        await using var federation = await TestFederation.StartAsync(folder: _root, store: store, resendAfter: TimeSpan.FromSeconds(5));
        var running = RunAsync();
        await await Task.WhenAny(store.Crashed, running);
        foreach (var silo in federation.Cluster.Silos.ToArray()) await federation.Cluster.KillSiloAsync(silo);
        return store.Crashed.IsCompleted ? await store.Crashed : null;

        async Task RunAsync()
        {
            try
            {
                await federation.RunAsync(Job, _plan, InTime);
            }
            catch (Exception) when (store.Crashed.IsCompleted)
            {
                // its process is dead
            }
        }
    }
}
