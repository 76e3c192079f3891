using System.Text;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Combination;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters.Peft;

/// <summary>
/// What a folder holds beside A and B: the model's own parameters are compared, what options leave there is refused by their names.
/// </summary>
public sealed class BesideTheAdapterTests : IDisposable
{
    private const string QProj = "model.layers.0.self_attn.q_proj";

    private readonly TemporaryFolder _folder = new();
    private readonly DisposeScope _scope = NewDisposeScope();

    public void Dispose()
    {
        _scope.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("all", false, false, null)]
    [InlineData("lora_only", false, false, null)]
    [InlineData(
        "all", true, false, $"bias is \"all\", and the trained {QProj}.bias is not in adapter_model.safetensors; train with bias none")]
    [InlineData(
        "lora_only", true, false,
        $"bias is \"lora_only\", and the trained {QProj}.bias is not in adapter_model.safetensors; train with bias none")]
    [InlineData("lora_only", true, true, null)]
    [InlineData("none", true, true, null)]
    public void Biases_have_no_influence_where_the_model_has_none_or_the_file_has_its_own(
        string bias, bool hasBiases, bool saved, string? refusal)
    {
        using var model = Model(hasBiases);
        var adapter = Adapter(new() { ["bias"] = bias }, saved ? [Saved(model, QProj + ".bias", ".base_layer.bias")] : []);

        if (refusal is null) adapter.CheckBase(model);
        else Assert.Contains(refusal, Refusal(() => adapter.CheckBase(model)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("lora_only", "bias is \"lora_only\" in adapter_config.json, and trained biases are not implemented")]
    [InlineData("all", "the trained model.layers.0.self_attn.k_proj.bias is not in")] // the others are missing
    [InlineData("none", "the adapter was trained on another model")]
    public void Biases_that_were_trained_are_refused(string bias, string expected)
    {
        using var model = Model(hasBiases: true);
        var (name, own) = Saved(model, QProj + ".bias", ".base_layer.bias");
        var adapter = Adapter(new() { ["bias"] = bias }, [(name, own with { Data = [.. own.Data.Select(static value => value + 1)] })]);

        Assert.Contains(expected, Refusal(() => adapter.CheckBase(model)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("all", false, false)]
    [InlineData("all", true, true)]
    [InlineData("lora_only", false, true)]
    [InlineData("none", true, false)]
    public void To_combine_biases_takes_a_model(string bias, bool saved, bool refused)
    {
        using var model = Model(hasBiases: true);
        var adapter = Adapter(new() { ["bias"] = bias }, saved ? [Saved(model, QProj + ".bias", ".base_layer.bias")] : []);
        object Combined() => AdapterCombination.Combine([(adapter.Folder, 1)], new());

        if (refused) Assert.Contains($"bias is \"{bias}\", and without the model", Refusal(() => Combined()), StringComparison.Ordinal);
        else Assert.NotNull(Combined());
    }

    [Theory]
    [InlineData("lm_head", ".weight")]
    [InlineData("lm_head", ".base_layer.weight")]
    [InlineData("model.embed_tokens", ".weight")]
    [InlineData("model.layers.1.mlp.up_proj", ".weight")]
    public void Parameters_of_the_base_are_passed_where_they_are_the_models_and_refused_where_not(string module, string suffix)
    {
        using var model = Model(hasBiases: false);
        var (name, own) = Saved(model, module + ".weight", suffix);

        Adapter([], [(name, own)]).CheckBase(model);
        own.Data[3] += 1;

        Assert.Contains(
            $"tensor {name} differs from the model's {module}.weight", Refusal(() => Adapter([], [(name, own)]).CheckBase(model)),
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_parameter_of_the_base_is_the_models_where_that_is_held_in_fewer_bits()
    {
        using var whole = Model(hasBiases: false);
        using var rounded = TinyLlama.Create(dtype: ScalarType.BFloat16);
        var (name, own) = Saved(whole, "lm_head.weight", ".weight");

        Adapter([], [(name, own)]).CheckBase(rounded);
        own.Data[3] += 1;

        Assert.Contains(
            "differs from the model's lm_head.weight", Refusal(() => Adapter([], [(name, own)]).CheckBase(rounded)),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("base_model.model.lm_head.lora_A.weight")]
    [InlineData("base_model.model.model.embed_tokens.lora_embedding_A")]
    [InlineData("base_model.model.transformer.wte.base_layer.weight")]
    public void A_shared_adapter_of_embedding_and_head_is_refused_by_name(string tensor)
    {
        (string, NamedArray)[] beside = [(tensor, new([1, 1], [1]))];
        var refusal = Refusal(() => Adapter(new() { ["ensure_weight_tying"] = true }, beside));
        Assert.Contains($"adapter_config.json: ensure_weight_tying is true and {tensor} is on", refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void To_tie_weights_has_no_influence_where_no_adapter_is_on_them()
    {
        using var model = Model(hasBiases: false);
        Adapter(new() { ["ensure_weight_tying"] = true }, [Saved(model, "lm_head.weight", ".weight")]).CheckBase(model);
    }

    [Theory]
    [InlineData($"base_model.model.{QProj}.lora_diag", "kasa_config")]
    [InlineData($"base_model.model.{QProj}.lora_B.bias", "lora_bias")]
    [InlineData("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", "trainable_token_indices")]
    public void A_tensor_of_an_option_that_the_configuration_does_not_name_is_refused_by_that(string tensor, string option) =>
        Assert.Contains(
            $"tensor {tensor} is no part of LoRA or DoRA but of {option}", Refusal(() => Adapter([], [(tensor, new([1], [1]))])),
            StringComparison.Ordinal);

    [Fact]
    public void Magnitudes_without_their_option_are_refused_by_it()
    {
        using var model = Model(hasBiases: false);
        var adapter = Adapter([], [($"base_model.model.{QProj}.lora_magnitude_vector", new([24], new float[24]))]);
        Assert.Contains("use_dora is false", Refusal(() => adapter.On(model.AdaptableLayers)), StringComparison.Ordinal);
    }

    [Fact]
    public void Layers_that_a_regular_expression_excludes_are_not_asked_for()
    {
        using var model = Model(hasBiases: false);
        var adapter = Adapter(new() { ["exclude_modules"] = @".*layers\.1\..*" }, []);
        Assert.Equal([QProj], adapter.On(model.AdaptableLayers).Targets.Select(static target => target.Module));
    }

    private static string Refusal(Action action) => Assert.Throws<BadInputException>(action).Message;

    private static CausalLanguageModel Model(bool hasBiases) => TinyLlama.Create(TinyLlama.Config with { AttentionBias = hasBiases });

    private static (string Name, NamedArray Values) Saved(CausalLanguageModel model, string parameter, string suffix)
    {
        var values = model.Parameters[parameter];
        var module = parameter[..parameter.LastIndexOf('.')];
        return ("base_model.model." + module + suffix, new(values.shape, TensorData.Values(values)));
    }

    // On q_proj of the first layer.
    private PeftAdapter Adapter(JsonObject entries, IReadOnlyList<(string Name, NamedArray Values)> beside)
    {
        var folder = Directory.CreateDirectory(_folder.File(Path.GetRandomFileName())).FullName;
        var config = new JsonObject
        {
            ["peft_type"] = "LORA", ["r"] = 2, ["lora_alpha"] = 4, ["target_modules"] = new JsonArray("q_proj"),
            ["layers_to_transform"] = new JsonArray(0),
        };
        if (entries.ContainsKey("exclude_modules")) config.Remove("layers_to_transform");
        foreach (var (key, value) in entries) config[key] = value?.DeepClone();
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), config.ToJsonString(), Encoding.UTF8);
        AdapterState tensors = new(
        [
            new($"base_model.model.{QProj}.lora_A.weight", new([2, 16], new float[32])),
            new($"base_model.model.{QProj}.lora_B.weight", new([24, 2], new float[48])),
            .. beside.Select(static entry => KeyValuePair.Create(entry.Name, entry.Values)),
        ]);
        using (var stream = File.Create(Path.Combine(folder, "adapter_model.safetensors")))
            SafetensorsCodec.Write(tensors, new Dictionary<string, string>(), stream);
        return PeftAdapter.Read(folder);
    }
}
