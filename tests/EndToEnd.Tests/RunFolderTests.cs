using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>The folder of a run, and the plans that a command derives from the one given.</summary>
public sealed class RunFolderTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Run => Path.Combine(_tiny.Root, "run");

    [Fact]
    public async Task A_folder_that_another_process_uses_is_refused()
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", _tiny.WritePlan(strategy: "rounds: 1"), "--out", Run)).Code);
        using var other = new FileStream(Path.Combine(Run, ".lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);

        var resumed = await CommandLine.RunAsync("resume", Run);

        Assert.Equal((2, $"{Run} is in use by another process\n"), (resumed.Code, resumed.Error));
    }

    [Fact]
    public async Task A_finished_run_can_be_resumed_after_its_process_ended()
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", _tiny.WritePlan(strategy: "rounds: 1"), "--out", Run)).Code);

        Assert.Equal(0, (await CommandLine.RunAsync("resume", Run)).Code);
    }

    [Theory]
    [InlineData("model/config.json")]
    [InlineData("model/config.json/run")]
    [InlineData("/proc/run")]
    public async Task A_folder_that_cannot_be_made_is_bad_input(string folder)
    {
        var result = await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--out", Path.Combine(_tiny.Root, folder));

        Assert.Equal(2, result.Code);
        Assert.StartsWith(Path.Combine(_tiny.Root, folder) + ": ", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_refused_start_leaves_the_empty_folder_that_was_there()
    {
        Directory.CreateDirectory(Run);
        File.Delete(Path.Combine(_tiny.Root, "model", "config.json"));

        Assert.Equal(2, (await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--out", Run)).Code);

        Assert.Empty(Directory.EnumerateFileSystemEntries(Run));
    }

    [Fact]
    public async Task A_plan_written_as_JSON_takes_another_seed_and_has_its_reference_run()
    {
        var result = await CommandLine.RunAsync("simulate", Json(), "--seed", "8", "--out", Run);

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Contains("seed 8", result.Output, StringComparison.Ordinal);
        Assert.Contains("nothing shared", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_seed_that_cannot_be_set_is_said_before_anything_starts()
    {
        var plan = _tiny.WritePlan();
        await File.WriteAllTextAsync(plan, (await File.ReadAllTextAsync(plan)).Replace("seed: 7", "seed: &s 7", StringComparison.Ordinal)
            .Replace("rounds: 2", "rounds: *s", StringComparison.Ordinal));

        var result = await CommandLine.RunAsync("simulate", plan, "--seed", "8", "--out", Run);

        Assert.Equal(2, result.Code);
        Assert.Single(result.ErrorLines);
        Assert.False(Directory.Exists(Run));
    }

    [Fact]
    public async Task A_reference_run_has_its_metrics_beside_those_of_the_federation()
    {
        var plan = _tiny.WritePlan(strategy: "rounds: 1");
        File.AppendAllText(plan, "evaluation: {localOnly: true}\n");

        var result = await CommandLine.RunAsync("simulate", plan, "--seed", "9", "--out", Run);

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Contains("seed 9", result.Output, StringComparison.Ordinal);
        foreach (var file in new[] { "metrics.csv", "report.html", "local-only/metrics.csv", "adapters/one/adapter_config.json" })
            Assert.True(File.Exists(Path.Combine(Run, file)), file);
    }

    // A plan as one flow mapping, which is valid YAML.
    private string Json()
    {
        _tiny.Write("plan.json",
        [
            """{"name": "tiny", "model": "model", "adapter": {"method": "r-lora-federated", "rank": 4, "alpha": 6},"""
                + """ "evaluation": {"localOnly": true},""",
            """ "training": {"steps": 4, "batchSize": 3, "maxTokens": 20, "threads": 1}, "strategy": {"rounds": 1},""",
            """ "clients": [{"id": "one", "task": "one", "data": {"train": "one.train.jsonl", "test": "one.test.jsonl"}}]}""",
        ]);
        return Path.Combine(_tiny.Root, "plan.json");
    }
}
