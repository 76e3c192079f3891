using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Files that are broken or made to hurt: one line that names the file, exit code 2, nothing begun.</summary>
public sealed class HostileInputTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Model => Path.Combine(_tiny.Root, "model");

    private string Weights => Path.Combine(Model, "model.safetensors");

    private string Run => Path.Combine(_tiny.Root, "run");

    public static TheoryData<string, string> Damages => new()
    {
        { "truncated", "model.safetensors" },
        { "oversized header", "model.safetensors" },
        { "overlapping offsets", "model.safetensors" },
        { "missing tensor", "model.safetensors" },
        { "empty weights", "model.safetensors" },
        { "config is no JSON", "config.json" },
        { "no tokenizer", "tokenizer.json" },
        { "tokenizer is no JSON", "tokenizer.json" },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task Eval_names_the_file_of_a_damaged_model(string damage, string file)
    {
        Damage(damage);

        AssertNames(file, await CommandLine.RunAsync("eval", "--model", Model, "--data", Path.Combine(_tiny.Root, "one.test.jsonl")));
    }

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task Simulate_names_the_file_of_a_damaged_model_before_any_round(string damage, string file)
    {
        Damage(damage);

        var result = await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--out", Run);

        AssertNames(file, result);
        Assert.DoesNotContain("round ", result.Output, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Run)); // the same --out is free for another try
    }

    [Fact]
    public async Task Eval_says_that_there_is_no_such_file()
    {
        var result = await CommandLine.RunAsync("eval", "--model", Model, "--data", "/nope");

        Assert.Equal((2, "/nope: no such file\n"), (result.Code, result.Error));
    }

    [Fact]
    public async Task Generate_names_the_file_of_a_damaged_model()
    {
        Damage("truncated");

        AssertNames("model.safetensors", await CommandLine.RunAsync("generate", "--model", Model, "--prompt", "one"));
    }

    [Theory]
    [InlineData("{\"prompt\": \"one\"")]
    [InlineData("{\"prompt\": \"one\"}")]
    [InlineData("[1, 2]")]
    [InlineData("\u0000\u0001")]
    public async Task Eval_names_the_line_of_a_data_file(string bad)
    {
        SpoilLine7(bad, "one.test.jsonl");

        AssertNames("one.test.jsonl:7",
            await CommandLine.RunAsync("eval", "--model", Model, "--data", Path.Combine(_tiny.Root, "one.test.jsonl")));
    }

    [Fact]
    public async Task A_run_that_needs_all_does_not_start_with_a_bad_data_line()
    {
        SpoilLine7("{\"prompt\": \"one\"", "one.train.jsonl");

        AssertNames("one.train.jsonl:7", await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--out", Run));
        Assert.False(Directory.Exists(Run));
    }

    [Fact]
    public async Task A_bad_data_line_of_one_client_does_not_stop_the_others_if_the_quorum_allows()
    {
        SpoilLine7("{\"prompt\": \"one\"", "one.train.jsonl");

        var result = await CommandLine.RunAsync("simulate", _tiny.WritePlan(strategy: "rounds: 2, quorum: 0.5"), "--out", Run);

        Assert.Equal(0, result.Code);
        Assert.Contains("failed: one", result.Output, StringComparison.Ordinal);
        Assert.Contains("one.train.jsonl:7", result.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("adapter_model.safetensors")]
    [InlineData("adapter_config.json")]
    public async Task Eval_names_the_file_of_a_damaged_adapter(string file)
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--out", Run)).Code);
        var adapter = Path.Combine(Run, "adapters", "one");
        Truncate(Path.Combine(adapter, file));

        AssertNames(file, await CommandLine.RunAsync("eval", "--model", Model, "--adapter", adapter, "--data",
            Path.Combine(_tiny.Root, "one.test.jsonl")));
    }

    private static void AssertNames(string file, CommandResult result)
    {
        Assert.Equal(2, result.Code);
        var line = Assert.Single(result.ErrorLines);
        Assert.Contains(file, line, StringComparison.Ordinal);
        Assert.DoesNotContain("Exception", line, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", line, StringComparison.Ordinal);
    }

    private void Damage(string damage)
    {
        switch (damage)
        {
            case "truncated": Truncate(Weights); break;
            case "oversized header": WriteHeaderLength(1L << 40); break;
            case "overlapping offsets":
                RewriteHeader(static header => header["model.norm.weight"]!["data_offsets"] =
                    header["model.layers.0.input_layernorm.weight"]!["data_offsets"]!.DeepClone());
                break;
            case "missing tensor": RewriteHeader(static header => Rename(header, "model.norm.weight", "model.norm.other")); break;
            case "empty weights": File.WriteAllBytes(Weights, []); break;
            case "config is no JSON": File.WriteAllText(Path.Combine(Model, "config.json"), "{"); break;
            case "no tokenizer": File.Delete(Path.Combine(Model, "tokenizer.json")); break;
            case "tokenizer is no JSON": File.WriteAllText(Path.Combine(Model, "tokenizer.json"), "{\"model\": "); break;
            default: throw new ArgumentOutOfRangeException(nameof(damage), damage, null);
        }
    }

    private static void Truncate(string file)
    {
        using var stream = File.OpenWrite(file);
        stream.SetLength(stream.Length - 10);
    }

    private void WriteHeaderLength(long length)
    {
        var bytes = File.ReadAllBytes(Weights);
        BinaryPrimitives.WriteInt64LittleEndian(bytes, length);
        File.WriteAllBytes(Weights, bytes);
    }

    private void RewriteHeader(Action<JsonObject> change)
    {
        var bytes = File.ReadAllBytes(Weights);
        var length = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        var header = JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject();
        change(header);
        var json = Encoding.UTF8.GetBytes(header.ToJsonString());
        var prefix = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(prefix, json.Length);
        File.WriteAllBytes(Weights, [.. prefix, .. json, .. bytes.AsSpan(8 + length)]);
    }

    private static void Rename(JsonObject header, string from, string to)
    {
        var entry = header[from]!.DeepClone();
        header.Remove(from);
        header[to] = entry;
    }

    private void SpoilLine7(string bad, string file)
    {
        var lines = Enumerable.Range(0, 12).Select(static _ => """{"prompt": "one a:", "completion": "up", "label": "up"}""").ToList();
        lines[6] = bad;
        _tiny.Write(file, lines);
    }
}
