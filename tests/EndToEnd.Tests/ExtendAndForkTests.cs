using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.Client;
using FedRLora.Grains.Tests;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

public sealed class ExtendAndForkTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Folder(string name) => Path.Combine(_tiny.Root, name);

    private async Task<string> SimulateAsync(string folder, int rounds, string schedule = "constant")
    {
        var plan = _tiny.WritePlan(strategy: $"rounds: {rounds}");
        await File.WriteAllTextAsync(plan,
            (await File.ReadAllTextAsync(plan)).Replace("threads: 1", $"threads: 1, schedule: {schedule}", StringComparison.Ordinal));
        var result = await CommandLine.RunAsync("simulate", plan, "--out", Folder(folder));
        Assert.Equal((0, ""), (result.Code, result.Error));
        return Folder(folder);
    }

    private static RoundManifest Manifest(string run, int round)
    {
        var path = Path.Combine(run, "store", StoredRounds.Manifest(Path.Combine(run, "store"), "tiny", round));
        return RoundManifest.Parse(File.ReadAllBytes(path), path);
    }

    [Fact]
    public async Task A_run_extended_under_a_constant_learning_rate_is_the_run_that_was_longer_from_the_start()
    {
        var (longer, run) = (await SimulateAsync("longer", 3), await SimulateAsync("run", 2));

        var extended = await CommandLine.RunAsync("extend", run, "--rounds", "3");

        Assert.Equal((0, ""), (extended.Code, extended.Error));
        Assert.Contains("round 3/3", extended.Output, StringComparison.Ordinal);
        Assert.Equal(Manifest(longer, 3).Shared, Manifest(run, 3).Shared);
        Assert.Equal(Manifest(longer, 3).Clients.Select(static client => (client.Head, client.Score)),
            Manifest(run, 3).Clients.Select(static client => (client.Head, client.Score)));
        Assert.Equal(0, (await CommandLine.RunAsync("export", run, "--out", Folder("adapters"))).Code); // under the plan of its last round
        Assert.Contains("has 3 rounds already", Assert.Single((await CommandLine.RunAsync("extend", run, "--rounds", "3")).ErrorLines),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_fork_begins_with_the_scores_of_the_round_it_comes_from()
    {
        var run = await SimulateAsync("run", 2);

        var forked = await CommandLine.RunAsync("fork", run, "--round", "2", "--set", "training.learningRate=5e-3", "--set",
            "strategy.rounds=1", "--out", Folder("fork"), "--json");

        Assert.Equal((0, ""), (forked.Code, forked.Error));
        Assert.Equal(RoundManifest.Digest(Manifest(run, 2).ToBytes()), Manifest(Folder("fork"), 0).Previous);
        Assert.Equal(Manifest(run, 2).Clients.Select(static client => client.Score),
            Manifest(Folder("fork"), 0).Clients.Select(static client => client.Score));
        Assert.Equal(3, forked.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length); // rounds 0 and 1, and the table
        Assert.Contains("learningRate: 5e-3", await File.ReadAllTextAsync(Path.Combine(Folder("fork"), "plan.yaml")),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("nf4", "give the plan model.storage: asStored (it has nf4)")]
    [InlineData("float32", null)] // the same numbers
    public async Task A_fork_keeps_the_numbers_that_heads_were_trained_beside(string storage, string? said)
    {
        var run = await SimulateAsync("run", 2);
        var text = await File.ReadAllTextAsync(Folder("plan.yaml"));
        Assert.Contains("model: model\n", text, StringComparison.Ordinal);
        await File.WriteAllTextAsync(Folder("other.yaml"),
            text.Replace("model: model\n", $"model: {{path: model, storage: {storage}}}\n", StringComparison.Ordinal));

        var forked = await CommandLine.RunAsync("fork", run, "--round", "2", "--plan", Folder("other.yaml"), "--out", Folder("fork"));

        Assert.Equal(said is null ? 0 : 2, forked.Code);
        Assert.Equal(said is null, Directory.Exists(Folder("fork")));
        if (said is not null) Assert.Contains(said, Assert.Single(forked.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_fork_that_cannot_be_leaves_nothing_behind()
    {
        var run = await SimulateAsync("run", 2);

        foreach (var (args, said) in new[]
        {
            (new[] { "--round", "3" }, "rounds 0 to 2, not 3"),
            (["--round", "2", "--set", "adapter.rank=4"], "adapter"),
            (["--round", "2", "--set", "training.stepz=4"], "stepz"),
            (["--round", "2", "--set", "training"], "sets nothing"),
        })
        {
            var refused = await CommandLine.RunAsync(["fork", run, .. args, "--out", Folder("fork")]);
            Assert.Equal(2, refused.Code);
            Assert.Contains(said, Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
            Assert.False(Directory.Exists(Folder("fork")));
        }
    }

    [Theory]
    [InlineData("seed: 1\nname: a\n", "seed", "7", "seed: 7\nname: a\n")]
    [InlineData("name: a # mine\n", "seed", "7", "seed: 7\nname: a # mine\n")]
    [InlineData("strategy:\n  # so long\n  rounds: 2 # two\nname: a\n", "strategy.rounds", "30",
        "strategy:\n  # so long\n  rounds: 30 # two\nname: a\n")]
    [InlineData("strategy:\n  quorum: 1\nname: a\n", "strategy.rounds", "3", "strategy:\n  rounds: 3\n  quorum: 1\nname: a\n")]
    [InlineData("strategy: {rounds: 2, quorum: 1}\n", "strategy.rounds", "3", "strategy: {rounds: 3, quorum: 1}\n")]
    [InlineData("strategy: {quorum: 1}\n", "strategy.rounds", "3", "strategy: {rounds: 3, quorum: 1}\n")]
    [InlineData("name: a\n", "strategy.rounds", "3", "strategy: {rounds: 3}\nname: a\n")]
    [InlineData("rounds: \"2\"\n", "rounds", "3", "rounds: 3\n")]
    [InlineData("adapter: lora # mine\n", "adapter.rank", "3", "adapter: {method: lora, rank: 3} # mine\n")]
    [InlineData("strategy: {selection: all}\n", "strategy.selection.fraction", "1",
        "strategy: {selection: {rule: all, fraction: 1}}\n")]
    [InlineData("a: [1, 2]\n", "a", "3", "a: 3\n")]
    [InlineData("a: [1, 2]\n", "a[1]", "3", "a: [1, 3]\n")]
    [InlineData("a: 1\n", "a", "{b: 1}", "a: {b: 1}\n")]
    [InlineData("a:\n  - 1 # one\n  - 2 # two\n\n# b\nb: 3\n", "a", "[4, 5]", "a: [4, 5] # two\n\n# b\nb: 3\n")]
    [InlineData("a:\n- 1\n- 2\nb: 3\n", "a", "4", "a: 4\nb: 3\n")]
    [InlineData("clients:\n  - {id: x, data: {train: t}}\n", "clients[0].data.rows", "5",
        "clients:\n  - {id: x, data: {rows: 5, train: t}}\n")]
    [InlineData("name: a\n", "a.b.c", "1", "a: {b: {c: 1}}\nname: a\n")]
    [InlineData("a: {b: 1}\n", "a.b", "x, y", "a: {b: 'x, y'}\n")]
    [InlineData("a: 1\n", "a", "b=c", "a: b=c\n")]
    [InlineData("a: 1\n", "a", "\"k: v\"", "a: \"k: v\"\n")]
    [InlineData("a: 1\n", "a", "null", "a: null\n")]
    [InlineData("a: 1\n", "a", "\u00e9\u8bcd", "a: \u00e9\u8bcd\n")]
    [InlineData("training: {<<: {steps: 2}}\n", "training.steps", "3", "training: {steps: 3, <<: {steps: 2}}\n")]
    public void A_value_is_set_in_place(string yaml, string path, string value, string expected) =>
        Assert.Equal(expected, PlanEdit.Set(yaml, path, value));

    [Theory]
    [InlineData("training: 1\n", "training.steps", "3")]
    [InlineData("a: [1, 2]\n", "a[2]", "3")]
    [InlineData("a: {b: 1}\n", "a[0]", "3")]
    [InlineData("a: [1\n", "a", "1")]
    [InlineData("a: &x 1\nb: *x\n", "b", "2")]
    [InlineData("a: 1\n", "a", "2 # two")]
    [InlineData("a: 1\n", "a", "2\nb: 3")]
    [InlineData("a: 1\n", "a", "[1")]
    [InlineData("a: 1\n", "a: 2\nb", "1")]
    [InlineData("<<: {strategy: {rounds: 2, quorum: 1}}\n", "strategy.rounds", "3")]
    public void Where_a_value_has_no_place_nothing_is_changed(string yaml, string path, string value) =>
        Assert.Null(PlanEdit.Set(yaml, path, value));
}
