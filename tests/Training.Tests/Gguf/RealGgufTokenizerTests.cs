using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Tokenizers of real files: every case of their references, exactly, and the reference's own documents.</summary>
public sealed class RealGgufTokenizerTests
{
    /// <summary>Folders in <c>models</c> with a GGUF file and a reference.</summary>
    public static TheoryData<string> Models =>
    [
        .. SharedFolder.FoldersOf("models").Where(static name => FileOf(name) is not null
            && File.Exists(SharedFolder.Of("models", name, "reference", "tokenizer_cases.jsonl"))),
    ];

    [SharedTheory, MemberData(nameof(Models))]
    public void Ids_tokens_and_decoded_texts_match_every_case(string model)
    {
        var tokenizer = Tokenizer.Load(GgufDocuments.Of(FileOf(model)!));
        foreach (var row in Lines(model, "tokenizer_cases.jsonl"))
        {
            var text = row.GetProperty("text").GetString()!;
            Assert.Equal((text, Shown(row, "ids")), (text, string.Join(' ', tokenizer.Encode(text, addSpecialTokens: true))));
            Assert.Equal((text, Shown(row, "ids_no_special")), (text, string.Join(' ', tokenizer.Encode(text, addSpecialTokens: false))));
            Assert.Equal(row.GetProperty("tokens").EnumerateArray().Select(static token => token.GetString()!), tokenizer.Tokens(text));
            Assert.Equal(row.GetProperty("decoded").GetString(), tokenizer.Decode(Ids(row, "ids_no_special"), skipSpecialTokens: false));
            Assert.Equal(row.GetProperty("decoded_skip_special").GetString(), tokenizer.Decode(Ids(row, "ids"), skipSpecialTokens: true));
        }
    }

    [SharedTheory, MemberData(nameof(Models))]
    public void Text_that_comes_token_by_token_is_the_whole_text(string model)
    {
        var tokenizer = Tokenizer.Load(GgufDocuments.Of(FileOf(model)!));
        foreach (var row in Lines(model, "tokenizer_cases.jsonl"))
        {
            var stream = new StreamedText(tokenizer, []);
            var pieces = string.Concat(Ids(row, "ids").Select(stream.Add)) + stream.Rest();
            Assert.Equal(row.GetProperty("decoded_skip_special").GetString()!.TrimEnd('\uFFFD'), pieces);
        }
    }

    [SharedTheory, MemberData(nameof(Models))]
    public void Conversations_are_written_and_tokenized_as_in_the_reference(string model)
    {
        var source = GgufDocuments.Of(FileOf(model)!);
        var (template, tokenizer) = (ChatTemplate.Find(source)!, Tokenizer.Load(source));
        foreach (var row in Lines(model, "chat_cases.jsonl"))
        {
            var text = template.Render(
                Conversation.Read(row.GetProperty("messages"), row.GetProperty("tools")),
                row.GetProperty("add_generation_prompt").GetBoolean()).Text;
            Assert.Equal(row.GetProperty("text").GetString(), text);
            Assert.Equal(Shown(row, "ids"), string.Join(' ', tokenizer.Encode(text, addSpecialTokens: false)));
        }
    }

    [SharedTheory, MemberData(nameof(Models))]
    public void The_documents_say_what_the_references_say(string model)
    {
        var source = GgufDocuments.Of(FileOf(model)!);
        JsonNode Reference(string name) => JsonNode.Parse(File.ReadAllText(SharedFolder.Of("models", model, "reference", "hf", name)))!;
        var (made, reference) = (JsonNode.Parse(source.Text("tokenizer.json"))!, Reference("tokenizer.json"));
        foreach (var section in (string[])["added_tokens", "normalizer", "pre_tokenizer", "decoder"])
            Same(reference[section], made[section]);
        foreach (var (setting, value) in reference["model"]!.AsObject())
        {
            var mine = made["model"]![setting];
            if (setting is not ("continuing_subword_prefix" or "end_of_word_suffix")) Same(value, mine);
            else Assert.Equal((string?)value ?? "", (string?)mine ?? "");
        }

        var (configuration, expected) = (JsonNode.Parse(source.Text("tokenizer_config.json"))!, Reference("tokenizer_config.json"));
        foreach (var role in (string[])["bos_token", "eos_token", "pad_token", "unk_token"]) Same(expected[role], configuration[role]);
        var (generation, ids) = (JsonNode.Parse(source.Text("generation_config.json"))!, Reference("generation_config.json"));
        foreach (var role in (string[])["bos_token_id", "eos_token_id", "pad_token_id"]) Same(ids[role], generation[role]);
        Assert.Equal(
            File.ReadAllText(SharedFolder.Of("models", model, "reference", "hf", "chat_template.jinja")),
            source.Text("chat_template.jinja"));
    }

    [SharedTheory, MemberData(nameof(Models))]
    public void Any_text_has_the_ids_of_the_references_document(string model)
    {
        var made = Tokenizer.Load(FileOf(model)!);
        var reference = Tokenizer.Load(SharedFolder.Of("models", model, "reference", "hf"));
        foreach (var text in RandomTexts.Of(seed: 5, count: 500).Prepend("It's 1234567, naïve  x"))
            Assert.Equal(reference.Encode(text, addSpecialTokens: true), made.Encode(text, addSpecialTokens: true));
        Assert.Equal("It's 1234567, naïve  x", made.Decode(made.Encode("It's 1234567, naïve  x", addSpecialTokens: true), false));
        Assert.Equal(
            (reference.BeginId, reference.EndId, reference.PadId, reference.VocabularySize),
            (made.BeginId, made.EndId, made.PadId, made.VocabularySize));
    }

    private static void Same(JsonNode? expected, JsonNode? made) => Assert.True(JsonNode.DeepEquals(expected, made), made?.GetPath());

    private static string? FileOf(string model) =>
        Directory.GetFiles(SharedFolder.Of("models", model), "*.gguf").Order(StringComparer.Ordinal).FirstOrDefault();

    private static IEnumerable<JsonElement> Lines(string model, string file) =>
        File.ReadLines(SharedFolder.Of("models", model, "reference", file)).Select(static line => JsonDocument.Parse(line).RootElement);

    private static int[] Ids(JsonElement row, string key) => [.. row.GetProperty(key).EnumerateArray().Select(static id => id.GetInt32())];

    private static string Shown(JsonElement row, string key) => string.Join(' ', Ids(row, key));
}
