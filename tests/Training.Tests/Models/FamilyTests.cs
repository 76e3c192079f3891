using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>What holds for every family of the registry.</summary>
public sealed class FamilyTests
{
    public static TheoryData<string> Families => TinyModels.Families;

    [Theory, MemberData(nameof(Families))]
    public void The_parameters_are_those_of_the_approved_list(string family)
    {
        var actual = ModelRegistry.ExpectedParameters(TinyModels.Configs[family])
            .Select(static parameter => $"{parameter.Name} [{string.Join(", ", parameter.Shape)}]");
        var approved = Path.Combine(AppContext.BaseDirectory, "Golden", $"{family}.parameters.txt");
        Assert.Equal(File.Exists(approved) ? File.ReadAllLines(approved) : [], actual);
    }

    [Theory, MemberData(nameof(Families))]
    public void A_configuration_that_is_written_reads_back_equal(string family)
    {
        var config = TinyModels.Configs[family];
        var read = ModelConfig.Parse(config.ToJson(), "config.json");
        Assert.Equal(config.EndIds, read.EndIds);
        Assert.Equal(config, read with { EndIds = config.EndIds });
    }

    [Theory, MemberData(nameof(Families))]
    public void Adapters_are_asked_for_every_linear_layer_in_its_order_with_its_widths(string family)
    {
        using var model = TinyLlama.Create(TinyModels.Configs[family]);
        using var scope = NewDisposeScope();
        var seen = new Recorder();

        model.LogitsOf(model.Hidden(TinyLlama.Ids(1, 5, 7), null, seen), seen);

        Assert.Equal([model.Embedding, .. model.Linears, model.LmHead],
            seen.Shapes.Select(seen => seen with { Kind = KindOf(model, seen.Module) }));
        Assert.All(model.Linears, layer => Assert.Equal(
            layer.Kind == LayerKind.Conv1D ? [layer.InWidth, layer.OutWidth] : [layer.OutWidth, layer.InWidth],
            model.WeightOf(layer).shape));
    }

    [Theory, MemberData(nameof(Families))]
    public void Padding_on_the_right_changes_nothing_at_real_tokens(string family)
    {
        using var model = TinyLlama.Create(TinyModels.Configs[family], ScalarType.Float64);
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var alone = model.Hidden(TinyLlama.Ids(1, 5, 7, 9, 3, 4, 6), null, null);
        var padded = model.Hidden(TinyLlama.Ids(1, 5, 7, 9, 3, 4, 6, 0, 0), tensor(new long[] { 1, 1, 1, 1, 1, 1, 1, 0, 0 }, [1, 9]), null)
            .narrow(1, 0, 7);

        Assert.True((alone - padded).abs().max().item<double>() < 1e-12);
    }

    [Theory, MemberData(nameof(Families))]
    public void A_forward_pass_leaves_only_its_result(string family)
    {
        using var model = TinyLlama.Create(TinyModels.Configs[family]);
        using var ids = TinyLlama.Ids(1, 5, 7);
        using var scope = NewDisposeScope();
        model.Hidden(ids, null, null);
        Assert.Equal(1, scope.DisposablesCount);
    }

    [Theory, MemberData(nameof(Families))]
    public void A_checkpoint_without_the_first_component_of_its_names_loads(string family)
    {
        using var folder = new TemporaryFolder();
        var arrays = TinyLlama.Arrays(TinyModels.Configs[family]);
        File.WriteAllText(folder.File("config.json"), TinyModels.Configs[family].ToJson());
        using (var stream = File.Create(folder.File("model.safetensors")))
            SafetensorsCodec.Write(new AdapterState(arrays.Select(static entry => KeyValuePair.Create(Bare(entry.Key), entry.Value))),
                new Dictionary<string, string>(), stream);

        using var model = ModelRegistry.Load(folder.Root, CPU, ScalarType.Float32);

        Assert.All(arrays, entry => Assert.Equal(entry.Value.Data, model.Parameters[entry.Key].data<float>().ToArray()));
        static string Bare(string name) =>
            name.StartsWith("lm_head", StringComparison.Ordinal) || name.StartsWith("embed_out", StringComparison.Ordinal)
                ? name
                : name[(name.IndexOf('.') + 1)..];
    }

    [Theory]
    [InlineData("gpt2", "h.0.attn.bias", "transformer.h.0.attn.masked_bias")]
    [InlineData("gpt_neox", "gpt_neox.layers.0.attention.bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq")]
    [InlineData("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.1.self_attn.rotary_emb.inv_freq")]
    public void Stored_masks_and_angles_are_passed_over(string family, params string[] names) =>
        Assert.All(names, name => Assert.True(ModelRegistry.FamilyOf(family, "").IsDerived(TinyModels.Configs[family], name)));

