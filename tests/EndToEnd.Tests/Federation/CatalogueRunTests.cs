using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>
/// Every method of the catalogue as a run of four clients with two tasks, three rounds; with FEDRLORA_SOAK=1 each is killed and resumed,
/// else those whose rounds carry more than tensors that are averaged.
/// </summary>
public sealed class CatalogueRunTests : IDisposable
{
    private static readonly bool Soak = Environment.GetEnvironmentVariable("FEDRLORA_SOAK") == "1";
    private static readonly string[] Sites = ["north", "south"];
    private readonly TinyFederation _tiny = new();

    public static TheoryData<string> Killed => [.. AdapterCatalog.Methods.Where(static entry => Soak || CarriesMore(entry.Value.Spec))
        .Select(static entry => entry.Key)];

    public static TheoryData<string> Methods => [.. AdapterCatalog.Methods.Keys];

    // Its distinguishing value set back.
    private static Dictionary<string, string> Without { get; } = new(StringComparer.Ordinal)
    {
        ["align-lora"] = "objectives: []",
        ["chain-of-lora"] = "lifecycle: []",
        ["cora"] = "initB: {gaussian: 0.1}, scopeB: seed",
        ["dora"] = "decomposed: false",
        ["fedsa-lora"] = "initA: {gaussian: 0.1}",
        ["fedsa-lora-task-heads"] = "scopeA: task",
        ["ffa-lora"] = "trainsA: true, scopeA: job",
        ["hydra-lora"] = "routing: mean",
        ["lora"] = "scopeB: client",
        ["lora-fa"] = "seedA: common",
        ["lora-xs"] = "initA: kaimingUniform, initB: {gaussian: 0.1}, scopeA: seed, scopeB: seed",
        ["lori-d"] = "seedA: common",
        ["lori-s"] = "lifecycle: []",
        ["m-lora"] = "routing: sum",
        ["malora"] = "core: none",
        ["meteora"] = "objectives: []",
        ["mixlora"] = "routing: byTask",
        ["mtl-lora"] = "core: none",
        ["mtlora"] = "taskBranch: 0",
        ["multilora"] = "downs: one",
        ["olora"] = "initA: kaimingUniform, initB: zero, start: exact",
        ["pissa"] = "initA: kaimingUniform, initB: zero, start: exact",
        ["r-lora"] = "routing: mean",
        ["r-lora-federated"] = "initB: zero, start: exact",
        ["r-lora-federated-task-heads"] = "seedB: common",
        ["rolora"] = "lifecycle: []",
        ["rslora"] = "scaling: alphaOverRank",
        ["smora"] = "routing: byTask",
        ["vera"] = "initA: kaimingUniform",
    };

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Silos_commit_what_simulate_does_by_every_method()
    {
        var place = new SiloPlace();
        await using var hub = Silo("hub", place.Own);
        await hub.UntilAsync(() => hub.Output.Contains("serves", StringComparison.Ordinal), "the hub");
        await using var north = Silo("north", "--join", $"{place.Silo}");
        await using var south = Silo("south", "--join", $"{place.Silo}");
        await hub.UntilAsync(() => (north.Output + south.Output).Split("serves").Length == 3, "the sites");

        foreach (var method in AdapterCatalog.Methods.Keys)
        {
            var plan = Plan(method);
            var submitted = await CommandLine.RunAsync("submit", plan, "--server", place.Url);
            Assert.True(submitted.Code == 0, method + submitted.Output + submitted.Error);
            var alone = await CommandLine.RunAsync("simulate", plan, "--out", Out(method));
            Assert.True(alone.Code == 0, method + alone.Output + alone.Error);
            var watched = await CommandLine.RunAsync("watch", method, "--server", place.Url);
            Assert.True(watched.Code == 0, method + watched.Output + watched.Error);

            Assert.Equal((method, Committed(Out(method))!.ManifestSha256), (method, TinyPlan.Committed(_tiny, method)!.ManifestSha256));
        }

        RunningProgram Silo(string site, params string[] more) => RunningProgram.Start(
            _tiny.Root, ["silo", "--site", site, "--store", "cluster", "--site-store", $"at-{site}", .. more]);
    }

