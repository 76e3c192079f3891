namespace FedRLora.Training.Adapters.Peft;

/// <summary>What becomes of an adapter whose configuration has a key.</summary>
internal enum PeftMeaning
{
    /// <summary>The value is part of what is computed; one that is not implemented is refused by the key's name.</summary>
    Computed,

    /// <summary>Any value is kept and changes nothing.</summary>
    WithoutInfluence,

    /// <summary>Read, and said in a warning where the key is on.</summary>
    Warned,

    /// <summary>Refused by the key's name where it is on.</summary>
    Refused,
}

/// <summary>
/// Every key that PEFT up to 0.21 writes into the <c>adapter_config.json</c> of a LoRA adapter. One that is not here is refused where it is
/// on: what a later PEFT means by it is not known.
/// </summary>
internal static class PeftOptions
{
    public const string Start = "init_lora_weights";
    public const string Bias = "bias";
    public const string FanInFanOut = "fan_in_fan_out";
    public const string EnsureWeightTying = "ensure_weight_tying";
    public const string ExcludeModules = "exclude_modules";
    public const string BaseModel = "base_model_name_or_path";
    public const string LoraGa = "lora_ga_config";

    /// <summary>By name.</summary>
    public static IReadOnlyDictionary<string, PeftMeaning> Known { get; } = new Dictionary<string, PeftMeaning>(StringComparer.Ordinal)
    {
        ["peft_type"] = PeftMeaning.Computed,
        ["r"] = PeftMeaning.Computed,
        ["lora_alpha"] = PeftMeaning.Computed,
        ["use_rslora"] = PeftMeaning.Computed,
        ["use_dora"] = PeftMeaning.Computed,
        ["target_modules"] = PeftMeaning.Computed,
        [ExcludeModules] = PeftMeaning.Computed,
        ["layers_to_transform"] = PeftMeaning.Computed,
        ["layers_pattern"] = PeftMeaning.Computed,
        ["rank_pattern"] = PeftMeaning.Computed,
        ["alpha_pattern"] = PeftMeaning.Computed,
        [FanInFanOut] = PeftMeaning.Computed,
        [Start] = PeftMeaning.Computed,
        [Bias] = PeftMeaning.Computed,
        [EnsureWeightTying] = PeftMeaning.Computed,

        // Of training, of where a file came from, or the details of an option that is off.
        [BaseModel] = PeftMeaning.WithoutInfluence,
        ["task_type"] = PeftMeaning.WithoutInfluence,
        ["inference_mode"] = PeftMeaning.WithoutInfluence,
        ["revision"] = PeftMeaning.WithoutInfluence,
        ["auto_mapping"] = PeftMeaning.WithoutInfluence,
        ["peft_version"] = PeftMeaning.WithoutInfluence,
        ["lora_dropout"] = PeftMeaning.WithoutInfluence,
        ["eva_config"] = PeftMeaning.WithoutInfluence,
        ["megatron_core"] = PeftMeaning.WithoutInfluence,
        ["qalora_group_size"] = PeftMeaning.WithoutInfluence,
        ["runtime_config"] = PeftMeaning.WithoutInfluence,
        ["merge_weights"] = PeftMeaning.WithoutInfluence,

        [LoraGa] = PeftMeaning.Warned,

        ["modules_to_save"] = PeftMeaning.Refused,
        ["layer_replication"] = PeftMeaning.Refused,
        ["megatron_config"] = PeftMeaning.Refused,
        ["trainable_token_indices"] = PeftMeaning.Refused,
        ["target_parameters"] = PeftMeaning.Refused,
        ["lora_bias"] = PeftMeaning.Refused,
        ["use_qalora"] = PeftMeaning.Refused,
        ["use_bdlora"] = PeftMeaning.Refused,
        ["alora_invocation_tokens"] = PeftMeaning.Refused,
        ["arrow_config"] = PeftMeaning.Refused,
        ["corda_config"] = PeftMeaning.Refused,
        ["loftq_config"] = PeftMeaning.Refused,
        ["kasa_config"] = PeftMeaning.Refused,
        ["velora_config"] = PeftMeaning.Refused,
        ["monteclora_config"] = PeftMeaning.Refused,
    };

    /// <summary>Whether PEFT takes an empty object as the option with its defaults; of other options it means that they are off.</summary>
    public static bool IsOnWhereEmpty(string key) => key is "kasa_config" or "velora_config" or "monteclora_config";

    /// <summary>The option that leaves a tensor of such a name in the file; null where none is known.</summary>
    /// <param name="tensor">A name that is not one of LoRA's or DoRA's.</param>
    public static string? Behind(string tensor)
    {
        foreach (var part in tensor.Split('.'))
        {
            if (part.StartsWith("lora_diag", StringComparison.Ordinal)) return "kasa_config";
            if (part.StartsWith("lora_monteclora", StringComparison.Ordinal)) return "monteclora_config";
            if (part.StartsWith("lora_arrow", StringComparison.Ordinal)) return "arrow_config";
            if (part is "token_adapter" || part.StartsWith("trainable_tokens", StringComparison.Ordinal)) return "trainable_token_indices";
            if (part is "modules_to_save") return "modules_to_save";
        }

        if (!tensor.Contains(".lora_", StringComparison.Ordinal)) return "peft_type";
        return tensor.EndsWith(".bias", StringComparison.Ordinal) ? "lora_bias" : null;
    }
}
