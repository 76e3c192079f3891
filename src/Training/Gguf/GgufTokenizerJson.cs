using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>Writes the sections of a <c>tokenizer.json</c> from the metadata of a GGUF file.</summary>
internal static class GgufTokenizerJson
{
    private const string Prefix = "tokenizer.ggml.";

    // Flags that are read elsewhere, or are on wherever nothing else is said.
    private static readonly string[] Known = ["add_bos_token", "add_eos_token", "add_space_prefix", "escape_whitespaces"];

    private const string Space = "\u2581";
    private const string AddSpaceKey = "tokenizer.ggml.add_space_prefix";

    // What would change ids and is not computed.
    private static readonly string[] Refused = ["tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.add_sep_token"];

    /// <summary>A vocabulary in GPT-2's byte alphabet.</summary>
    public static void WriteBytePairs(Utf8JsonWriter json, GgufMetadata metadata, GgufPreTokenizer preTokenizer)
    {
        RefuseWhatIsNotComputed(metadata, [.. Refused, AddSpaceKey]);
        var vocabulary = GgufVocabulary.Read(metadata);
        WriteAdded(json, vocabulary);
        json.WritePropertyName("normalizer");
        json.WriteRawValue(preTokenizer.Composes ? """{"type":"NFC"}""" : "null");
        json.WritePropertyName("pre_tokenizer");
        preTokenizer.Write(json);
        WriteAround(json, vocabulary, preTokenizer.Begins);
        json.WritePropertyName("decoder");
        json.WriteRawValue("""{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}""");
        WriteModel(
            json, vocabulary, vocabulary.Merges(), unknown: null, byteFallback: false, ignoresMerges: preTokenizer.IgnoresMerges);
    }

    /// <summary>A vocabulary of SentencePiece, which merges by score.</summary>
    public static void WriteSentencePieces(Utf8JsonWriter json, GgufMetadata metadata)
    {
        RefuseWhatIsNotComputed(metadata, Refused);
        var vocabulary = GgufVocabulary.Read(metadata);
        var addsSpace = metadata.OptionalFlag(AddSpaceKey) ?? true;
        WriteAdded(json, vocabulary);
        json.WritePropertyName("normalizer");
        const string Mark = $$$"""{"type":"Replace","pattern":{"String":" "},"content":"{{{Space}}}"}""";
        json.WriteRawValue(addsSpace
            ? $$$"""{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"{{{Space}}}"},{{{Mark}}}]}"""
            : Mark);
        json.WriteNull("pre_tokenizer");
        WriteAround(json, vocabulary, begins: true);
        json.WritePropertyName("decoder");
        json.WriteRawValue(
            $$$"""{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"{{{Space}}}"},"content":" "},"""
            + """{"type":"ByteFallback"},{"type":"Fuse"}"""
            + (addsSpace ? """,{"type":"Strip","content":" ","start":1,"stop":0}]}""" : "]}"));
        var pieces = new SentencePieceMerges(vocabulary);
        WriteModel(json, vocabulary, pieces.Ordered(), UnknownOf(vocabulary), byteFallback: pieces.HasBytes, ignoresMerges: false);
    }

