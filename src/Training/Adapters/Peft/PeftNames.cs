using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>The names that PEFT gives the tensors of <c>adapter_model.safetensors</c>.</summary>
internal static class PeftNames
{
    private const string Prefix = "base_model.model.";

    private static readonly (string Suffix, Factor Factor)[] Suffixes =
    [
        (".lora_A.weight", Factor.A), (".lora_B.weight", Factor.B), (".lora_embedding_A", Factor.A), (".lora_embedding_B", Factor.B),
        (".lora_magnitude_vector", Factor.Magnitude), (".lora_magnitude_vector.weight", Factor.Magnitude),
    ];

    /// <summary>The name of a tensor of a layer; a router has none.</summary>
    public static string Of(LinearShape layer, Factor factor) => Prefix + layer.Module + (factor, layer.Kind) switch
    {
        (Factor.A, LayerKind.Embedding) => ".lora_embedding_A",
        (Factor.B, LayerKind.Embedding) => ".lora_embedding_B",
        (Factor.A, _) => ".lora_A.weight",
        (Factor.B, _) => ".lora_B.weight",
        (Factor.Magnitude, _) => ".lora_magnitude_vector",
        _ => throw new ArgumentOutOfRangeException(nameof(factor), factor, "PEFT has no such tensor."),
    };

    /// <summary>The module and the factor of a name; null for a name of another form.</summary>
    public static (string Module, Factor Factor)? Parse(string name)
    {
        foreach (var (suffix, factor) in Suffixes)
        {
            if (Between(name, suffix) is { } module) return (module, factor);
        }

        return null;
    }

    /// <summary>
    /// The parameter of the base model of a name such as <c>base_model.model.lm_head.base_layer.weight</c>, which PEFT saves beside an
    /// adapted embedding or LM head, and of <c>base_model.model.lm_head.weight</c>, as it saves one that is not adapted.
    /// </summary>
    public static string? BaseParameter(string name)
    {
        if (name.Contains(".lora_", StringComparison.Ordinal)) return null;
        foreach (var suffix in (string[])[".weight", ".bias"])
        {
            if ((Between(name, ".base_layer" + suffix) ?? Between(name, suffix)) is { } module) return module + suffix;
        }

        return null;
    }

    /// <summary>Whether a tensor is on the embedding or the LM head, adapted or as it is.</summary>
    public static bool IsOnEmbeddingOrHead(string name) =>
        name.Split('.').Any(static part => part is "lora_embedding_A" or "lora_embedding_B" or "lm_head" or "embed_out" or "embed_tokens" or "wte" or "embed_in");

    private static string? Between(string name, string suffix) =>
        name.StartsWith(Prefix, StringComparison.Ordinal) && name.EndsWith(suffix, StringComparison.Ordinal) && name.Length > Prefix.Length + suffix.Length
            ? name[Prefix.Length..^suffix.Length]
            : null;
}
