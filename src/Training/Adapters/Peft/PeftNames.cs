using System.Text.RegularExpressions;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>The names that PEFT gives the tensors of <c>adapter_model.safetensors</c>.</summary>
internal static partial class PeftNames
{
    private const string Prefix = "base_model.model.";

    /// <summary>The name of a tensor of a layer; a router has none.</summary>
    public static string Of(LinearShape layer, string role) => Prefix + layer.Module + (role, layer.Kind) switch
    {
        (Roles.A, LayerKind.Embedding) => ".lora_embedding_A",
        (Roles.B, LayerKind.Embedding) => ".lora_embedding_B",
        (Roles.A, _) => ".lora_A.weight",
        (Roles.B, _) => ".lora_B.weight",
        (Roles.Magnitude, _) => ".lora_magnitude_vector",
        _ => throw new ArgumentOutOfRangeException(nameof(role), role, "PEFT has no such tensor."),
    };

    /// <summary>
    /// The module and the factor of a name; null for a name of another form. A state dict that was saved as it is in memory has the
    /// adapter's own name in each, and one that was taken from the base lacks PEFT's prefix.
    /// </summary>
    public static (string Module, string Role)? Parse(string name) => Form().Match(name) is { Success: true } form
        ? (form.Groups["module"].Value, form.Groups["factor"].Value switch { "A" => Roles.A, "B" => Roles.B, _ => Roles.Magnitude })
        : null;

    /// <summary>The adapter's own name in a tensor's; null where it has none.</summary>
    public static string? AdapterIn(string name) =>
        Form().Match(name).Groups["adapter"] is { Success: true } adapter ? adapter.Value : null;

    /// <summary>
    /// The parameter of the base model of a name such as <c>base_model.model.lm_head.base_layer.weight</c>, which PEFT saves beside an
    /// adapted embedding or LM head, and of <c>base_model.model.lm_head.weight</c>, as it saves one that is not adapted.
    /// </summary>
    public static string? BaseParameter(string name)
    {
        if (name.Contains(".lora_", StringComparison.Ordinal)) return null;
        foreach (var suffix in (string[])[".weight", ".bias"])
        {
            if ((ModuleBefore(name, ".base_layer" + suffix) ?? ModuleBefore(name, suffix)) is { } module) return module + suffix;
        }

        return null;
    }

    /// <summary>Whether a tensor is of an adapter on the embedding or the LM head, or of what that adapter is on.</summary>
    public static bool AdaptsEmbeddingOrHead(string name) =>
        (name.Contains(".lora_", StringComparison.Ordinal) || name.Contains(".base_layer.", StringComparison.Ordinal))
        && name.Split('.').Any(static part => part
            is "lora_embedding_A" or "lora_embedding_B" or "lm_head" or "embed_out" or "embed_tokens" or "wte" or "embed_in");

    private static string? ModuleBefore(string name, string suffix)
    {
        var bare = name.StartsWith(Prefix, StringComparison.Ordinal) ? name[Prefix.Length..] : name;
        return bare.EndsWith(suffix, StringComparison.Ordinal) && bare.Length > suffix.Length ? bare[..^suffix.Length] : null;
    }

    [GeneratedRegex(
        @"^(?:base_model\.model\.)?(?<module>[^.].*?)\.lora_(?:(?<factor>[AB])(?:\.(?<adapter>[^.]+))?\.weight"
        + @"|embedding_(?<factor>[AB])(?:\.(?<adapter>[^.]+))?|(?<factor>magnitude_vector)(?:\.(?<adapter>[^.]+))??(?:\.weight)?)$",
        RegexOptions.CultureInvariant)]
    private static partial Regex Form();
}
