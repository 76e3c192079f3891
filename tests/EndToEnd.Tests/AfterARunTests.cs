using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Abstractions.Messages;
using FedRLora.Grains.Tests;
using FedRLora.Training;
using FedRLora.Training.Models;
using FedRLora.Training.Tests;
using static TorchSharp.torch;

namespace FedRLora.EndToEnd.Tests;

/// <summary>A finished run that the tests of this file look at.</summary>
public sealed class FinishedRun : IAsyncLifetime
{
    internal TinyFederation Tiny { get; } = new();

    public string Path => System.IO.Path.Combine(Tiny.Root, "run");

    public string Model => System.IO.Path.Combine(Tiny.Root, "model");

    public string TestRows(string client) => System.IO.Path.Combine(Tiny.Root, $"{client}.test.jsonl");

    public RoundManifest Manifest(int round)
    {
        var store = System.IO.Path.Combine(Path, "store");
        var path = System.IO.Path.Combine(store, StoredRounds.Manifest(store, "tiny", round));
        return RoundManifest.Parse(File.ReadAllBytes(path), path);
    }

    public async Task InitializeAsync()
    {
        var result = await CommandLine.RunAsync("simulate", Tiny.WritePlan(), "--out", Path);
        Assert.Equal((0, ""), (result.Code, result.Error));
    }

    public Task DisposeAsync()
    {
        Tiny.Dispose();
        return Task.CompletedTask;
    }
}

