using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>
/// <c>adapter_config.json</c> both ways. What would change the numbers and is not implemented is refused by name, and so is a key
/// that nothing here knows and that is switched on; keys that nothing depends on are kept.
/// </summary>
internal static class PeftConfig
{
    public const string FileName = "adapter_config.json";

    // Settings that leave LoRA at these values and change it at any other.
    private static readonly string[] Refused =
    [
        "modules_to_save", "layer_replication", "megatron_config", "trainable_token_indices", "lora_bias", "use_qalora", "target_parameters",
        "alora_invocation_tokens", "use_bdlora", "arrow_config", "monteclora_config", "velora_config", "kasa_config", "corda_config",
        "loftq_config", "lora_ga_config",
    ];

    // Of training, of where a file came from, or the details of a setting above that is off: no influence on what an adapter computes.
    private static readonly string[] Harmless =
    [
        "task_type", "inference_mode", "base_model_name_or_path", "revision", "auto_mapping", "peft_version", "lora_dropout", "eva_config",
        "megatron_core", "qalora_group_size", "runtime_config", "merge_weights",

        // Read elsewhere: by the shapes of the layers, and with the tensors.
        FanInFanOut, EnsureWeightTying,
    ];

    private const string FanInFanOut = "fan_in_fan_out";
    private const string EnsureWeightTying = "ensure_weight_tying";

    // Starts that leave the base as it is; the values are those of the saved tensors.
    private static readonly string[] PlainStarts = ["gaussian", "orthogonal", "eva", "mica"];

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
            reader.Only("peft_type", "LORA", required: true);
            CheckStart(reader, path);
            foreach (var key in Refused) reader.Off(key);
            reader.Only("bias", "none", required: false);
            var (names, pattern) = reader.Modules("target_modules");
            if (names is null && pattern is null) throw new BadInputException($"{path}: target_modules is null; name the adapted modules");
            var (excluded, excludedPattern) = reader.Modules("exclude_modules");
            if (excludedPattern is not null) throw new BadInputException($"{path}: exclude_modules is a regular expression, only a list is implemented; exclude them in target_modules");
            var spec = new AdapterSpec
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
            };
            reader.RefuseUnread(Harmless);
            return (spec, reader.Text("base_model_name_or_path"));
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a string that is not valid Unicode.
            throw new BadInputException($"{path}: not valid JSON: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }

    /// <summary>Whether the text says that the adapted layers store their weights transposed.</summary>
    public static bool IsConv1D(string json) => IsOn(json, FanInFanOut);

    /// <summary>Refuses an option that puts an adapter on the LM head where one is on the embedding, and the other way round.</summary>
    /// <param name="json">The text.</param>
    /// <param name="path">What messages call it.</param>
    /// <param name="tensors">The names of the adapter's tensors.</param>
    /// <exception cref="BadInputException">The option is on, and a tensor is on one of the two.</exception>
    public static void CheckTying(string json, string path, IEnumerable<string> tensors)
    {
        if (!IsOn(json, EnsureWeightTying)) return;
        if (tensors.FirstOrDefault(PeftNames.IsOnEmbeddingOrHead) is { } tied)
            throw new BadInputException(
                $"{path}: {EnsureWeightTying} is true and {BadInputException.Shown(tied)} is on the embedding or the LM head; "
                + "a shared adapter of both is not implemented: train without that option, or without these modules");
    }

    // PEFT changes the base by some starts, each time it loads the adapter, so that the tensors alone say something else.
    private static void CheckStart(PeftConfigReader reader, string path)
    {
        const string Key = "init_lora_weights";
        if (reader.Word(Key) is not { } start || PlainStarts.Contains(start.ToLowerInvariant())) return;
        var said = $"{path}: {Key} is \"{BadInputException.Shown(start)}\"";
        var name = start.ToLowerInvariant();
        if (name.StartsWith("pissa", StringComparison.Ordinal) || name is "olora" or "corda" or "loftq" or "lora_ga")
        {
            var options = reader.IsOn(name + "_config") ? $" (with {name}_config)" : "";
            throw new BadInputException(
                $"{said}{options}: the adapter belongs to a base that this start has changed; save it as plain LoRA, in PEFT by "
                + "save_pretrained(..., path_initial_model_for_weight_conversion=<the adapter before training>)");
        }

        throw new BadInputException(
            $"{said}, expected true, false, {string.Join(", ", PlainStarts)}; what another start does to the base is not known");
    }

    private static bool IsOn(string json, string key) => JsonNode.Parse(json)?[key]?.GetValueKind() == JsonValueKind.True;

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
