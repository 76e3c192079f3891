using FedRLora.Abstractions;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Heads of scope task beside the two cases that they lie between, bit by bit in what is exported.</summary>
public sealed class TaskScopeTests : IDisposable
{
    private const string Trained = "rank: 4, alpha: 6, weighting: samples";
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private static readonly string[] Kinds =
    [
        "", ", aggregation: median", ", aggregation: {rule: trimmedMean, trim: 0.4}", ", aggregation: geometricMedian",
        ", aggregation: {rule: normBound, maxNorm: 100}", ", aggregation: normBound", ", aggregation: {rule: krum, byzantine: 0}",
        ", aggregation: {rule: multiKrum, byzantine: 0, keep: 2}", ", aggregation: {rule: median, perTask: true}",
        ", serverOptimizer: {rule: sgd, learningRate: 0.7}", ", selection: {rule: uniform, fraction: 0.5}",
        ", trigger: {rule: buffered, bufferSize: 1, concurrency: 1}", ", trigger: {rule: buffered, bufferSize: 4}",
    ];

    /// <summary>Rounds of every kind in which the order of what comes in changes no bit.</summary>
    public static TheoryData<string> Strategies => [.. Kinds];

    /// <summary>Without a step of the coordinator and rules that need several, which are for what is aggregated.</summary>
    public static TheoryData<string> StrategiesOfOne =>
    [
        .. Kinds.Where(static kind =>
            !new[] { "rum", "trimmedMean", "learningRate" }.Any(word => kind.Contains(word, StringComparison.Ordinal))),
    ];

    [Theory, MemberData(nameof(Strategies))]
    public async Task Of_one_task_they_are_those_of_lora(string strategy)
    {
        string Clients() => string.Join('\n', Enumerable.Range(0, 4).Select(
            static i => TinyPlan.Client($"c{i}", i % 2 == 0 ? "one" : "two", task: "task")));

        await EqualAsync(
            1, TinyPlan.Write(_tiny, 4, Clients(), adapter: $"{{method: lora, {Trained}}}", strategy: strategy, name: "all"),
            TinyPlan.Write(
                _tiny, 4, Clients(), adapter: $"{{method: lora, {Trained}, scopeB: task}}", strategy: strategy, name: "by-task"));
    }

    [Theory, MemberData(nameof(StrategiesOfOne))]
    public async Task Of_a_task_for_each_client_they_are_those_of_fedsa_lora(string strategy)
    {
        string Clients() => string.Join('\n', Enumerable.Range(0, 4).Select(
            static i => TinyPlan.Client($"c{i}", i % 2 == 0 ? "one" : "two", task: $"task {i}")));

        await EqualAsync(
            4, TinyPlan.Write(_tiny, 6, Clients(), adapter: $"{{method: fedsa-lora, {Trained}}}", strategy: strategy, name: "own"),
            TinyPlan.Write(
                _tiny, 6, Clients(), adapter: $"{{method: fedsa-lora, {Trained}, scopeB: task}}", strategy: strategy, name: "by-task"));
    }

    [Fact]
    public async Task Silos_and_simulate_commit_the_same_rounds_and_a_site_holds_no_head_of_a_task_it_has_not()
    {
        string[] sites = ["north", "south"];
        var clients = string.Join('\n', sites.SelectMany(static site => Enumerable.Range(0, 2).Select(
            i => TinyPlan.Client($"{site}-{i}", site == "north" ? "one" : "two", site))));
        var plan = TinyPlan.Write(_tiny, 3, clients, adapter: $"{{method: fedsa-lora, {Trained}, scopeB: task}}");
        await RunningProgram.RunAsync(_tiny.Root, "simulate", plan, "--out", "alone");
        var place = new SiloPlace();
        await using var hub = Silo("hub", place.Own);
        await hub.UntilAsync(() => hub.Output.Contains("serves", StringComparison.Ordinal), "the hub");
        await using var north = Silo("north", "--join", $"{place.Silo}");
        await using var south = Silo("south", "--join", $"{place.Silo}");
        await hub.UntilAsync(
            () => (north.Output + south.Output).Split("serves").Length == 3, "the sites");

        await RunningProgram.RunAsync(_tiny.Root, "submit", plan, "--server", place.Url);
        await RunningProgram.RunAsync(_tiny.Root, "watch", "tiny", "--server", place.Url);

        var alone = Abstractions.Messages.CurrentRound.Parse(
            File.ReadAllBytes(Path.Combine(_tiny.Root, "alone", "store", Keys.Current("tiny"))), "alone");
        Assert.Equal(alone.ManifestSha256, TinyPlan.Committed(_tiny, "tiny")!.ManifestSha256);
        foreach (var site in sites)
        {
            var files = Directory.EnumerateFiles(Path.Combine(_tiny.Root, $"at-{site}"), "*", SearchOption.AllDirectories).ToList();
            Assert.Contains(files, static file => file.EndsWith("head.safetensors", StringComparison.Ordinal));
            Assert.All(files, file => Assert.DoesNotContain("shared-of", file, StringComparison.Ordinal));
            foreach (var file in files.Where(static file => file.EndsWith("head.safetensors", StringComparison.Ordinal)))
                Assert.DoesNotContain(".B", File.ReadAllText(file), StringComparison.Ordinal); // a head of scope client alone lies there
        }

        RunningProgram Silo(string site, params string[] more) => RunningProgram.Start(
            _tiny.Root, ["silo", "--site", site, "--store", "cluster", "--site-store", $"at-{site}", .. more]);
    }

    private static async Task EqualAsync(int different, string first, string second)
    {
        foreach (var plan in (string[])[first, second])
        {
            var ran = await CommandLine.RunAsync("simulate", plan, "--out", OutOf(plan));
            Assert.True(ran.Code == 0, ran.Output + ran.Error);
        }

        var adapters = Directory.GetFiles(Path.Combine(OutOf(first), "adapters"), "adapter_model.safetensors", SearchOption.AllDirectories);
        Assert.Equal(4, adapters.Length);
        Assert.All(adapters, file => Assert.Equal(
            File.ReadAllBytes(file), File.ReadAllBytes(file.Replace(OutOf(first), OutOf(second), StringComparison.Ordinal))));
        Assert.Equal(different, adapters.Select(static file => Convert.ToHexString(File.ReadAllBytes(file))).Distinct().Count());
    }

    private static string OutOf(string plan) => Path.ChangeExtension(plan, null);
}