public sealed class AfterARunTests(FinishedRun run) : IClassFixture<FinishedRun>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Export_writes_what_the_run_wrote_at_its_end()
    {
        var result = await CommandLine.RunAsync("export", run.Path, "--out", _folder.Root);

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.StartsWith("2 adapters of round 2/2", result.Output, StringComparison.Ordinal);
        foreach (var file in new[]
        {
            "one/adapter_config.json", "one/adapter_model.safetensors", "two/adapter_config.json", "two/adapter_model.safetensors",
        })
            Assert.Equal(File.ReadAllBytes(Path.Combine(run.Path, "adapters", file)), File.ReadAllBytes(_folder.File(file)));
    }

    [Fact]
    public void A_site_writes_into_its_store_what_export_writes_into_a_folder()
    {
        foreach (var client in new[] { "one", "two" })
        {
            var folder = Path.Combine(run.Path, "adapters", client);
            var stored = Directory.GetDirectories(Path.Combine(run.Path, "store", "sites"))
                .Select(site => Path.Combine(site, "jobs", "tiny", "clients", client, "export")).Single(Directory.Exists);
            var files = Directory.GetFiles(folder).Select(Path.GetFileName).Order(StringComparer.Ordinal);
            Assert.Equal(files.Append("digests.json"), Directory.GetFiles(stored).Select(Path.GetFileName).Order(StringComparer.Ordinal));
            Assert.All(files, file => Assert.Equal(
                File.ReadAllBytes(Path.Combine(folder, file!)), File.ReadAllBytes(Path.Combine(stored, file!))));
        }
    }

    [Fact]
    public async Task Export_for_vLLM_writes_one_rank_and_one_scaling()
    {
        var result = await CommandLine.RunAsync("export", run.Path, "--vllm", "--out", _folder.File("vllm"));

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Contains("in the form that vLLM loads", result.Output, StringComparison.Ordinal);
        using var config = JsonDocument.Parse(File.ReadAllText(_folder.File("vllm/one/adapter_config.json")));
        Assert.Equal((16, false),
            (config.RootElement.GetProperty("r").GetInt32(), config.RootElement.GetProperty("use_rslora").GetBoolean()));
        Assert.Equal(2, (await CommandLine.RunAsync("export", run.Path, "--pad-rank")).Code);
    }

    [Fact]
    public async Task A_merged_model_scores_as_model_and_adapter_do()
    {
        var adapter = Path.Combine(run.Path, "adapters", "one");
        var merged = await CommandLine.RunAsync("merge", "--model", run.Model, "--adapter", adapter, "--out", _folder.File("merged"));
        Assert.Equal((0, ""), (merged.Code, merged.Error));

        var (apart, together) = (await LossAsync(run.Model, adapter), await LossAsync(_folder.File("merged"), null));

        Assert.Equal(apart, together, 1e-4);
        Assert.NotEqual(await LossAsync(run.Model, null), together, 1e-3);
        Assert.Equal(2,
            (await CommandLine.RunAsync("merge", "--model", run.Model, "--adapter", adapter, "--out", _folder.File("merged"))).Code);
    }

    [Fact]
    public async Task A_start_from_a_folder_that_is_not_there_is_bad_input()
    {
        using var next = new TinyFederation();
        var plan = next.WritePlan();
        File.WriteAllText(plan, Regex.Replace(File.ReadAllText(plan), "(?m)^adapter:.*$", "adapter: {method: lora, from: nowhere}"));

        var result = await CommandLine.RunAsync("simulate", plan, "--out", _folder.File("next"));

        Assert.Equal(2, result.Code);
        Assert.Contains("nowhere: no such folder; give an adapter folder", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_message_is_answered_through_the_chat_template()
    {
        var none = await CommandLine.RunAsync("generate", "--model", run.Model, "--prompt", "one a", "--chat", "--max-new-tokens", "4");
        Assert.Equal((2, true),
            (none.Code, Assert.Single(none.ErrorLines).Contains("the model folder has no chat template", StringComparison.Ordinal)));

        foreach (var file in Directory.GetFiles(run.Model)) File.Copy(file, _folder.File(Path.GetFileName(file)));
        var tokenizer = File.ReadAllText(_folder.File("tokenizer.json"));
        File.WriteAllText(_folder.File("tokenizer.json"),
            """{"added_tokens": [{"id": 1, "content": "<s>", "special": true}],""" + tokenizer.TrimStart()[1..]);
        File.WriteAllText(_folder.File("chat_template.jinja"),
            "{{ bos_token }}{% for message in messages %}{{ message.content }}:{% endfor %}");
        var answer = await CommandLine.RunAsync("generate", "--model", _folder.Root, "--prompt", "one a", "--chat",
            "--max-new-tokens", "4");
        var same = await CommandLine.RunAsync("generate", "--model", _folder.Root, "--prompt", "one a:", "--max-new-tokens", "4");

        Assert.Equal((0, same.Output), (answer.Code, answer.Output));
    }

    [Theory]
    [InlineData()]
    [InlineData("--temperature", "0.8", "--top-p", "0.9", "--seed", "3")]
    public async Task A_client_of_a_run_goes_on_as_its_exported_adapter_does(params string[] sampling)
    {
        string[] asked = ["--prompt", "one a:", "--max-new-tokens", "6", .. sampling];
        var ofRun = await CommandLine.RunAsync(["generate", "--run", run.Path, "--client", "one", .. asked]);
        var exported = Path.Combine(run.Path, "adapters", "one");
        var ofAdapter = await CommandLine.RunAsync(["generate", "--model", run.Model, "--adapter", exported, .. asked]);

        Assert.Equal((0, "", ofAdapter.Output), (ofRun.Code, ofRun.Error, ofRun.Output));
        Assert.NotEmpty(ofRun.Output.Trim());
    }

    [Fact]
    public async Task A_prompt_names_one_client_of_its_run()
    {
        var none = await CommandLine.RunAsync("generate", "--run", run.Path, "--prompt", "one a:");
        var other = await CommandLine.RunAsync("generate", "--run", run.Path, "--client", "three", "--prompt", "one a:");

        Assert.Equal((2, 2), (none.Code, other.Code));
        Assert.Contains("has one, two; give one of them", Assert.Single(none.ErrorLines), StringComparison.Ordinal);
        Assert.Contains("has no client three; its clients are one, two", Assert.Single(other.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Combined_adapters_are_an_adapter()
    {
        var adapters = new[] { "one", "two" }.Select(client => Path.Combine(run.Path, "adapters", client)).ToList();
        var combined = await CommandLine.RunAsync("combine", "--adapter", $"{adapters[0]}=1", "--adapter", $"{adapters[1]}=0", "--method",
            "cat", "--out", _folder.File("both"));
        Assert.Equal((0, ""), (combined.Code, combined.Error));

        Assert.Equal(await LossAsync(run.Model, adapters[0]), await LossAsync(run.Model, _folder.File("both")), 1e-4);
        var refused = await CommandLine.RunAsync("combine", "--adapter", $"{adapters[0]}=x", "--out", _folder.File("none"));
        Assert.Equal((2, "--adapter: 'x' in"), (refused.Code, Assert.Single(refused.ErrorLines)[..^(refused.ErrorLines[0].Length - 17)]));
    }

    [Fact]
    public async Task A_run_goes_on_from_an_exported_adapter()
    {
        using var next = new TinyFederation();
        var plan = next.WritePlan();
        File.WriteAllText(plan, Regex.Replace(File.ReadAllText(plan), @"(?m)^adapter:.*(\n .*)*$",
            $"adapter: {{ method: fedsa-lora, from: {Path.Combine(run.Path, "adapters", "one")} }}"));

        var result = await CommandLine.RunAsync("simulate", plan, "--out", _folder.File("next"));

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Contains("adapter ", RoundManifest.Parse(
            File.ReadAllBytes(_folder.File("next/store/" + StoredRounds.Manifest(_folder.File("next/store"), "tiny", 2))),
            "manifest").Engine,
            StringComparison.Ordinal);
        using var config = JsonDocument.Parse(File.ReadAllText(_folder.File("next/adapters/one/adapter_config.json")));
        using var given = JsonDocument.Parse(File.ReadAllText(Path.Combine(run.Path, "adapters", "one", "adapter_config.json")));
        Assert.True(JsonElement.DeepEquals(given.RootElement, config.RootElement));
    }

    [Fact]
    public async Task An_adapter_that_changed_under_a_run_is_not_exported_from()
    {
        using var next = new TinyFederation();
        var given = Directory.CreateDirectory(Path.Combine(next.Root, "given")).FullName;
        foreach (var file in Directory.GetFiles(Path.Combine(run.Path, "adapters", "one")))
            File.Copy(file, Path.Combine(given, Path.GetFileName(file)));
        var plan = next.WritePlan();
        File.WriteAllText(plan, Regex.Replace(File.ReadAllText(plan), "(?m)^adapter:.*$", "adapter: {method: fedsa-lora, from: given}"));
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", plan, "--out", _folder.File("next"))).Code);
        Assert.Equal(0, (await CommandLine.RunAsync("export", _folder.File("next"), "--out", _folder.File("same"))).Code);

        var config = Path.Combine(next.Root, "given", "adapter_config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"bias\"", " \"bias\"", StringComparison.Ordinal));
        var result = await CommandLine.RunAsync("export", _folder.File("next"), "--out", _folder.File("other"));

        Assert.Equal(2, result.Code);
        Assert.Contains("given: not the adapter that the run started from", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder.File("other")));
    }

    [Fact]
    public async Task Export_of_a_run_that_was_killed_takes_its_last_round_and_does_not_go_on_with_it()
    {
        var killed = _folder.File("killed");
        CopyFolder(run.Path, killed);
        var current = Path.Combine(killed, "store", "jobs", "tiny", "current.json");
        var digest = RoundManifest.Digest(run.Manifest(1).ToBytes());
        File.WriteAllBytes(current, new CurrentRound { Round = 1, ManifestSha256 = digest }.ToBytes());

        var result = await CommandLine.RunAsync("export", killed, "--out", _folder.File("out"));

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.StartsWith("2 adapters of round 1/2", result.Output, StringComparison.Ordinal);
        Assert.Equal(digest, CurrentRound.Parse(File.ReadAllBytes(current), current).ManifestSha256);
        Assert.NotEqual(File.ReadAllBytes(Path.Combine(run.Path, "adapters/one/adapter_model.safetensors")),
            File.ReadAllBytes(_folder.File("out/one/adapter_model.safetensors")));
    }

    [Fact]
    public async Task Export_of_routed_heads_says_in_one_line_why_not()
    {
        using var tiny = new TinyFederation();
        var folder = Path.Combine(tiny.Root, "run");
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", tiny.WritePlan("hydra-lora", "rounds: 1"), "--out", folder)).Code);

        var result = await CommandLine.RunAsync("export", folder);

        Assert.Equal(2, result.Code);
        Assert.Contains(
            "hydra-lora weighs heads by the input (routing softmax)", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(folder, "adapters")));
    }

    [Fact]
    public async Task Export_of_a_damaged_head_names_both_digests()
    {
        var damaged = _folder.File("damaged");
        CopyFolder(run.Path, damaged);
        var head = Path.Combine(damaged, "store", "sites", "local", "jobs", "tiny", "clients", "one", "2", "head.safetensors");
        var bytes = File.ReadAllBytes(head);
        bytes[^1] ^= 1;
        File.WriteAllBytes(head, bytes);

        var result = await CommandLine.RunAsync("export", damaged);

        Assert.Equal(2, result.Code);
        var line = Assert.Single(result.ErrorLines);
        Assert.Contains(RoundManifest.Digest(bytes), line, StringComparison.Ordinal);
        Assert.Contains(run.Manifest(2).Clients[0].Head!.Sha256, line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Eval_of_the_run_repeats_the_manifest_bit_for_bit()
    {
        var result = await CommandLine.RunAsync("eval", "--run", run.Path, "--json");

        Assert.Equal((0, ""), (result.Code, result.Error));
        var lines = result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(static line => JsonDocument.Parse(line).RootElement).ToList();
        foreach (var (line, client) in lines.Zip(run.Manifest(2).Clients))
        {
            Assert.Equal(client.Id, line.GetProperty("client").GetString());
            Assert.Equal((client.Score!.Value, client.Score.Loss),
                (line.GetProperty("value").GetDouble(), line.GetProperty("loss").GetDouble()));
        }

        Assert.Equal(2, lines.Count);
    }

    [Fact]
    public async Task Eval_of_an_unknown_client_names_those_there_are()
    {
        var result = await CommandLine.RunAsync("eval", "--run", run.Path, "--client", "three");

        Assert.Equal(2, result.Code);
        Assert.Contains("one, two", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    // Frozen twins as extra rank and heads merged: the same sums in another order, in float32.
    [Fact]
    public async Task Eval_of_an_exported_adapter_gives_the_score_of_its_client()
    {
        var result = await CommandLine.RunAsync("eval", "--model", run.Model, "--adapter", Path.Combine(run.Path, "adapters", "one"),
            "--data", run.TestRows("one"), "--max-tokens", "20", "--json");

        Assert.Equal((0, ""), (result.Code, result.Error));
        var score = JsonDocument.Parse(result.Output).RootElement;
        var committed = run.Manifest(2).Clients[0].Score!;
        Assert.Equal("accuracy", score.GetProperty("metric").GetString());
        Assert.Equal(committed.Value, score.GetProperty("value").GetDouble());
        Assert.Equal(committed.Loss, score.GetProperty("loss").GetDouble(), 1e-4 * committed.Loss);
        Assert.Equal(committed.MajorityShare, score.GetProperty("majorityShare").GetDouble());
    }

    [Theory]
    [InlineData("perplexity")]
    [InlineData("exactMatch")]
    [InlineData("accuracy")]
    public async Task Eval_scores_the_base_by_the_metric_asked_for(string metric)
    {
        var result = await CommandLine.RunAsync("eval", "--model", run.Model, "--data", run.TestRows("one"), "--metric", metric,
            "--rows", "3");

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.StartsWith("metric", result.Output, StringComparison.Ordinal);
        Assert.Contains(metric, result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Eval_refuses_an_adapter_of_another_model()
    {
        using var other = new TinyFederation();
        var model = Path.Combine(other.Root, "model");
        await CommandLine.RunAsync("simulate", other.WritePlan(), "--out", Path.Combine(other.Root, "run"));
        var adapter = Path.Combine(other.Root, "run", "adapters", "one");
        WriteWiderModel(model);

        var result = await CommandLine.RunAsync("eval", "--model", model, "--adapter", adapter, "--data", run.TestRows("one"));

        Assert.Equal(2, result.Code);
        Assert.Matches(
            @"adapter_model\.safetensors: tensor base_model\.model\.model\.layers\.0\.mlp\.\w+\.lora_[AB]\.weight has shape "
                + @"\[\d+, \d+\], expected \[\d+, \d+\]",
            Assert.Single(result.ErrorLines));
    }

    [Theory]
    [InlineData("eval")]
    [InlineData("eval", "--model", "m")]
    [InlineData("eval", "--model", "m", "--data", "d", "--run", "r")]
    [InlineData("eval", "--run", "r", "--rows", "3")]
    [InlineData("eval", "--client", "one")]
    [InlineData("eval", "--model", "m", "--data", "d", "--rows", "0")]
    [InlineData("generate", "--model", "m")]
    [InlineData("generate", "--prompt", "p")]
    [InlineData("generate", "--model", "m", "--run", "r", "--client", "c", "--prompt", "p")]
    [InlineData("generate", "--run", "r", "--storage", "int8", "--prompt", "p")]
    [InlineData("generate", "--client", "c", "--prompt", "p")]
    [InlineData("generate", "--model", "m", "--prompt", "p", "--temperature", "-1")]
    [InlineData("generate", "--model", "m", "--prompt", "p", "--temperature", "1", "--top-p", "0")]
    [InlineData("generate", "--model", "m", "--prompt", "p", "--seed", "1")]
    [InlineData("generate", "--model", "m", "--prompt", "p", "--stop", "")]
    public async Task What_cannot_be_meant_is_refused(params string[] args) => Assert.Equal(2, (await CommandLine.RunAsync(args)).Code);

    [Fact]
    public async Task Generate_goes_on_as_the_model_does()
    {
        var result = await CommandLine.RunAsync("generate", "--model", run.Model, "--prompt", "one a:", "--max-new-tokens", "6");

        Assert.Equal((0, ""), (result.Code, result.Error));
        using var model = FrozenBase.Load(run.Model, CPU);
        var prompt = model.Tokenizer.Encode("one a:", addSpecialTokens: true);
        var whole = model.Tokenizer.Decode([.. prompt, .. Generation.Greedy(model.Model, null, prompt, 6, model.Tokenizer.EndId)],
            skipSpecialTokens: true);
        Assert.Equal(whole, model.Tokenizer.Decode(prompt, skipSpecialTokens: true) + result.Output.TrimEnd('\n'));
    }

    [Fact]
    public async Task Generate_draws_by_its_seed_and_ends_before_a_stop_text()
    {
        string[] drawn = ["generate", "--model", run.Model, "--prompt", "one a:", "--max-new-tokens", "12", "--temperature", "2", "--top-p",
            "0.95", "--seed"];
        var (first, again, other) = (await CommandLine.RunAsync([.. drawn, "1"]), await CommandLine.RunAsync([.. drawn, "1"]),
            await CommandLine.RunAsync([.. drawn, "2"]));
        Assert.Equal((0, ""), (first.Code, first.Error));
        Assert.Equal(first.Output, again.Output);
        Assert.NotEqual(first.Output, other.Output);

        var stop = first.Output.Substring(3, 2);
        var stopped = await CommandLine.RunAsync([.. drawn, "1", "--stop", stop]);
        Assert.Equal(first.Output[..first.Output.IndexOf(stop, StringComparison.Ordinal)], stopped.Output.TrimEnd('\n'));
    }

    [Fact]
    public async Task Generate_says_which_prompt_is_too_long()
    {
        var result = await CommandLine.RunAsync("generate", "--model", run.Model, "--prompt", new string('a', 50));

        Assert.Equal(2, result.Code);
        Assert.Contains("51 tokens", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Generate_with_an_adapter_says_something_else()
    {
        var adapter = Path.Combine(run.Path, "adapters", "two");

        var adapted = await CommandLine.RunAsync("generate", "--model", run.Model, "--adapter", adapter, "--prompt", "two a:");
        var bare = await CommandLine.RunAsync("generate", "--model", run.Model, "--prompt", "two a:");

        Assert.Equal((0, 0), (adapted.Code, bare.Code));
        Assert.NotEqual(bare.Output, adapted.Output);
    }

    // The same model with a wider MLP.
    private static void WriteWiderModel(string folder)
    {
        var config = Training.Tests.Models.TinyLlama.Config with { IntermediateSize = 32 };
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJson());
        using var stream = File.Create(Path.Combine(folder, "model.safetensors"));
        Abstractions.Tensors.SafetensorsCodec.Write(Training.Tests.Models.TinyLlama.Arrays(config),
            new Dictionary<string, string>(), stream);
    }

    private async Task<double> LossAsync(string model, string? adapter)
    {
        string[] arguments = ["eval", "--json", "--model", model, "--data", run.TestRows("one")];
        var result = await CommandLine.RunAsync(adapter is null ? arguments : [.. arguments, "--adapter", adapter]);
        Assert.Equal((0, ""), (result.Code, result.Error));
        return JsonDocument.Parse(result.Output).RootElement.GetProperty("loss").GetDouble();
    }

    private static void CopyFolder(string from, string to)
    {
        foreach (var file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            var target = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }
    }
}
