using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>
/// <c>adapter_config.json</c> both ways. What would change the numbers and is not implemented is refused by name; keys that nothing
/// depends on, also unknown ones, are kept.
/// </summary>
internal static class PeftConfig
{
    public const string FileName = "adapter_config.json";

    // Settings that leave LoRA at these values and change it at any other.
    private static readonly string[] Refused =
    [
        "modules_to_save", "layer_replication", "megatron_config", "trainable_token_indices", "lora_bias", "use_qalora", "target_parameters",
        "alora_invocation_tokens", "use_bdlora", "arrow_config", "monteclora_config", "velora_config",
    ];

    /// <summary>What the text says in our terms: one head routed by task.</summary>
    /// <param name="json">The text.</param>
    /// <param name="path">What messages call it.</param>
    /// <exception cref="BadInputException">Not valid, or more than LoRA and DoRA.</exception>
    public static (AdapterSpec Spec, string? BaseModel) Parse(ReadOnlyMemory<byte> json, string path)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var reader = new PeftConfigReader(document.RootElement, path);
            foreach (var key in Refused) reader.Off(key);
            reader.Only("peft_type", "LORA", required: true);
            reader.Only("bias", "none", required: false);
            var (names, pattern) = reader.Modules("target_modules");
            if (names is null && pattern is null) throw new BadInputException($"{path}: target_modules is null; name the adapted modules");
            var (excluded, excludedPattern) = reader.Modules("exclude_modules");
            if (excludedPattern is not null) throw new BadInputException($"{path}: exclude_modules is a regular expression, only a list is implemented; exclude them in target_modules");
            return (new AdapterSpec
            {
                Method = "lora",
                Rank = reader.Rank("r"),
                Alpha = reader.Alpha("lora_alpha"),
                Scaling = reader.Flag("use_rslora") ? Scaling.AlphaOverSqrtRank : Scaling.AlphaOverRank,
                TargetModules = names ?? [],
                TargetPattern = pattern,
                ExcludeModules = excluded ?? [],
                LayersToTransform = reader.Integers("layers_to_transform"),
                LayersPattern = reader.Words("layers_pattern"),
                RankPattern = reader.Ranks("rank_pattern"),
                AlphaPattern = reader.Alphas("alpha_pattern"),
                Decomposed = reader.Flag("use_dora"),
                Start = Start.Exact,
                Dropout = Dropout.None,
            }, reader.Text("base_model_name_or_path"));
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a string that is not valid Unicode.
            throw new BadInputException($"{path}: not valid JSON: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }

    /// <summary>Whether the text says that the adapted layers store their weights transposed.</summary>
    public static bool IsConv1D(string json) => JsonNode.Parse(json)?["fan_in_fan_out"]?.GetValueKind() == JsonValueKind.True;

    /// <summary>The text for an adapter.</summary>
    /// <param name="layout">Its layers with the ranks and scalings that PEFT is to use.</param>
    /// <param name="baseModel">What it names as its base model.</param>
    /// <param name="given">The configuration that the adapter came with; its other keys are kept. Null for PEFT's defaults.</param>
    public static string Write(AdapterLayout layout, string baseModel, string? given)
    {
        var spec = layout.Spec;
        var config = given is null ? Defaults(baseModel) : JsonNode.Parse(given)!.AsObject();
        Set(config, "r", JsonValue.Create(spec.Rank));
        Set(config, "lora_alpha", Number(spec.Alpha));
        Set(config, "use_rslora", JsonValue.Create(spec.Scaling == Scaling.AlphaOverSqrtRank));
        Set(config, "use_dora", JsonValue.Create(spec.Decomposed));
        if (given is null)
        {
            config["target_modules"] = Targets(layout);
            config["exclude_modules"] = spec.ExcludeModules.Count == 0 ? null : Words(spec.ExcludeModules);
            config["layers_to_transform"] = spec.LayersToTransform.Count == 0 ? null : new JsonArray([.. spec.LayersToTransform.Select(static layer => JsonValue.Create(layer))]);
            config["layers_pattern"] = spec.LayersPattern.Count == 0 ? null : Words(spec.LayersPattern);
            config["rank_pattern"] = new JsonObject(spec.RankPattern.Select(static entry => KeyValuePair.Create(entry.Key, (JsonNode?)JsonValue.Create(entry.Value))));
            config["alpha_pattern"] = new JsonObject(spec.AlphaPattern.Select(static entry => KeyValuePair.Create(entry.Key, (JsonNode?)Number(entry.Value))));
            config["fan_in_fan_out"] = layout.Targets.Any(static target => target.Layer.Kind == LayerKind.Conv1D);
        }

        return config.ToJsonString(new() { WriteIndented = true });
    }

    private static JsonObject Defaults(string baseModel) => new()
    {
        ["peft_type"] = "LORA",
        ["task_type"] = "CAUSAL_LM",
        ["base_model_name_or_path"] = baseModel,
        ["inference_mode"] = true,
        ["r"] = null,
        ["lora_alpha"] = null,
        ["lora_dropout"] = 0.0,
        ["bias"] = "none",
        ["use_rslora"] = null,
        ["use_dora"] = null,
        ["init_lora_weights"] = true,
        ["modules_to_save"] = null,
        ["revision"] = null,
    };

    // An adapter that came in goes out as it was: a key that says the same stays as it is, an absent flag that is off stays absent.
    private static void Set(JsonObject config, string key, JsonValue value)
    {
        if (config.TryGetPropertyValue(key, out var now) ? !JsonNode.DeepEquals(now, value) : value.GetValueKind() != JsonValueKind.False) config[key] = value;
    }

    private static JsonValue Number(double value) => Math.Round(value) == value && Math.Abs(value) < 1e15 ? JsonValue.Create((long)value) : JsonValue.Create(value);

    // By the last part of their names where that says the same, so that the file stays short.
    private static JsonNode Targets(AdapterLayout layout)
    {
        if (layout.Spec.TargetPattern is { } pattern) return JsonValue.Create(pattern);
        return Words(layout.Spec.TargetModules.Count > 0 ? layout.Spec.TargetModules : layout.Targets.Select(static target => AdapterLayout.LastPart(target.Module)));
    }

    private static JsonArray Words(IEnumerable<string> words) =>
        new([.. words.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Select(static word => JsonValue.Create(word))]);
}
