using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>Model folders as other programs leave them.</summary>
public sealed class ForeignFolderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("""{"type": "linear", "rope_type": "linear", "factor": 2.0}""", 2.0)]
    [InlineData("""{"type": "linear", "factor": 4.0}""", 4.0)]
    [InlineData("""{"rope_type": "default", "type": "default"}""", null)]
    public void A_rotary_type_under_both_names_is_one(string scaling, double? factor) =>
        Assert.Equal(factor, Parse("rope_scaling", scaling).RopeScaling?.Factor);

    [Theory]
    [InlineData("rope_scaling", """{"type": "linear", "rope_type": "default", "factor": 2.0}""", "rope_type is default and type is linear")]
    [InlineData("rope_parameters", """{"rope_type": "default", "rope_theta": 5000}""",
        "rope_theta is 10000 and rope_parameters.rope_theta is 5000")]
    public void Names_that_mean_the_same_and_say_something_else_are_refused_with_both(string key, string value, string expected) =>
        Assert.Contains(expected, Assert.Throws<BadInputException>(() => Parse(key, value)).Message, StringComparison.Ordinal);

    [Fact]
    public void Scaling_in_both_places_is_one_where_it_is_the_same()
    {
        var json = JsonNode.Parse(TinyLlama.Config.ToJson())!.AsObject();
        json["rope_scaling"] = JsonNode.Parse("""{"type": "linear", "factor": 2.0}""");
        json["rope_parameters"] = JsonNode.Parse("""{"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}""");
        Assert.Equal(2, ModelConfig.Parse(json.ToJsonString(), "c").RopeScaling!.Factor);

        json["rope_parameters"]!["factor"] = 3.0;
        var refused = Assert.Throws<BadInputException>(() => ModelConfig.Parse(json.ToJsonString(), "c"));
        Assert.StartsWith("c: rope_scaling is {", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gradient_checkpointing", "true")]
    [InlineData("unsloth_fixed", "true")]
    [InlineData("unsloth_version", "\"2025.3.1\"")]
    [InlineData("temperature", "0.7")]
    [InlineData("max_length", "20")]
    [InlineData("use_flash_attn", "true")]
    public void A_key_that_no_forward_pass_reads_has_no_influence(string key, string value) =>
        Assert.Equal(TinyLlama.Config.HiddenSize, Parse(key, value).HiddenSize);

    [Theory]
    [InlineData("logit_scale", "2.0")]
    [InlineData("quantization_config", """{"bits":4}""")]
    public void A_key_that_may_have_influence_stays_refused(string key, string value) =>
        Assert.Contains($"{key} is {value}", Assert.Throws<BadInputException>(() => Parse(key, value)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData(float.NaN, "NaN")]
    [InlineData(float.PositiveInfinity, "Infinity")]
    [InlineData(float.NegativeInfinity, "-Infinity")]
    public void A_weight_that_is_not_finite_is_refused_by_tensor_and_entry(float value, string shown)
    {
        const string Name = "model.layers.1.mlp.down_proj.weight";
        Write(TinyLlama.Config, arrays => arrays[Name].Data[24 + 3] = value);

        var message = Refused(ScalarType.Float32);

        Assert.Contains($"model.safetensors: tensor {Name} has {shown} at [1, 3], which is not finite", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_weight_beyond_the_type_that_it_is_wanted_in_is_refused_with_its_value_and_the_way_out()
    {
        const string Name = "model.layers.0.mlp.up_proj.weight";
        Write(TinyLlama.Config, static arrays => arrays[Name].Data[16 + 1] = -70000);

        Assert.Contains($"tensor {Name} has -70000 at [1, 1], which float16 cannot hold; use bfloat16 or float32",
            Refused(ScalarType.Float16), StringComparison.Ordinal);

        ModelRegistry.Load(_folder.Root, CPU, ScalarType.BFloat16).Dispose();
        ModelRegistry.Load(_folder.Root, CPU, ScalarType.Float32).Dispose();
    }

    [Fact]
    public void A_head_that_is_stored_beside_its_embedding_has_to_be_the_same()
    {
        var config = TinyLlama.Config with { TieWordEmbeddings = true };
        float[]? head = null;
        void WithHead(AdapterState arrays, SortedDictionary<string, NamedArray> all)
        {
            var embedding = arrays["model.embed_tokens.weight"];
            all["lm_head.weight"] = embedding with { Data = head ??= [.. embedding.Data] };
        }

        Write(config, static _ => { }, WithHead);
        ModelRegistry.Load(_folder.Root, CPU, ScalarType.Float32).Dispose();

        head![5] += 1;
        Write(config, static _ => { }, WithHead);
        var message = Refused(ScalarType.Float32);
        Assert.Contains("tie_word_embeddings is true, and tensor lm_head.weight differs from model.embed_tokens.weight", message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void Logits_that_are_no_numbers_never_become_a_token(float value)
    {
        foreach (var temperature in (double[])[0, 1])
        {
            using var sampler = new Sampler(new() { Temperature = temperature });
            var refused = Assert.Throws<BadInputException>(() => sampler.Next([1, value, 2]));
            Assert.StartsWith("the logit of token 1 is ", refused.Message, StringComparison.Ordinal);
        }
    }

    private static ModelConfig Parse(string key, string value)
    {
        var json = JsonNode.Parse(TinyLlama.Config.ToJson())!.AsObject();
        json[key] = JsonNode.Parse(value);
        return ModelConfig.Parse(json.ToJsonString(), "config.json");
    }

    private string Refused(ScalarType dtype) =>
        Assert.Throws<BadInputException>(() => ModelRegistry.Load(_folder.Root, CPU, dtype)).Message;

    private void Write(
        ModelConfig config, Action<AdapterState> change, Action<AdapterState, SortedDictionary<string, NamedArray>>? more = null)
    {
        var arrays = TinyLlama.Arrays(config);
        change(arrays);
        var all = new SortedDictionary<string, NamedArray>(arrays.ToDictionary(static entry => entry.Key, static entry => entry.Value),
            StringComparer.Ordinal);
        more?.Invoke(arrays, all);
        File.WriteAllText(_folder.File("config.json"), config.ToJson());
        using var stream = File.Create(_folder.File("model.safetensors"));
        SafetensorsCodec.Write(new AdapterState(all), new Dictionary<string, string> { ["format"] = "pt" }, stream);
    }
}