    [Theory, MemberData(nameof(Killed))]
    public async Task A_killed_and_resumed_run_has_the_digest_of_an_undisturbed_one(string method)
    {
        var plan = Plan(method);
        var undisturbed = await CommandLine.RunAsync("simulate", plan, "--out", Out(method));
        Assert.True(undisturbed.Code == 0, undisturbed.Output + undisturbed.Error);
        var folder = Out("killed");
        await using (var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--out", folder))
        {
            await program.UntilAsync(() => Committed(folder) is { Round: >= 1 }, "a committed round");
            program.Kill();
            await program.ExitAsync();
        }

        var resumed = await CommandLine.RunAsync("resume", folder);

        Assert.True(resumed.Code == 0, resumed.Output + resumed.Error);
        Assert.Equal(Committed(Out(method)), Committed(folder));
    }

    [Theory, MemberData(nameof(Methods))]
    public async Task A_method_without_what_distinguishes_it_trains_other_tensors(string method)
    {
        foreach (var (name, values) in ((string, string)[])[("with", ""), ("without", $", {Without[method]}")])
        {
            var ran = await CommandLine.RunAsync("simulate", Plan(method, values), "--out", Out(name));
            Assert.True(ran.Code == 0, ran.Output + ran.Error);
        }

        var (with, without) = (Trained(Out("with")), Trained(Out("without")));
        Assert.Contains(with, tensor => without.TryGetValue(tensor.Key, out var other) && !tensor.Value.SequenceEqual(other));
    }

    // What is shared and what clients have after the last round, by file and name.
    private static Dictionary<string, float[]> Trained(string folder)
    {
        var tensors = new Dictionary<string, float[]>(StringComparer.Ordinal);
        var round = Committed(folder)!.Round;
        foreach (var path in Directory.GetFiles(folder, "*.safetensors", SearchOption.AllDirectories)
            .Where(path => path.Contains($"/{round}/", StringComparison.Ordinal) && !path.Contains("optimizer", StringComparison.Ordinal)))
        {
            using var file = SafetensorsFile.Open(path);
            // A client's tensors lie with it or with all, whatever the scope: of a name each value counts.
            var owner = path.Split('/').FirstOrDefault(part => part.StartsWith("north-", StringComparison.Ordinal)) ?? "all";
            foreach (var name in file.Header.Tensors.Keys) tensors.TryAdd($"{owner} {name}", file.ReadFloat32(name));
        }

        return tensors;
    }

    // A lifecycle, statistics, a start that was computed once, or a tensor that counts.
    private static bool CarriesMore(AdapterSpec spec) => spec.Lifecycle.Count > 0
        || spec.Objectives.Any(static term => term.Statistics is not null)
        || spec.Roles.Any(role => role.IsCounted || (role.IsDrawn && spec.Tensor(role.Name).Init.IsFromWeight));

    private static CurrentRound? Committed(string folder)
    {
        foreach (var file in Directory.Exists(folder) ? Directory.GetFiles(folder, "current.json", SearchOption.AllDirectories) : [])
            return CurrentRound.Parse(File.ReadAllBytes(file), file);
        return null;
    }

    private string Plan(string method, string more = "") => TinyPlan.Write(
        _tiny, 3, string.Join('\n', Sites.SelectMany(static site => Enumerable.Range(0, 2).Select(
            i => TinyPlan.Client($"{site}-{i}", i == 0 ? "one" : "two", site)))),
        adapter: $"{{method: {method}, rank: 8, alpha: 6{more}}}", name: method);

    private string Out(string method) => Path.Combine(_tiny.Root, $"run-{method}");
}