    private static void WriteAdded(Utf8JsonWriter json, GgufVocabulary vocabulary)
    {
        json.WriteString("version", "1.0");
        json.WriteNull("truncation");
        json.WriteNull("padding");
        json.WriteStartArray("added_tokens");
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
        {
            if (!vocabulary.IsAdded(id)) continue;
            json.WriteStartObject();
            json.WriteNumber("id", id);
            json.WriteString("content", vocabulary.Tokens[id]);
            foreach (var flag in (string[])["single_word", "lstrip", "rstrip", "normalized"]) json.WriteBoolean(flag, false);
            json.WriteBoolean("special", vocabulary.Kinds[id] != GgufTokenKind.UserDefined);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    // A token that the file wants around a text but does not name is none.
    private static void WriteAround(Utf8JsonWriter json, GgufVocabulary vocabulary, bool begins)
    {
        var (metadata, roles) = (vocabulary.Metadata, GgufRoles.Read(vocabulary.Metadata));
        var begin = metadata.OptionalFlag("tokenizer.ggml.add_bos_token") ?? begins ? roles.Begin : null;
        var end = metadata.OptionalFlag("tokenizer.ggml.add_eos_token") ?? false ? roles.End : null;
        if ((begin ?? end) is null)
        {
            json.WriteNull("post_processor");
            return;
        }

        json.WriteStartObject("post_processor");
        json.WriteString("type", "TemplateProcessing");
        json.WriteStartArray("single");
        Sequence("A", 0);
        json.WriteEndArray();
        json.WriteStartArray("pair");
        Sequence("A", 0);
        Sequence("B", 1);
        json.WriteEndArray();
        json.WriteStartObject("special_tokens");
        foreach (var id in new[] { begin, end }.OfType<int>().Distinct())
        {
            json.WriteStartObject(vocabulary.Tokens[id]);
            json.WriteString("id", vocabulary.Tokens[id]);
            json.WriteStartArray("ids");
            json.WriteNumberValue(id);
            json.WriteEndArray();
            json.WriteStartArray("tokens");
            json.WriteStringValue(vocabulary.Tokens[id]);
            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteEndObject();

        void Sequence(string name, int type)
        {
            if (begin is { } first) Item("SpecialToken", vocabulary.Tokens[first], type);
            Item("Sequence", name, type);
            if (end is { } last) Item("SpecialToken", vocabulary.Tokens[last], type);
        }

        void Item(string kind, string id, int type)
        {
            json.WriteStartObject();
            json.WriteStartObject(kind);
            json.WriteString("id", id);
            json.WriteNumber("type_id", type);
            json.WriteEndObject();
            json.WriteEndObject();
        }
    }

    private static void WriteModel(
        Utf8JsonWriter json, GgufVocabulary vocabulary, IReadOnlyList<(string Left, string Right)> merges, string? unknown,
        bool byteFallback, bool ignoresMerges)
    {
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteString("unk_token", unknown);
        json.WriteNull("continuing_subword_prefix");
        json.WriteNull("end_of_word_suffix");
        json.WriteBoolean("fuse_unk", unknown is not null);
        json.WriteBoolean("byte_fallback", byteFallback);
        json.WriteBoolean("ignore_merges", ignoresMerges);
        json.WriteStartObject("vocab");
        for (var id = 0; id < vocabulary.Tokens.Count; id++) json.WriteNumber(vocabulary.Tokens[id], id);
        json.WriteEndObject();
        json.WriteStartArray("merges");
        foreach (var (left, right) in merges)
        {
            json.WriteStartArray();
            json.WriteStringValue(left);
            json.WriteStringValue(right);
            json.WriteEndArray();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    // The one that the file names, else its only one of that kind.
    private static string? UnknownOf(GgufVocabulary vocabulary)
    {
        if (GgufRoles.Read(vocabulary.Metadata).Unknown is { } named) return vocabulary.Tokens[named];
        var unknown = Enumerable.Range(0, vocabulary.Tokens.Count).Where(id => vocabulary.Kinds[id] == GgufTokenKind.Unknown).ToList();
        return unknown is [var only] ? vocabulary.Tokens[only] : null;
    }

    private static void RefuseWhatIsNotComputed(GgufMetadata metadata, IEnumerable<string> keys)
    {
        foreach (var key in keys.Concat(metadata.KeysThatAreOn(Prefix).Where(static key => !Known.Contains(key[Prefix.Length..]))))
        {
            if (metadata.OptionalFlag(key) == true) throw metadata.Wrong(key, "true", "false; it is not implemented for this tokenizer");
        }

        const string Escapes = Prefix + "escape_whitespaces";
        if (metadata.OptionalFlag(Escapes) == false)
            throw metadata.Wrong(Escapes, "false", "true; it is not implemented for this tokenizer");

        const string Replacements = "tokenizer.ggml.precompiled_charsmap";
        if (metadata.CountOf(Replacements) is > 0 and var bytes)
            throw metadata.Wrong(Replacements, $"of {bytes} bytes", "none; it is not implemented for this tokenizer");
    }
}
