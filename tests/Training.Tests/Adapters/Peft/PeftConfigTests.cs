using System.Text;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;

namespace FedRLora.Training.Tests.Adapters.Peft;

public sealed class PeftConfigTests
{
    private const string Valid = """
        {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny", "r": 8, "lora_alpha": 16, "use_rslora": false,
         "use_dora": false, "bias": "none", "target_modules": ["q_proj", "v_proj"], "exclude_modules": null, "layers_to_transform": [0, 1],
         "layers_pattern": "layers", "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"model.layers.0.self_attn.q_proj": 2.5},
         "fan_in_fan_out": false, "lora_dropout": 0.05, "modules_to_save": null, "loftq_config": {}, "unknown": []}
        """;

    [Fact]
    public void The_settings_are_read()
    {
        var (spec, baseModel) = Parse(Valid);

        Assert.Equal(("tiny", 8, 16.0, Scaling.AlphaOverRank, false), (baseModel, spec.Rank, spec.Alpha, spec.Scaling, spec.Decomposed));
        Assert.Equal(["q_proj", "v_proj"], spec.TargetModules);
        Assert.Equal([0, 1], spec.LayersToTransform);
        Assert.Equal(["layers"], spec.LayersPattern);
        Assert.Equal([new("q_proj", 4)], spec.RankPattern);
        Assert.Equal([new("model.layers.0.self_attn.q_proj", 2.5)], spec.AlphaPattern);
    }

    [Theory]
    [InlineData("[\"q_proj\", \"v_proj\"]", "\"all-linear\"", null, 0)]
    [InlineData("[\"q_proj\", \"v_proj\"]", "\".*q_proj\"", ".*q_proj", 0)]
    public void Targets_are_a_list_a_word_or_a_regular_expression(string old, string now, string? pattern, int names)
    {
        var (spec, _) = Parse(Valid.Replace(old, now, StringComparison.Ordinal));
        Assert.Equal((pattern, names), (spec.TargetPattern, spec.TargetModules.Count));
    }

