using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>A token with a role: its spelling, or its id where only the model's configuration names it.</summary>
internal sealed record SpecialToken(string? Spelling, int? Id);

/// <summary>
/// The tokens with a role, from <c>tokenizer_config.json</c>, else <c>special_tokens_map.json</c>, else <c>config.json</c>.
/// </summary>
internal sealed record SpecialTokens(SpecialToken Begin, SpecialToken End, SpecialToken Pad)
{
    private static readonly string[] Keys = ["bos_token", "eos_token", "pad_token"];

    // What chat templates may ask for besides.
    private static readonly string[] OtherKeys = ["unk_token", "sep_token", "cls_token", "mask_token"];

    public static SpecialTokens Load(ModelSource source)
    {
        var (first, second) = (Read(source, "tokenizer_config.json", Keys), Read(source, "special_tokens_map.json", Keys));
        var ids = ReadIds(source, "config.json");
        SpecialToken Token(string key) =>
            new(first.GetValueOrDefault(key) ?? second.GetValueOrDefault(key), ids.TryGetValue(key, out var id) ? id : null);
        return new SpecialTokens(Token("bos_token"), Token("eos_token"), Token("pad_token"));
    }

    /// <summary>
    /// Every token with a role by its key, <c>bos_token</c> and so on, as spelled in the same files but <c>config.json</c>.
    /// </summary>
    /// <exception cref="BadInputException">A file is not valid.</exception>
    public static IReadOnlyDictionary<string, string> Spellings(ModelSource source)
    {
        var spellings = Read(source, "special_tokens_map.json", [.. Keys, .. OtherKeys]);
        foreach (var (key, spelling) in Read(source, "tokenizer_config.json", [.. Keys, .. OtherKeys]))
            spellings[key] = spelling;
        return spellings;
    }

    private static Dictionary<string, string> Read(ModelSource source, string name, IReadOnlyList<string> keys)
    {
        var spellings = new Dictionary<string, string>(StringComparer.Ordinal);
        if (!source.Has(name)) return spellings;
        var path = source.Called(name);
        try
        {
            using var document = JsonDocument.Parse(source.Text(name));
            foreach (var key in keys)
            {
                if (!document.RootElement.TryGetProperty(key, out var value)) continue;
                // Either the spelling, or a whole added token with its spelling as content.
                if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("content", out var content)) value = content;
                if (value.ValueKind == JsonValueKind.String) spellings.Add(key, value.GetString()!);
                else if (value.ValueKind != JsonValueKind.Null)
                    throw new BadInputException($"{path}: {key} is {value.ValueKind}, expected a token");
            }

            return spellings;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message}", exception);
        }
    }

    private static Dictionary<string, int> ReadIds(ModelSource source, string name)
    {
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        if (!source.Has(name)) return ids;
        var path = source.Called(name);
        try
        {
            using var document = JsonDocument.Parse(source.Text(name));
            foreach (var key in Keys)
            {
                if (!document.RootElement.TryGetProperty(key + "_id", out var value)) continue;
                // several end tokens: the first is the tokenizer's
                if (value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0) value = value[0];
                if (value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id)) ids.Add(key, id);
            }

            return ids;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }
}
