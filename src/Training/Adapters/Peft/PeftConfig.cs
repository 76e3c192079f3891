using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>What an <c>adapter_config.json</c> says.</summary>
/// <param name="Spec">One head routed by task, without dropout.</param>
/// <param name="BaseModel">What it names as its base model; null where it names none.</param>
internal sealed record PeftSettings(AdapterSpec Spec, string? BaseModel)
{
    /// <summary>
    /// Whose biases were trained: <c>none</c>, <c>all</c> of the model, or <c>lora_only</c>, those of the adapted layers.
    /// </summary>
    public required string Bias { get; init; }

    /// <summary>Whether the adapted layers store their weights transposed.</summary>
    public required bool IsConv1D { get; init; }

    /// <summary>Whether an adapter on the embedding is one on a tied LM head too, and the other way round.</summary>
    public required bool TiesWeights { get; init; }

    /// <summary>What whoever uses the adapter has to know, a line each.</summary>
    public required IReadOnlyList<string> Notes { get; init; }
}

/// <summary>
/// <c>adapter_config.json</c> both ways. What would change the numbers and is not implemented is refused by name, and so is a key
/// that nothing here knows and that is switched on; keys that nothing depends on are kept.
/// </summary>
internal static class PeftConfig
{
    public const string FileName = "adapter_config.json";

    // Of the PEFT whose meaning of the keys is written and was compared with.
    private const string Version = "0.21.2";

    // Starts that leave the base as it is; the values are those of the saved tensors.
    private static readonly string[] PlainStarts = ["gaussian", "orthogonal", "eva", "mica"];

    private const string LoraGa = "lora_ga";

    private const string Convert = "Save it as plain LoRA, in PEFT by "
        + "save_pretrained(..., path_initial_model_for_weight_conversion=<the adapter before training>)";

    /// <summary>What the text says in our terms: one head routed by task.</summary>
    /// <param name="json">The text.</param>
    /// <param name="path">What messages call it.</param>
    /// <exception cref="BadInputException">Not valid, or more than LoRA and DoRA.</exception>
    public static PeftSettings Parse(ReadOnlyMemory<byte> json, string path)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var reader = new PeftConfigReader(document.RootElement, path);
            reader.OneOf("peft_type", ["LORA"], required: true);
            var notes = NotesOnStart(reader, path);
            foreach (var (key, meaning) in PeftOptions.Known)
            {
                if (meaning == PeftMeaning.Refused) reader.Off(key, PeftOptions.IsOnWhereEmpty(key));
            }