    [Theory]
    [InlineData("\"LORA\"", "\"IA3\"", "peft_type is \"IA3\", expected \"LORA\"")]
    [InlineData("\"r\": 8", "\"r\": 0", "r is 0, expected a whole number from 1 to 1048576")]
    [InlineData("\"r\": 8", "\"r\": 1e99", "r is 1e99, expected a whole number from 1 to 1048576")]
    [InlineData("\"lora_alpha\": 16", "\"lora_alpha\": -1", "lora_alpha is -1, expected a finite number above 0")]
    [InlineData("\"bias\": \"none\"", "\"bias\": \"some\"", "bias is \"some\", expected \"none\" or \"all\" or \"lora_only\"")]
    [InlineData(
        "\"exclude_modules\": null", "\"exclude_modules\": \"q(\"",
        "exclude_modules: the pattern q( is not a valid regular expression: Invalid pattern 'q(' at offset 2. Not enough )'s.")]
    [InlineData(
        "\"modules_to_save\": null", "\"modules_to_save\": [\"score\"]",
        "modules_to_save is [\"score\"], expected null, false or nothing in it: only LoRA and DoRA are implemented")]
    [InlineData("[\"q_proj\", \"v_proj\"]", "null", "target_modules names nothing; name the adapted modules")]
    [InlineData("\"use_dora\": false", "\"use_dora\": 1", "use_dora is 1, expected true or false")]
    [InlineData("{\"q_proj\": 4}", "{\"q_proj\": \"4\"}", "rank_pattern is \"4\"", true)]
    [InlineData("\"unknown\": []", "\"r\": 8", "r occurs twice")]
    public void What_is_wrong_or_not_implemented_is_refused_by_name(string old, string now, string expected, bool part = false)
    {
        var message = Assert.Throws<BadInputException>(() => Parse(Valid.Replace(old, now, StringComparison.Ordinal))).Message;
        if (!part) Assert.Equal($"adapter_config.json: {expected}", message);
        else Assert.Contains("rank_pattern is", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("some_future_option", "true")]
    [InlineData("some_future_option", "[1]")]
    [InlineData("some_future_config", "{\"a\": null}")]
    [InlineData("kasa_config", "{\"beta\": 0.1}")]
    [InlineData("corda_config", "{\"cache_file\": \"c\"}")]
    public void A_setting_that_is_on_and_not_known_is_refused_by_name(string key, string value)
    {
        var message = Assert.Throws<BadInputException>(
            () => Parse(Valid.Replace("\"unknown\": []", $"\"{key}\": {value}", StringComparison.Ordinal))).Message;
        Assert.StartsWith($"adapter_config.json: {key} is {value}, ", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"some_future_option\": false")]
    [InlineData("\"some_future_option\": 0")]
    [InlineData("\"some_future_option\": null")]
    [InlineData("\"eva_config\": {\"rho\": 2.0}")]
    [InlineData("\"peft_version\": \"0.21.2\", \"megatron_core\": \"megatron.core\", \"qalora_group_size\": 16, \"revision\": \"main\"")]
    public void A_setting_that_is_off_or_without_influence_is_passed(string entry) =>
        Assert.Equal(8, Parse(Valid.Replace("\"unknown\": []", entry, StringComparison.Ordinal)).Spec.Rank);

    [Theory]
    [InlineData("\"pissa\"", "path_initial_model_for_weight_conversion")]
    [InlineData("\"PiSSA_niter_16\"", "path_initial_model_for_weight_conversion")]
    [InlineData("\"olora\"", "path_initial_model_for_weight_conversion")]
    [InlineData("\"corda\", \"corda_config\": {\"a\": 1}", "(with corda_config)")]
    [InlineData("\"loftq\", \"loftq_config\": {\"loftq_bits\": 4}", "(with loftq_config)")]
    [InlineData("\"pissa\", \"lora_ga_config\": {\"a\": 1}", "path_initial_model_for_weight_conversion")]
    [InlineData("\"of_tomorrow\"", "expected true, false, gaussian")]
    [InlineData("3", "expected true, false or a word")]
    public void A_start_that_changes_the_base_is_refused_with_the_way_to_convert(string start, string way)
    {
        var json = Valid.Replace("\"unknown\": []", $"\"init_lora_weights\": {start}", StringComparison.Ordinal);
        var message = Assert.Throws<BadInputException>(
            () => Parse(json.Replace("\"loftq_config\": {}, ", "", StringComparison.Ordinal))).Message;
        Assert.StartsWith("adapter_config.json: init_lora_weights is ", message, StringComparison.Ordinal);
        Assert.Contains(way, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("true")]
    [InlineData("false")]
    [InlineData("null")]
    [InlineData("\"gaussian\"")]
    [InlineData("\"orthogonal\"")]
    [InlineData("\"eva\"")]
    [InlineData("\"mica\"")]
    public void A_start_that_leaves_the_base_alone_is_read(string start) =>
        Assert.Equal(8, Parse(Valid.Replace("\"unknown\": []", $"\"init_lora_weights\": {start}", StringComparison.Ordinal)).Spec.Rank);

    [Theory]
    [InlineData("\"init_lora_weights\": \"lora_ga\"", "init_lora_weights is \"lora_ga\"")]
    [InlineData("\"init_lora_weights\": \"lora_ga\", \"lora_ga_config\": {\"direction\": \"ArB2r\"}", "init_lora_weights is \"lora_ga\"")]
    [InlineData("\"init_lora_weights\": true, \"lora_ga_config\": {\"direction\": \"ArB2r\"}", "lora_ga_config is set")]
    public void A_start_that_PEFT_itself_loses_on_loading_is_read_with_a_warning(string entry, string expected)
    {
        var note = Assert.Single(Parse(Valid.Replace("\"unknown\": []", entry, StringComparison.Ordinal)).Notes);
        Assert.StartsWith($"adapter_config.json: {expected}: ", note, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', note);
    }

    [Fact]
    public void A_configuration_of_which_all_is_computed_has_nothing_to_warn_of() => Assert.Empty(Parse(Valid).Notes);

    [Fact]
    public void A_regular_expression_may_exclude_layers()
    {
        var (spec, _) = Parse(
            Valid.Replace("\"exclude_modules\": null", "\"exclude_modules\": \".*layers\\\\.[13]\\\\..*\"", StringComparison.Ordinal));
        Assert.Equal((@".*layers\.[13]\..*", 0), (spec.ExcludePattern, spec.ExcludeModules.Count));
    }

    [Theory]
    [InlineData("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.0.self_attn.q_proj", Roles.A, null)]
    [InlineData(
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight", "model.layers.0.self_attn.q_proj", Roles.B, "default")]
    [InlineData("model.layers.0.self_attn.q_proj.lora_B.weight", "model.layers.0.self_attn.q_proj", Roles.B, null)]
    [InlineData("base_model.model.model.embed_tokens.lora_embedding_A.mine", "model.embed_tokens", Roles.A, "mine")]
    [InlineData("base_model.model.lm_head.lora_magnitude_vector", "lm_head", Roles.Magnitude, null)]
    [InlineData("base_model.model.lm_head.lora_magnitude_vector.weight", "lm_head", Roles.Magnitude, null)]
    [InlineData("base_model.model.lm_head.lora_magnitude_vector.mine.weight", "lm_head", Roles.Magnitude, "mine")]
    [InlineData("base_model.model.lm_head.lora_magnitude_vector.mine", "lm_head", Roles.Magnitude, "mine")]
    internal void A_name_may_have_the_adapters_own_and_may_lack_the_prefix(string name, string module, string role, string? adapter)
    {
        Assert.Equal((module, role), PeftNames.Parse(name));
        Assert.Equal(adapter, PeftNames.AdapterIn(name));
    }

    [Theory]
    [InlineData("base_model.model.lm_head.lora_B.bias")]
    [InlineData("base_model.model.lm_head.lora_diag.default")]
    [InlineData("base_model.model.lm_head.weight")]
    public void A_name_of_another_form_is_no_part_of_LoRA(string name) => Assert.Null(PeftNames.Parse(name));

    [Fact]
    public void A_mutated_configuration_is_read_or_refused()
    {
        var (read, refused) = Fuzz.Run([Encoding.UTF8.GetBytes(Valid)], static bytes =>
        {
            var (spec, _) = PeftConfig.Parse(bytes, "adapter_config.json");
            _ = AdapterLayout.Unbounded(spec, [new("model.layers.0.self_attn.q_proj", 4, 4), new("model.layers.0.self_attn.v_proj", 4, 4)]);
        });
        Assert.True(read > 0 && refused > 0, $"{read} read, {refused} refused");
    }

    [SharedFact]
    public void A_real_adapter_of_a_recent_PEFT_goes_out_as_it_came_in()
    {
        var folder = SharedFolder.Of("adapters", "gpt2-tigrinya-lora");
        var adapter = PeftAdapter.Read(folder);
        // Its base model is not here; the shapes of its layers are those of its tensors.
        var layers = adapter.Tensors.Keys.Where(static name => name.EndsWith(".A", StringComparison.Ordinal))
            .Select(name => name[..^2]).Select(module => new LinearShape(
            module, (int)adapter.Tensors[module + ".A"].Shape[1], (int)adapter.Tensors[module + ".B"].Shape[1], LayerKind.Conv1D)).ToList();
        var plan = new FederationPlan
        {
            Name = "real", Model = new() { Path = "gpt2" }, Clients = [TinyFederation.Client("one")],
            Adapter = new AdapterSpec { From = folder }.With("B", static heads => heads with { Scope = Scope.Job }),
        };

        var exported = PeftExporter.Export(
            plan, spec => adapter.On(layers, spec, new AdapterStart(adapter.Tensors, null)), adapter, plan.Clients[0], adapter.Tensors,
            head: null);

        Assert.Equal(36, layers.Count);
        using var original = SafetensorsFile.Open(Path.Combine(folder, "adapter_model.safetensors"));
        Assert.Equal(original.Header.Tensors.Keys.Order(StringComparer.Ordinal), exported.Tensors.Keys);
        Assert.All(exported.Tensors, entry => Assert.Equal(original.ReadFloat32(entry.Key), entry.Value.Data));
        Assert.True(
            JsonNode.DeepEquals(
                JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "adapter_config.json"))), JsonNode.Parse(exported.ConfigJson)));
    }

    private static PeftSettings Parse(string json) => PeftConfig.Parse(Encoding.UTF8.GetBytes(json), "adapter_config.json");
}
