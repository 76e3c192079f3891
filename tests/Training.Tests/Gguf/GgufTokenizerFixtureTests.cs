using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Gguf;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>
/// The tokenizers of GGUF files against llama.cpp's ids. Where its second source disagrees, the ids are those of the model's own
/// <c>tokenizer.json</c>: its normal form (Qwen's NFC), which llama.cpp does not apply, and llama.cpp's where tokens that the vocabulary
/// itself defines stand in a SentencePiece text, since a folder's normalizer too puts a space before each stretch of text.
/// </summary>
public sealed class GgufTokenizerFixtureTests
{
    public static TheoryData<string> Folders => Fixtures.Of("gguf/tokenizer");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Ids_and_decoded_texts_of_every_file_match_every_row(string folder)
    {
        var rows = Rows(folder).ToLookup(static row => row.GetProperty("tokenizer").GetString()!);
        var failures = new List<string>();
        var seen = 0;
        foreach (var (name, file, pre) in Files(folder))
        {
            var source = GgufDocuments.Of(file, pre);
            var (tokenizer, plain) = (Tokenizer.Load(source), WithoutControls(source));
            failures.AddRange(rows[name].SelectMany(row => Differences(tokenizer, plain, row))
                .Select(difference => $"{Path.GetFileName(file)}: {difference}"));
            seen += rows[name].Count();
        }

        Assert.True(failures.Count == 0, $"{failures.Count} differences in {seen} rows:\n{string.Join('\n', failures.Take(30))}");
        Assert.True(seen >= rows.Sum(static group => group.Count()), "some rows belong to no file");
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void A_file_without_the_name_of_its_pre_tokenizer_has_no_text(string folder)
    {
        var nameless = Files(folder).Where(static file => file.Pre is not null).ToList();
        Assert.NotEmpty(nameless);
        foreach (var (_, file, _) in nameless)
        {
            var message = Assert.Throws<BadInputException>(() => Tokenizer.Load(GgufDocuments.Of(file))).Message;
            Assert.StartsWith($"{file}: tokenizer.ggml.pre is missing", message, StringComparison.Ordinal);
        }
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void Any_text_has_the_ids_of_the_fixtures_own_document(string folder)
    {
        var seen = 0;
        foreach (var (name, file, pre) in Files(folder))
        {
            var document = Directory.GetFiles(SharedFolder.Of(folder), $"{name}.tokenizer.json", SearchOption.AllDirectories);
            if (document is not [var path]) continue; // SentencePiece has another form; its texts are in SentencePieceMergesTests
            using var reference = new TemporaryFolder();
            File.Copy(path, reference.File("tokenizer.json"));
            var (own, made) = (Tokenizer.Load(reference.Root), Tokenizer.Load(GgufDocuments.Of(file, pre)));
            foreach (var text in RandomTexts.Of(seed: 6, count: 500).Prepend("It's 1234567, naïve  x"))
                Assert.Equal(own.Encode(text, addSpecialTokens: true), made.Encode(text, addSpecialTokens: true));
            seen++;
        }

        Assert.NotEqual(0, seen);
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void A_folder_of_the_documents_is_the_same_tokenizer(string folder)
    {
        var rows = Rows(folder).ToLookup(static row => row.GetProperty("tokenizer").GetString()!);
        foreach (var (name, file, pre) in Files(folder))
        {
            using var written = new TemporaryFolder();
            var source = GgufDocuments.Of(file, pre);
            source.WriteTo(written.Root);
            var (one, other) = (Tokenizer.Load(source), Tokenizer.Load(written.Root));
            foreach (var text in rows[name].Select(static row => row.GetProperty("text").GetString()!))
                Assert.Equal(one.Encode(text, addSpecialTokens: true), other.Encode(text, addSpecialTokens: true));
        }
    }

    private static IEnumerable<string> Differences(Tokenizer tokenizer, Tokenizer plain, JsonElement row)
    {
        var text = row.GetProperty("text").GetString()!;
        var begin = Ids(row, "ids").Take(Ids(row, "ids").Length - Ids(row, "ids_no_special").Length).ToArray();
        var unformed = tokenizer.IsComposed() && !row.GetProperty("second_source_agrees").GetBoolean();
        int[] Expected(string key) => unformed ? Ids(row, "ids_second_source") : Ids(row, key);
        foreach (var (key, ids, expected) in new[]
        {
            ("ids", tokenizer.Encode(text, addSpecialTokens: true), [.. unformed ? begin : [], .. Expected("ids")]),
            ("ids_no_special", tokenizer.Encode(text, addSpecialTokens: false), Expected("ids_no_special")),
            ("ids_special_text_as_plain", plain.Encode(text, addSpecialTokens: false), Expected("ids_special_text_as_plain")),
        })
        {
            if (!ids.AsSpan().SequenceEqual(expected))
                yield return $"{key} of '{text}': {string.Join(' ', ids)}, expected {string.Join(' ', expected)}";
        }

        if (tokenizer.Decode(Ids(row, "ids_no_special"), skipSpecialTokens: false) is var decoded
            && decoded != row.GetProperty("decoded").GetString())
            yield return $"decoded '{decoded}', expected '{row.GetProperty("decoded")}'";

        // Where a begin token stands before a text, llama.cpp keeps the space that it put there, and it drops spaces before marks; a
        // folder's decoder does neither.
        var isCleaned = row.TryGetProperty("decoded_llama_cpp", out _);
        var reference = row.GetProperty(isCleaned ? "decoded" : "decoded_skip_special").GetString();
        var skipped = tokenizer.Decode(Ids(row, "ids"), skipSpecialTokens: true);
        if (skipped != reference && !(begin.Length > 0 && " " + skipped == reference))
            yield return $"decoded_skip_special '{skipped}', expected '{reference}'";
    }

    // Where a file does not name its pre-tokenizer, the fixture does.
    private static IEnumerable<(string Tokenizer, string File, string? Pre)> Files(string folder)
    {
        var tokenizers = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "tokenizers.json"))).RootElement;
        foreach (var tokenizer in tokenizers.EnumerateObject())
        {
            foreach (var name in tokenizer.Value.GetProperty("files").EnumerateArray())
            {
                var file = SharedFolder.Of(folder, name.GetString()!);
                var isNamed = tokenizer.Value.GetProperty("model").GetString() != "gpt2" || MetadataOf(file).Has(GgufPreTokenizer.Key);
                yield return (tokenizer.Name, file, isNamed ? null : tokenizer.Value.GetProperty("pre").GetString());
            }
        }
    }