    [Theory]
    [InlineData("qwen2", "use_sliding_window", "true")]
    [InlineData("qwen2", "layer_types", """["full_attention","sliding_attention"]""")]
    [InlineData("qwen3", "use_sliding_window", "true")]
    [InlineData("gpt2", "scale_attn_weights", "false")]
    [InlineData("gpt2", "scale_attn_by_inverse_layer_idx", "true")]
    [InlineData("gpt2", "activation_function", "\"relu\"")]
    [InlineData("gpt2", "n_head", "3")]
    [InlineData("phi", "qk_layernorm", "true")]
    [InlineData("phi", "partial_rotary_factor", "0.01")]
    [InlineData("gemma", "hidden_activation", "\"gelu\"")]
    [InlineData("gpt_neox", "hidden_act", "\"gelu_new\"")]
    [InlineData("gpt_neox", "rotary_pct", "2.0")]
    [InlineData("mistral", "sliding_window", "0")]
    [InlineData("mistral", "attention_bias", "true")]
    public void A_setting_that_is_not_implemented_or_out_of_range_is_refused(string family, string key, string value)
    {
        var json = JsonNode.Parse(TinyModels.Configs[family].ToJson())!;
        json[key] = JsonNode.Parse(value);
        Assert.StartsWith("config.json: ",
            Assert.Throws<BadInputException>(() => ModelConfig.Parse(json.ToJsonString(), "config.json")).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("llama", """{"rope_theta":77.0,"rope_type":"default"}""")]
    [InlineData("llama", """{"rope_theta":77.0}""")]
    [InlineData("qwen2", """{"rope_theta":77.0,"rope_type":"linear","factor":4.0}""")]
    [InlineData("phi", """{"rope_theta":77.0,"rope_type":"default","partial_rotary_factor":1.0}""")]
    [InlineData("gpt_neox", """{"rope_theta":77.0,"rope_type":"default","partial_rotary_factor":1.0}""")]
    public void Rotary_settings_in_the_newer_form_are_read(string family, string settings)
    {
        var json = JsonNode.Parse(TinyModels.Configs[family].ToJson())!.AsObject();
        foreach (var key in (string[])["rope_theta", "rotary_emb_base", "partial_rotary_factor", "rotary_pct", "rope_scaling"])
            json.Remove(key);
        json["rope_parameters"] = JsonNode.Parse(settings);
        json["dtype"] = "bfloat16";

        var config = ModelConfig.Parse(json.ToJsonString(), "config.json");

        Assert.Equal((77.0, 1.0), (config.RopeTheta, config.RotaryFraction));
        Assert.Equal(family == "qwen2" ? 4.0 : null, config.RopeScaling?.Factor);
    }

    [Fact]
    public void Scaling_without_its_numbers_is_refused_even_where_its_kind_is_left_out()
    {
        var json = JsonNode.Parse(TinyLlama.Config.ToJson())!;
        json["rope_scaling"] = JsonNode.Parse("""{"factor":8.0}""");
        Assert.Contains("factor", Assert.Throws<BadInputException>(() => ModelConfig.Parse(json.ToJsonString(), "config.json")).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Dropout_rates_mean_nothing_to_a_frozen_base()
    {
        var json = JsonNode.Parse(TinyModels.Configs["gpt2"].ToJson())!;
        foreach (var key in (string[])["attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_first_dropout"]) json[key] = 0.1;
        ModelConfig.Parse(json.ToJsonString(), "config.json");
    }

    private static LayerKind KindOf(CausalLanguageModel model, string module) =>
        ((LinearShape[])[model.Embedding, .. model.Linears, model.LmHead]).Single(layer => layer.Module == module).Kind;

    private sealed class Recorder : ILayerAdapters
    {
        public List<LinearShape> Shapes { get; } = [];

        public Tensor Adapt(string module, Tensor x, Tensor y)
        {
            Shapes.Add(new LinearShape(module, (int)x.shape[^1], (int)y.shape[^1]));
            return y;
        }

        public Tensor AdaptEmbedding(string module, Tensor ids, Tensor y)
        {
            Shapes.Add(new LinearShape(module, TinyLlama.Config.VocabularySize, (int)y.shape[^1], LayerKind.Embedding));
            return y;
        }
    }
}
