using System.Text.Json;
using System.Text.Json.Nodes;

namespace FedRLora.EndToEnd.Tests;

/// <summary>An adapter with an option of PEFT's: whichever command reads it says the same.</summary>
public sealed class ForeignOptionTests(FinishedRun run) : IClassFixture<FinishedRun>, IDisposable
{
    private const string Loses = "init_lora_weights is \"lora_ga\": ";

    private readonly Training.Tests.TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Readers => ["eval", "eval --json", "generate", "merge", "combine", "simulate", "simulate --json"];

    [Theory, MemberData(nameof(Readers))]
    public async Task A_start_that_was_lost_is_said_once_on_standard_error(string reader)
    {
        var result = await ReadAsync(reader, Adapter("init_lora_weights", "lora_ga"));

        Assert.Equal(0, result.Code);
        Assert.Single(result.ErrorLines, static line => line.Contains(Loses, StringComparison.Ordinal));
        Assert.DoesNotContain("lora_ga", result.Output, StringComparison.Ordinal);
        if (!reader.EndsWith("--json", StringComparison.Ordinal)) return;
        foreach (var line in result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)) JsonDocument.Parse(line).Dispose();
    }

    [Theory, MemberData(nameof(Readers))]
    public async Task An_option_that_is_not_implemented_is_refused_in_one_line(string reader)
    {
        var adapter = Adapter("use_bdlora", true);

        var result = await ReadAsync(reader, adapter);

        Assert.Equal(2, result.Code);
        Assert.Equal(
            $"{adapter}/adapter_config.json: use_bdlora is true, expected null, false or nothing in it: only LoRA and DoRA are implemented",
            Assert.Single(result.ErrorLines));
    }

    [Fact]
    public async Task A_run_that_is_scored_again_says_what_its_adapter_has_lost()
    {
        var simulated = await ReadAsync("simulate", Adapter("init_lora_weights", "lora_ga"));

        var result = await CommandLine.RunAsync("eval", "--run", _folder.File("next"));

        Assert.Equal((0, 0), (simulated.Code, result.Code));
        Assert.Contains(Loses, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_base_is_named_by_its_whole_path_or_by_its_path_from_the_adapter()
    {
        var result = await CommandLine.RunAsync("export", run.Path, "--out", _folder.File("out"), "--relative-base");

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Equal(run.Model, BaseOf(Path.Combine(run.Path, "adapters", "one")));
        var relative = BaseOf(_folder.File("out/one"));
        Assert.False(Path.IsPathRooted(relative), relative);
        Assert.Equal(run.Model, Path.GetFullPath(relative, _folder.File("out/one")));
    }

    private static string BaseOf(string adapter) =>
        JsonNode.Parse(File.ReadAllText(Path.Combine(adapter, "adapter_config.json")))!["base_model_name_or_path"]!.GetValue<string>();

    private Task<CommandResult> ReadAsync(string reader, string adapter)
    {
        string[] model = ["--model", run.Model];
        string[] ofAdapter = ["--adapter", adapter];
        return CommandLine.RunAsync(reader.Split(' ')[0] switch
        {
            "eval" => [.. reader.Split(' '), .. model, .. ofAdapter, "--data", run.TestRows("one")],
            "generate" => ["generate", .. model, .. ofAdapter, "--prompt", "one a:", "--max-new-tokens", "2"],
            "merge" => ["merge", .. model, .. ofAdapter, "--out", _folder.File("merged")],
            "combine" => ["combine", .. ofAdapter, .. ofAdapter, "--out", _folder.File("combined")],
            _ => [.. reader.Split(' '), Plan(adapter), "--out", _folder.File("next")],
        });
    }

    private string Plan(string adapter)
    {
        var plan = Path.Combine(run.Tiny.Root, $"{Path.GetFileName(adapter)}.yaml");
        File.WriteAllLines(plan,
        [
            "name: tiny", "model: model", $"adapter: {{method: lora, from: {adapter}}}",
            "training: {steps: 1, batchSize: 1, maxTokens: 20, threads: 1}", "strategy: {rounds: 1}",
            "clients: [{id: one, task: one, data: {train: one.train.jsonl, test: one.test.jsonl}}]",
        ]);
        return plan;
    }

    private string Adapter(string key, JsonNode value)
    {
        var from = Path.Combine(run.Path, "adapters", "one");
        var folder = Directory.CreateDirectory(_folder.File(Path.GetRandomFileName())).FullName;
        File.Copy(Path.Combine(from, "adapter_model.safetensors"), Path.Combine(folder, "adapter_model.safetensors"));
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(from, "adapter_config.json")))!;
        config[key] = value;
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), config.ToJsonString());
        return folder;
    }
}