    private static GgufMetadata MetadataOf(string file) => GgufFile.ReadHeader(file).Metadata;

    private static Tokenizer WithoutControls(GgufDocuments source)
    {
        using var folder = new TemporaryFolder();
        var document = JsonNode.Parse(source.Text("tokenizer.json"))!;
        var added = document["added_tokens"]!.AsArray();
        foreach (var token in added.Where(static token => (bool)token!["special"]!).ToList()) added.Remove(token);
        document["post_processor"] = null;
        File.WriteAllText(folder.File("tokenizer.json"), document.ToJsonString());
        return Tokenizer.Load(folder.Root);
    }

    private static IEnumerable<JsonElement> Rows(string folder) =>
        File.ReadLines(SharedFolder.Of(folder, "tokenizers.jsonl")).Select(static line => JsonDocument.Parse(line).RootElement);

    private static int[] Ids(JsonElement row, string key) => [.. row.GetProperty(key).EnumerateArray().Select(static id => id.GetInt32())];
}

file static class Composition
{
    /// <summary>Whether a tokenizer brings text into form NFC.</summary>
    public static bool IsComposed(this Tokenizer tokenizer) =>
        tokenizer.Encode("e\u0301", false).SequenceEqual(tokenizer.Encode("\u00e9", false));
}