            var (names, pattern) = reader.Modules("target_modules");
            if (names is null && pattern is null)
                throw new BadInputException($"{path}: target_modules names nothing; name the adapted modules");
            var (excluded, excludedPattern) = reader.Modules(PeftOptions.ExcludeModules);
            var spec = new AdapterSpec
            {
                Method = "lora",
                Rank = reader.Rank("r"),
                Alpha = reader.Alpha("lora_alpha"),
                Scaling = reader.Flag("use_rslora") ? Scaling.AlphaOverSqrtRank : Scaling.AlphaOverRank,
                TargetModules = names ?? [],
                TargetPattern = pattern,
                ExcludeModules = excluded ?? [],
                ExcludePattern = excludedPattern,
                LayersToTransform = reader.Integers("layers_to_transform"),
                LayersPattern = reader.Patterns("layers_pattern"),
                RankPattern = reader.Ranks("rank_pattern"),
                AlphaPattern = reader.Alphas("alpha_pattern"),
                Decomposed = reader.Flag("use_dora"),
                Start = Start.Exact,
                Dropout = Dropout.None,
            };
            var settings = new PeftSettings(spec, reader.Text(PeftOptions.BaseModel))
            {
                Bias = reader.OneOf(PeftOptions.Bias, ["none", "all", "lora_only"], required: false) ?? "none",
                IsConv1D = reader.Flag(PeftOptions.FanInFanOut),
                TiesWeights = reader.Flag(PeftOptions.EnsureWeightTying),
                Notes = notes,
            };
            reader.RefuseUnknown();
            return settings;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a string that is not valid Unicode.
            throw new BadInputException($"{path}: not valid JSON: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }

    // PEFT changes the base by some starts, each time it loads the adapter, so that the tensors alone say something else.
    private static List<string> NotesOnStart(PeftConfigReader reader, string path)
    {
        var start = reader.Word(PeftOptions.Start);
        var name = start?.ToLowerInvariant();
        var said = $"{path}: {PeftOptions.Start} is \"{BadInputException.Shown(start ?? "")}\"";
        if (name == LoraGa || reader.IsOn(PeftOptions.LoraGa))
        {
            var key = name == LoraGa ? said : $"{path}: {PeftOptions.LoraGa} is set";
            if (name is null or LoraGa || PlainStarts.Contains(name))
            {
                return
                [
                    $"{key}: training with this start took a part out of the base, which the file does not hold; the adapter is read "
                    + $"on the base as it is, as PEFT reads it, and may have lost what was trained. {Convert}",
                ];
            }
        }

        if (name is null || PlainStarts.Contains(name)) return [];
        if (name.StartsWith("pissa", StringComparison.Ordinal) || name is "olora" or "corda" or "loftq")
        {
            var options = reader.IsOn(name + "_config") ? $" (with {name}_config)" : "";
            throw new BadInputException($"{said}{options}: the adapter belongs to a base that this start has changed. {Convert}");
        }

        throw new BadInputException(
            $"{said}, expected true, false, {string.Join(", ", PlainStarts)}; what another start does to the base is not known");
    }

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
            config[PeftOptions.ExcludeModules] = spec.ExcludePattern is { } excluded ? JsonValue.Create(excluded)
                : spec.ExcludeModules.Count == 0 ? null : Words(spec.ExcludeModules);
            config["layers_to_transform"] = spec.LayersToTransform.Count == 0
                ? null
                : new JsonArray([.. spec.LayersToTransform.Select(static layer => JsonValue.Create(layer))]);
            config["layers_pattern"] = spec.LayersPattern.Count == 0 ? null : Words(spec.LayersPattern);
            config["rank_pattern"] = new JsonObject(
                spec.RankPattern.Select(static entry => KeyValuePair.Create(entry.Key, (JsonNode?)JsonValue.Create(entry.Value))));
            config["alpha_pattern"] = new JsonObject(
                spec.AlphaPattern.Select(static entry => KeyValuePair.Create(entry.Key, (JsonNode?)Number(entry.Value))));
            config["fan_in_fan_out"] = layout.Targets.Any(static target => target.Layer.Kind == LayerKind.Conv1D);
        }

        return config.ToJsonString(new() { WriteIndented = true });
    }

    private static JsonObject Defaults(string baseModel) => new()
    {
        ["peft_type"] = "LORA",
        ["task_type"] = "CAUSAL_LM",
        ["base_model_name_or_path"] = baseModel,
        ["peft_version"] = Version,
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
        if (config.TryGetPropertyValue(key, out var now) ? !JsonNode.DeepEquals(now, value) : value.GetValueKind() != JsonValueKind.False)
            config[key] = value;
    }

    private static JsonValue Number(double value) =>
        Math.Round(value) == value && Math.Abs(value) < 1e15 ? JsonValue.Create((long)value) : JsonValue.Create(value);

    // By the last part of their names where that says the same, so that the file stays short.
    private static JsonNode Targets(AdapterLayout layout)
    {
        if (layout.Spec.TargetPattern is { } pattern) return JsonValue.Create(pattern);
        return Words(layout.Spec.TargetModules.Count > 0
            ? layout.Spec.TargetModules
            : layout.Targets.Select(static target => AdapterLayout.LastPart(target.Module)));
    }

    private static JsonArray Words(IEnumerable<string> words) =>
        new([.. words.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Select(static word => JsonValue.Create(word))]);
}
