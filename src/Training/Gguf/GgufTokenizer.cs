using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>
/// The tokenizer of a GGUF file as the documents of a Hugging Face folder, made of its metadata. Nothing is guessed: what the metadata
/// does not say is absent, and what would be computed otherwise is refused by its key.
/// </summary>
internal static class GgufTokenizer
{
    /// <summary>Which kind of tokenizer it is.</summary>
    public const string ModelKey = "tokenizer.ggml.model";

    /// <summary>What llama.cpp calls the tokenizer of a model that has none.</summary>
    public const string None = "no_vocab";

    private const string Document = "tokenizer.json";
    private const string Configuration = "tokenizer_config.json";
    private const string Generation = "generation_config.json";
    private static readonly JsonWriterOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Names of the documents that the file has something for.</summary>
    public static IEnumerable<string> Documents(GgufMetadata metadata)
    {
        if (metadata.Has(GgufVocabulary.TokensKey) || (metadata.OptionalText(ModelKey) ?? None) != None)
        {
            yield return Document;
            yield return Configuration;
        }

        var roles = GgufRoles.Read(metadata);
        if ((roles.Begin ?? roles.Padding) is not null || roles.Ends.Count > 0) yield return Generation;
        foreach (var name in GgufChatTemplates.Documents(metadata)) yield return name;
    }

    /// <summary>The text of a document.</summary>
    /// <param name="metadata">The file's.</param>
    /// <param name="name">As a folder calls it.</param>
    /// <returns>Null where the file has nothing for it.</returns>
    /// <exception cref="BadInputException">The metadata says what cannot be or what is not implemented; the key is named.</exception>
    public static string? Text(GgufMetadata metadata, string name) => Text(metadata, name, preTokenizer: null);

    /// <inheritdoc cref="Text(GgufMetadata, string)"/>
    /// <param name="metadata">The file's.</param>
    /// <param name="name">As a folder calls it.</param>
    /// <param name="preTokenizer">The name of the pre-tokenizer, where the caller knows it and the file does not say.</param>
    internal static string? Text(GgufMetadata metadata, string name, string? preTokenizer) => name switch
    {
        _ when !Documents(metadata).Contains(name) => null,
        Document => TokenizerDocument(metadata, preTokenizer),
        Configuration => ConfigurationDocument(metadata),
        Generation => GenerationDocument(metadata),
        _ => GgufChatTemplates.Text(metadata, name),
    };

    private static string TokenizerDocument(GgufMetadata metadata, string? preTokenizer) => metadata.Text(ModelKey) switch
    {
        "gpt2" => Json(json => GgufTokenizerJson.WriteBytePairs(json, metadata, GgufPreTokenizer.Of(metadata, preTokenizer))),
        "llama" => Json(json => GgufTokenizerJson.WriteSentencePieces(json, metadata)),
        var other => throw metadata.Wrong(ModelKey, $"\"{other}\"", "gpt2 or llama; no other tokenizer is implemented"),
    };

    // Only tokens that tokenizer.json adds are named: a reader adds every one that is named here, and would then find an ordinary
    // token, such as "!" in the role of padding, in the text before the merges do. Their ids stand in the other documents.
    private static string ConfigurationDocument(GgufMetadata metadata)
    {
        var (vocabulary, roles) = (GgufVocabulary.Read(metadata), GgufRoles.Read(metadata));
        return Json(json =>
        {
            Spell("bos_token", roles.Begin);
            json.WriteBoolean("clean_up_tokenization_spaces", false);
            Spell("eos_token", roles.End);
            Spell("pad_token", roles.Padding);
            json.WriteString("tokenizer_class", "PreTrainedTokenizerFast");
            Spell("unk_token", roles.Unknown);

            void Spell(string key, int? id)
            {
                if (id is { } token && vocabulary.IsAdded(token)) json.WriteString(key, vocabulary.Tokens[token]);
            }
        });
    }

    private static string GenerationDocument(GgufMetadata metadata)
    {
        var roles = GgufRoles.Read(metadata);
        return Json(json =>
        {
            if (roles.Begin is { } begin) json.WriteNumber("bos_token_id", begin);
            if (roles.Ends is [var end]) json.WriteNumber("eos_token_id", end);
            else if (roles.Ends.Count > 1)
            {
                json.WriteStartArray("eos_token_id");
                foreach (var id in roles.Ends) json.WriteNumberValue(id);
                json.WriteEndArray();
            }

            if (roles.Padding is { } padding) json.WriteNumber("pad_token_id", padding);
        });
    }

    private static string Json(Action<Utf8JsonWriter> write)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using var json = new Utf8JsonWriter(bytes, Plain);
        json.WriteStartObject();
        write(json);
        json.WriteEndObject();
        json.Flush();
        return Encoding.UTF8.GetString(bytes.WrittenSpan);
    }
}
