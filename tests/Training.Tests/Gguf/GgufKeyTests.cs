using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Keys and tensors that change the numbers are computed or refused by name, never passed over.</summary>
public sealed class GgufKeyTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _path;
    private readonly GgufMetadata _metadata;
    private int _copies;

    public GgufKeyTests()
    {
        _path = new TinyGguf(_folder).Path;
        _metadata = GgufFile.ReadHeader(_path).Metadata;
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void What_is_absent_is_as_llama_cpp_takes_it()
    {
        var config = Read(Keys("llama.rope.freq_base", "llama.rope.dimension_count", "llama.vocab_size", "general.type",
            "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"));

        Assert.Equal((10000.0, null, 1), (config.RopeTheta, config.RopeScaling, config.RotaryFraction));
        Assert.Equal((null, null), (config.BeginId, config.PadId));
        Assert.Empty(config.EndIds);
    }

    [Fact]
    public void Absent_heads_of_keys_and_values_are_as_many_as_heads()
    {
        var path = new TinyGguf(_folder, TinyLlama.Config with { KeyValueHeads = 4 }, "full.gguf").Path;

        var config = Read(new GgufWriter().Keys(GgufFile.ReadHeader(path).Metadata, "llama.attention.head_count_kv"), path);

        Assert.Equal(4, config.KeyValueHeads);
    }

    [Fact]
    public void An_absent_width_of_a_head_is_its_share_of_the_embedding()
    {
        var path = new TinyGguf(_folder, TinyLlama.Config with { HeadDim = 4 }, "share.gguf").Path;

        var config = Read(new GgufWriter().Keys(GgufFile.ReadHeader(path).Metadata, "llama.attention.key_length",
            "llama.attention.value_length"), path);

        Assert.Equal(4, config.HeadDim);
    }

    [Fact]
    public void A_size_of_each_layer_may_be_given_as_a_list_of_equal_ones() =>
        Assert.Equal(24, Read(Keys("llama.feed_forward_length").Set("llama.feed_forward_length", [24, 24])).IntermediateSize);

    [Fact]
    public void Sizes_that_differ_by_layer_are_refused_by_key() =>
        Refused("llama.feed_forward_length", Keys("llama.feed_forward_length").Set("llama.feed_forward_length", [24, 32]));

    [Theory]
    [InlineData(new[] { 24 })]
    [InlineData(new[] { 24, 24, 24 })]
    public void A_list_that_is_not_one_of_the_layers_is_refused_by_key(int[] sizes) =>
        Refused("llama.feed_forward_length", Keys("llama.feed_forward_length").Set("llama.feed_forward_length", sizes));

    [Theory]
    [InlineData("llama.rope.freq_base", 1e35)]
    [InlineData("llama.rope.freq_base", 1e-30)]
    [InlineData("llama.rope.scaling.factor", 1e-30)]
    public void Angles_that_no_float32_holds_are_refused(string key, double value) =>
        Refused("expected a number from", Keys(key).Set(key, value));

    [Fact]
    public void A_number_that_the_wanted_form_cannot_hold_is_named_with_its_place()
    {
        var (copy, writer) = (_folder.File("great.gguf"), Keys());
        foreach (var tensor in GgufCopy.Tensors(_path))
        {
            writer.Add(tensor.Name != "token_embd.weight" ? tensor : tensor with
            {
                Rows = (first, target) =>
                {
                    tensor.Rows(first, target);
                    if (first <= 5) target[(int)((5 - first) * tensor.Columns) + 1] = 1048576;
                },
            });
        }

        writer.Write(copy);

        var message = Assert.Throws<BadInputException>(() => ModelRegistry.Load(copy, TorchSharp.torch.CPU, WeightStorage.Float16)).Message;
        Assert.Contains("tensor token_embd.weight (model.embed_tokens.weight) has 1048576 at [5, 1], which float16 cannot hold", message,
            StringComparison.Ordinal);
        ModelRegistry.Load(copy, TorchSharp.torch.CPU, WeightStorage.Bfloat16).Dispose();
    }

    [Theory]
    [InlineData("llama.rope.scaling.factor", "linear")]
    [InlineData("llama.rope.scaling.factor", null)]
    [InlineData("llama.rope.scale_linear", null)]
    public void A_scaling_of_the_angles_is_read_by_its_new_and_its_older_key(string key, string? type) =>
        Assert.Equal(4, Read(Keys().Set(key, 4.0).Set("llama.rope.scaling.type", type)).RopeScaling!.Factor);

    [Fact]
    public void Two_keys_for_one_scaling_must_agree()
    {
        Assert.Equal(4, Read(Keys().Set("llama.rope.scaling.factor", 4.0).Set("llama.rope.scale_linear", 4.0)).RopeScaling!.Factor);
        Refused("llama.rope.scale_linear", Keys().Set("llama.rope.scaling.factor", 4.0).Set("llama.rope.scale_linear", 2.0));
    }

    [Fact]
    public void A_scaling_of_type_none_scales_nothing() =>
        Assert.Null(Read(Keys().Set("llama.rope.scaling.type", "none").Set("llama.rope.scaling.factor", 4.0)).RopeScaling);

    [Theory]
    [InlineData("llama.rope.scaling.type", "yarn")]
    [InlineData("llama.rope.scaling.type", "longrope")]
    [InlineData("general.type", "adapter")]
    [InlineData("general.type", "mmproj")]
    [InlineData("general.architecture", "clip")]
    public void Another_word_is_refused_by_key(string key, string value) => Refused(key, Keys(key).Set(key, value));

    [Theory]
    [InlineData("llama.expert_count", 8)]
    [InlineData("llama.attention.sliding_window", 5)]
    [InlineData("llama.logit_scale", 0.5)]
    [InlineData("llama.embedding_scale", 12.0)]
    [InlineData("llama.residual_scale", 0.2)]
    [InlineData("llama.attention.scale", 0.1)]
    [InlineData("llama.final_logit_softcapping", 30.0)]
    [InlineData("llama.rope.scaling.attn_factor", 1.2)]
    [InlineData("llama.a_key_of_next_year", 1)]
    public void What_is_not_computed_is_refused_by_key_unless_it_is_off(string key, double value)
    {
        Refused(key, value == Math.Floor(value) ? Keys().Set(key, (long)value) : Keys().Set(key, value));
        if (!key.EndsWith("attn_factor", StringComparison.Ordinal)) Read(Keys().Set(key, 0L));
    }

    [Theory]
    [InlineData("llama.attention.head_count", 0)]
    [InlineData("llama.attention.head_count_kv", 3)]
    [InlineData("llama.block_count", 0)]
    [InlineData("llama.block_count", 100_000)]
    [InlineData("llama.embedding_length", 8)]
    [InlineData("llama.rope.dimension_count", 4)]
    [InlineData("llama.attention.value_length", 4)]
    [InlineData("llama.vocab_size", 31)]
    [InlineData("tokenizer.ggml.bos_token_id", 32)]
    public void A_number_that_cannot_be_is_refused_by_key(string key, long value) => Refused(key, Keys(key).Set(key, value));

    [Fact]
    public void Several_tokens_end_a_text() => Assert.Equal([2, 5, 7], Read(
        Keys("tokenizer.ggml.eos_token_id").Set("tokenizer.ggml.eos_token_id", 2L)
        .Set("tokenizer.ggml.eot_token_id", 5L).Set("tokenizer.ggml.eom_token_id", 7L)).EndIds);

    [Theory]
    [InlineData("blk.0.ffn_gate_exps.weight")]
    [InlineData("rope_factors_long.weight")]
    [InlineData("blk.0.attn_q_norm.weight")]
    [InlineData("blk.2.attn_q.weight")]
    [InlineData("output.scale")]
    public void A_tensor_that_nothing_uses_is_refused_by_name(string name)
    {
        var writer = Keys().Add(GgufCopy.Of(name, [8], new float[8]));
        Refused($"tensor {name}", writer);
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(-1f)]
    public void A_rotary_factor_that_divides_by_nothing_is_refused(float factor) =>
        Refused("rope_freqs.weight", Keys().Add(GgufCopy.Of("rope_freqs.weight", [3], [1, factor, 1])));

    [Fact]
    public void Rotary_factors_divide_each_frequency()
    {
        var config = Read(Keys().Add(GgufCopy.Of("rope_freqs.weight", [3], [1, 2.5f, 8])));

        Assert.Equal([1, 2.5f, 8], config.RopeScaling!.Factors!);
        Assert.Equal(config.ToJson(), ModelConfig.Parse(config.ToJson(), "config.json").ToJson());
    }

    [Fact]
    public void Rotary_factors_of_another_count_are_refused() =>
        Refused("rope_freqs.weight", Keys().Add(GgufCopy.Of("rope_freqs.weight", [4], [1, 1, 1, 1])));

    [Theory]
    [InlineData("long_factor", "[1, 2, 4]")]
    [InlineData("attention_factor", "1.19")]
    [InlineData("short_factor", "[1, 2]")]
    public void Rotary_factors_of_a_configuration_that_are_not_computed_are_refused_by_key(string key, string value)
    {
        var json = Read(Keys().Add(GgufCopy.Of("rope_freqs.weight", [3], [1, 2.5f, 8]))).ToJson();
        var changed = JsonNode.Parse(json)!.AsObject();
        changed["rope_scaling"]![key] = JsonNode.Parse(value);

        var message = Assert.Throws<BadInputException>(() => ModelConfig.Parse(changed.ToJsonString(), "config.json")).Message;

        Assert.Contains(key == "short_factor" ? "factor" : key, message);
    }

    private GgufWriter Keys(params string[] without) => new GgufWriter().Keys(_metadata, without);

    private ModelConfig Read(GgufWriter writer, string? path = null)
    {
        var copy = _folder.File($"copy-{_copies++}.gguf");
        foreach (var tensor in GgufCopy.Tensors(path ?? _path)) writer.Add(tensor);
        writer.Write(copy);
        using var file = GgufFile.Open(copy);
        var config = GgufConfig.Of(file.Header, tensor => GgufValues.Of(file, tensor));
        _ = GgufParameters.Of(config, file.Header);
        return config;
    }

    private void Refused(string expected, GgufWriter writer) =>
        Assert.Contains(expected, Assert.Throws<BadInputException>(() => Read(writer)).Message);
}
