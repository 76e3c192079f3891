using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>Damaged model folders are refused in words, never by a crash, a hang or an exhausted memory.</summary>
public sealed class ModelFuzzTests(ITestOutputHelper output) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Families => TinyModels.Families;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_damaged_configuration_of_any_family()
    {
        var scaled = TinyLlama.Config with { RopeScaling = new() { Factor = 8, Bands = new(1, 4, 32) }, AttentionBias = true };
        var samples = TinyModels.Configs.Values.Append(scaled).Select(static config => Encoding.UTF8.GetBytes(config.ToJson())).ToList();
        samples.Add(Encoding.UTF8.GetBytes(TinyLlama.Config.ToJson().Replace("\"rope_scaling\": null",
            "\"rope_parameters\": {\"rope_type\": \"linear\", \"rope_theta\": 500.0, \"factor\": 2.0}", StringComparison.Ordinal)));
        Report(Fuzz.Run(samples,
            static mutant => ModelRegistry.ExpectedParameters(ModelConfig.Parse(Encoding.UTF8.GetString(mutant), "config.json"))));
    }

    [Theory, MemberData(nameof(Families))]
    public void Any_key_of_a_configuration_with_any_value(string family)
    {
        string[] values = ["0", "-1", "1", "3", "7", "0.5", "1e999", "2147483647", "2147483648", "null", "true", "false", "\"\"",
            "\"\\ud800\"", "[]", "[1]", "[null]", "{}", """{"rope_type":"llama3"}""", """{"a\nb":1}"""];
        var config = JsonNode.Parse(TinyModels.Configs[family].ToJson())!.AsObject();
        foreach (var key in config.Select(static entry => entry.Key)
            .Concat(["rope_parameters", "layer_types", "sliding_window", "a\nb"]).ToList())
            foreach (var value in values)
            {
                var text = config.DeepClone().AsObject();
                text.Remove(key);
                var json = text.ToJsonString()[..^1] + $",{JsonSerializer.Serialize(key)}:{value}}}";
                Assert.Null(Record.Exception(() => ModelRegistry.ExpectedParameters(ModelConfig.Parse(json, "config.json"))) switch
                {
                    BadInputException refused when !refused.Message.Contains('\n') => null,
                    var other => other,
                });
            }
    }

    [Fact]
    public void A_damaged_file_of_weights()
    {
        Report(Fuzz.Run([Shard(["a", "b"]), Shard(["long name \u00e9", "c"])], mutant =>
        {
            File.WriteAllBytes(_folder.File("model.safetensors"), mutant);
            ReadAll();
        }));
    }

    [Fact]
    public void A_damaged_file_of_tensors_in_memory() =>
        Report(Fuzz.Run([Shard(["a", "b"]), Shard(["long name \u00e9", "c"])],
            static mutant => SafetensorsCodec.Read(mutant, "adapter.safetensors")));

    [Fact]
    public void A_damaged_index_of_shards()
    {
        File.WriteAllBytes(_folder.File("model-1.safetensors"), Shard(["a", "b"]));
        File.WriteAllBytes(_folder.File("model-2.safetensors"), Shard(["c", "d"]));
        var index =
            """
            {"metadata":{"total_size":96},"weight_map":{"a":"model-1.safetensors","b":"model-1.safetensors","c":"model-2.safetensors",
            "d":"model-2.safetensors"}}
            """;
        Report(Fuzz.Run([Encoding.UTF8.GetBytes(index)], mutant =>
        {
            File.WriteAllBytes(_folder.File("model.safetensors.index.json"), mutant);
            ReadAll();
        }));
    }

    private static byte[] Shard(string[] names)
    {
        using var stream = new MemoryStream();
        var arrays = names.Select(static (name, i) => KeyValuePair.Create(name,
            i == 0 ? SafetensorsArray.Of([2, 3], new float[6]) : SafetensorsArray.Of([3], new double[3])));
        SafetensorsWriter.Write(arrays, new Dictionary<string, string> { ["format"] = "pt" }, stream);
        return stream.ToArray();
    }

    private void ReadAll()
    {
        using var scope = NewDisposeScope();
        using var weights = ModelWeights.Open(_folder.Root);
        foreach (var name in weights.Names)
            foreach (var dtype in (ScalarType[])[ScalarType.Float32, ScalarType.Float64])
                _ = weights.Read(name, weights.Describe(name).Shape, CPU, dtype).sum().to(ScalarType.Float64).item<double>();
    }

    private void Report((int Read, int Refused) counts) => output.WriteLine($"{counts.Read} read, {counts.Refused} refused");
}
