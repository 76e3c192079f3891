using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>Spellings of the tokens with a role, from <c>tokenizer_config.json</c> or else <c>special_tokens_map.json</c>.</summary>
internal sealed record SpecialTokens(string? Begin, string? End, string? Pad)
{
    public static SpecialTokens Load(string folder)
    {
        var (first, second) = (Read(Path.Combine(folder, "tokenizer_config.json")), Read(Path.Combine(folder, "special_tokens_map.json")));
        string? Spelling(string key) => first.GetValueOrDefault(key) ?? second.GetValueOrDefault(key);
        return new SpecialTokens(Spelling("bos_token"), Spelling("eos_token"), Spelling("pad_token"));
    }

    private static Dictionary<string, string> Read(string path)
    {
        var spellings = new Dictionary<string, string>(StringComparer.Ordinal);
        if (!File.Exists(path)) return spellings;
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllText(path));
            foreach (var key in (string[])["bos_token", "eos_token", "pad_token"])
            {
                if (!document.RootElement.TryGetProperty(key, out var value)) continue;
                // Either the spelling, or a whole added token with its spelling as content.
                if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("content", out var content)) value = content;
                if (value.ValueKind == JsonValueKind.String) spellings.Add(key, value.GetString()!);
                else if (value.ValueKind != JsonValueKind.Null) throw new BadInputException($"{path}: {key} is {value.ValueKind}, expected a token");
            }

            return spellings;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message}", exception);
        }
    }
}
