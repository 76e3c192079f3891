using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// What the other files of a tokenizer's folder say about its tokens. Older programs kept them there; where <c>tokenizer.json</c> says
/// something else the folder has two tokenizers, and it is refused.
/// </summary>
internal static class TokenizerFolder
{
    private const string Configuration = "tokenizer_config.json";
    private const string SpecialMap = "special_tokens_map.json";
    private const string AddedFile = "added_tokens.json";

    /// <summary>Refuses added tokens that <c>tokenizer.json</c> does not add, and flags that its post-processor contradicts.</summary>
    /// <exception cref="BadInputException">The file, the token and what is said about it are named.</exception>
    public static void Check(ModelSource source, TokenizerParts parts, int? beginId, int? endId)
    {
        Read(
            source,
            AddedFile,
            (path, root) => CheckAdded(path, root.EnumerateObject().Select(static entry => (entry.Name, Id(entry.Value))), parts));
        Read(source, SpecialMap, (path, root) => CheckAdded(path, Named(root), parts));
        Read(source, Configuration, (path, root) =>
        {
            CheckAdded(path, Decoded(root).Concat(Named(root)), parts);
            CheckFlag(path, root, "add_bos_token", beginId, parts.Around.Before);
            CheckFlag(path, root, "add_eos_token", endId, parts.Around.After);
        });
    }

    private static void CheckAdded(string path, IEnumerable<(string Content, int? Id)> tokens, TokenizerParts parts)
    {
        foreach (var (content, id) in tokens)
        {
            var own = parts.Added.Tokens.FirstOrDefault(token => token.Content == content);
            if (own is not null && (id is null || id == own.Id)) continue;
            var says = own is null ? "tokenizer.json does not add it" : $"tokenizer.json gives it id {own.Id}";
            throw new BadInputException(
                $"{path}: adds the token {BadInputException.Shown(content)}{(id is null ? "" : $" with id {id}")}, {says}; "
                + "save the tokenizer again, so that the files agree");
        }
    }

    private static void CheckFlag(string path, JsonElement root, string key, int? token, IReadOnlyList<int> added)
    {
        if (!root.TryGetProperty(key, out var flag) || token is not { } id) return;
        if (flag.ValueKind is not (JsonValueKind.True or JsonValueKind.False) || flag.GetBoolean() == added.Contains(id)) return;
        var adds = added.Contains(id) ? "adds" : "does not add";
        throw new BadInputException($"{path}: {key} is {flag.GetRawText()}, and the post-processor of tokenizer.json {adds} that token; "
            + "save the tokenizer again, so that the files agree");
    }

    // {"512": {"content": ...}}
    private static IEnumerable<(string, int?)> Decoded(JsonElement root)
    {
        if (!root.TryGetProperty("added_tokens_decoder", out var map) || map.ValueKind != JsonValueKind.Object) yield break;
        foreach (var entry in map.EnumerateObject())
        {
            int? id = int.TryParse(entry.Name, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
            if (Content(entry.Value) is { } content) yield return (content, id);
        }
    }

    // Lists of tokens, and since transformers 5 also a map from roles to tokens.
    private static IEnumerable<(string, int?)> Named(JsonElement root)
    {
        foreach (var key in (string[])["additional_special_tokens", "extra_special_tokens"])
        {
            if (!root.TryGetProperty(key, out var tokens)) continue;
            IEnumerable<JsonElement> values = tokens.ValueKind switch
            {
                JsonValueKind.Array => tokens.EnumerateArray(),
                JsonValueKind.Object => tokens.EnumerateObject().Select(static entry => entry.Value),
                _ => [],
            };
            foreach (var content in values.Select(Content).OfType<string>()) yield return (content, null);
        }
    }

    private static string? Content(JsonElement token) => token.ValueKind switch
    {
        JsonValueKind.Object when token.TryGetProperty("content", out var content) => Content(content),
        JsonValueKind.String => token.GetString(),
        _ => null,
    };

    private static int? Id(JsonElement value) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id) ? id : null;

    private static void Read(ModelSource source, string name, Action<string, JsonElement> take)
    {
        if (!source.Has(name)) return;
        var path = source.Called(name);
        try
        {
            using var document = JsonDocument.Parse(source.Text(name));
            if (document.RootElement.ValueKind == JsonValueKind.Object) take(path, document.RootElement);
            else throw new BadInputException($"{path}: {document.RootElement.ValueKind}, expected an object");
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }
}
