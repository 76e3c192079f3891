using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Gguf;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>What a file's metadata says of its tokenizer is taken, and nothing else.</summary>
public sealed class GgufTokenizerTests
{
    [Theory]
    [InlineData("tokenizer.ggml.model", "t5", "tokenizer.ggml.model is \"t5\", expected gpt2 or llama")]
    [InlineData("tokenizer.ggml.model", "bert", "tokenizer.ggml.model is \"bert\"")]
    [InlineData("tokenizer.ggml.model", "rwkv", "tokenizer.ggml.model is \"rwkv\"")]
    [InlineData("tokenizer.ggml.model", "plamo2", "tokenizer.ggml.model is \"plamo2\"")]
    [InlineData("tokenizer.ggml.model", "none", "tokenizer.ggml.model is \"none\"")]
    [InlineData("tokenizer.ggml.model", null, "tokenizer.ggml.model is missing")]
    [InlineData("tokenizer.ggml.pre", null, "tokenizer.ggml.pre is missing, so how its text is cut into words is not known")]
    [InlineData("tokenizer.ggml.pre", "default", "tokenizer.ggml.pre is \"default\", expected one of gpt-2, ")]
    [InlineData("tokenizer.ggml.pre", "gpt-3", "tokenizer.ggml.pre is \"gpt-3\"")]
    [InlineData("tokenizer.ggml.pre", "", "tokenizer.ggml.pre is \"\"")]
    [InlineData("tokenizer.ggml.pre", 3, "tokenizer.ggml.pre is of type Int32, expected a string")]
    [InlineData("tokenizer.ggml.tokens", null, "tokenizer.ggml.tokens is missing")]
    [InlineData("tokenizer.ggml.tokens", new[] { "a", "b", "ab", "Ġ", "Ġa", "a", "</s>", "<tool>", "[PAD8]" },
        "tokenizer.ggml.tokens has \"a\" twice, as items 0 and 5")]
    [InlineData("tokenizer.ggml.token_type", new[] { 1, 1, 1 },
        "tokenizer.ggml.token_type has 3 items, expected one for each of the 9 tokens")]
    [InlineData("tokenizer.ggml.token_type", new[] { 1, 1, 7, 1, 1, 3, 3, 4, 5 },
        "tokenizer.ggml.token_type, item 2, is 7, expected a type")]
    [InlineData("tokenizer.ggml.merges", null, "tokenizer.ggml.merges is missing")]
    [InlineData("tokenizer.ggml.merges", new[] { "a b", "a q" }, "tokenizer.ggml.merges, item 1, is \"a q\", expected \"q\" to be a token")]
    [InlineData("tokenizer.ggml.merges", new[] { "b a" }, "tokenizer.ggml.merges, item 0, is \"b a\", expected \"ba\" to be a token")]
    [InlineData("tokenizer.ggml.merges", new[] { "ab" }, "tokenizer.ggml.merges, item 0, is \"ab\", expected two tokens")]
    [InlineData("tokenizer.ggml.merges", new[] { "a b", "Ġ a", "a b" }, "tokenizer.ggml.merges, item 2, is \"a b\", expected it once")]
    [InlineData("tokenizer.ggml.bos_token_id", 9, "tokenizer.ggml.bos_token_id is 9, expected the id of one of the 9 tokens")]
    [InlineData("tokenizer.ggml.eos_token_id", -1, "tokenizer.ggml.eos_token_id is -1")]
    [InlineData("tokenizer.ggml.padding_token_id", 12, "tokenizer.ggml.padding_token_id is 12")]
    [InlineData("tokenizer.ggml.unknown_token_id", 12, "tokenizer.ggml.unknown_token_id is 12")]
    [InlineData("tokenizer.ggml.eot_token_id", 12, "tokenizer.ggml.eot_token_id is 12")]
    [InlineData("tokenizer.ggml.eom_token_id", 12, "tokenizer.ggml.eom_token_id is 12")]
    [InlineData("tokenizer.ggml.add_space_prefix", true, "tokenizer.ggml.add_space_prefix is true, expected false")]
    [InlineData("tokenizer.ggml.add_sep_token", true, "tokenizer.ggml.add_sep_token is true, expected false")]
    [InlineData("tokenizer.ggml.normalizer.lowercase", true, "tokenizer.ggml.normalizer.lowercase is true, expected false")]
    [InlineData("tokenizer.ggml.escape_whitespaces", false, "tokenizer.ggml.escape_whitespaces is false, expected true")]
    public void Metadata_that_cannot_be_used_is_refused_by_key_and_value(string key, object? value, string message) =>
        AssertRefused(MadeMetadata.Gpt2(), key, value, message);

    [Theory]
    [InlineData("tokenizer.ggml.scores", null, "tokenizer.ggml.scores is missing")]
    [InlineData("tokenizer.ggml.scores", new[] { 1f, 2f }, "tokenizer.ggml.scores has 2 items, expected one for each of the 10 tokens")]
    [InlineData("tokenizer.ggml.scores", new[] { 0f, 0f, 0f, 0f, -4f, -5f, -6f, -1f, float.NaN, -3f },
        "tokenizer.ggml.scores, item 8, is NaN")]
    [InlineData("tokenizer.ggml.scores", new[] { 0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f }, "the same score 0")]
    [InlineData("tokenizer.ggml.token_type", new[] { 2, 3, 3, 6, 1, 6, 1, 1, 1, 1 },
        "tokenizer.ggml.tokens, item 5, is \"a\", expected a byte")]
    [InlineData("tokenizer.ggml.precompiled_charsmap", new[] { 1, 2 }, "tokenizer.ggml.precompiled_charsmap is of 2 bytes, expected none")]
    [InlineData("tokenizer.ggml.remove_extra_whitespaces", true, "tokenizer.ggml.remove_extra_whitespaces is true, expected false")]
    public void So_is_that_of_a_SentencePiece_vocabulary(string key, object? value, string message) =>
        AssertRefused(MadeMetadata.Llama(), key, value, message);

    [Fact]
    public void A_piece_of_a_hundred_thousand_characters_is_refused_at_once()
    {
        var values = MadeMetadata.Llama();
        ((string[])values["tokenizer.ggml.tokens"])[9] = new string('a', 100_000);
        var message = Assert.Throws<BadInputException>(() => Load(values)).Message;
        Assert.Contains("tokenizer.ggml.tokens, item 9, has 100000 characters, expected at most 1024", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Ids_that_the_file_does_not_name_are_none()
    {
        var values = MadeMetadata.Llama();
        values.Remove("tokenizer.ggml.bos_token_id");
        values.Remove("tokenizer.ggml.eos_token_id");
        values["tokenizer.ggml.add_bos_token"] = true;

        var tokenizer = Load(values);

        Assert.Null(tokenizer.BeginId ?? tokenizer.EndId ?? tokenizer.PadId);
        Assert.Equal([9], tokenizer.Encode("ab", addSpecialTokens: true));
        Assert.False(Documents(values).Has("generation_config.json"));
    }

    [Theory]
    [InlineData(null, null, new[] { 2 })] // the file does not say, and GPT-2's kind puts nothing in front
    [InlineData(false, null, new[] { 2 })]
    [InlineData(true, null, new[] { 5, 2 })]
    [InlineData(true, true, new[] { 5, 2, 6 })]
    [InlineData(null, true, new[] { 2, 6 })]
    public void Begin_and_end_tokens_are_added_as_the_file_says(bool? begin, bool? end, int[] ids)
    {
        var values = MadeMetadata.Gpt2();
        if (begin is { } first) values["tokenizer.ggml.add_bos_token"] = first;
        if (end is { } last) values["tokenizer.ggml.add_eos_token"] = last;
        Assert.Equal(ids, Load(values).Encode("ab", addSpecialTokens: true));
    }

    [Theory]
    [InlineData("llama-bpe", new[] { 5, 2 })]
    [InlineData("tekken", new[] { 5, 2 })]
    [InlineData("qwen2", new[] { 2 })]
    public void Where_the_file_does_not_say_its_kind_of_vocabulary_does(string preTokenizer, int[] ids)
    {
        var values = MadeMetadata.Gpt2();
        values["tokenizer.ggml.pre"] = preTokenizer;
        Assert.Equal(ids, Load(values).Encode("ab", addSpecialTokens: true));
        Assert.Equal([1, 9], Load(MadeMetadata.Llama()).Encode("ab", addSpecialTokens: true));
    }

    [Fact]
    public void A_template_that_writes_the_begin_token_itself_gives_one()
    {
        var values = MadeMetadata.Gpt2();
        values["tokenizer.ggml.add_bos_token"] = true;
        values["tokenizer.chat_template"] = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{{ eos_token }}"
            + "{% endfor %}";
        var (template, tokenizer) = (ChatTemplate.Find(Documents(values))!, Load(values));

        var conversation = Conversation.Of(("user", "a"), ("assistant", "ab"));
        var (ids, _) = new ChatRows(tokenizer, template).Encode(conversation, "row");

        Assert.Equal([5, 0, 6, 2, 6], ids);
    }

    [Fact]
    public void All_end_tokens_end_a_text()
    {
        var values = MadeMetadata.Gpt2();
        (values["tokenizer.ggml.eot_token_id"], values["tokenizer.ggml.eom_token_id"]) = (7, 6);
        var generation = JsonNode.Parse(Documents(values).Text("generation_config.json"))!;
        Assert.Equal("""{"bos_token_id":5,"eos_token_id":[6,7]}""", generation.ToJsonString());
        Assert.Equal(6, Load(values).EndId);
    }

    [Fact]
    public void A_padding_token_that_is_an_ordinary_one_stays_ordinary()
    {
        var values = MadeMetadata.Gpt2();
        values["tokenizer.ggml.padding_token_id"] = 0;
        Assert.False(Configuration(values).ContainsKey("pad_token"));
        Assert.Equal(0, (int?)JsonNode.Parse(Documents(values).Text("generation_config.json"))!["pad_token_id"]);
        Assert.Equal([2], Load(values).Encode("ab", addSpecialTokens: false));
    }

    [Fact]
    public void Control_tokens_are_found_in_the_text_and_skipped_and_those_of_the_user_are_shown()
    {
        var tokenizer = Load(MadeMetadata.Gpt2());
        Assert.Equal([0, 5, 1, 7], tokenizer.Encode("a<s>b<tool>", addSpecialTokens: false));
        Assert.Equal("ab<tool>", tokenizer.Decode([0, 5, 1, 7], skipSpecialTokens: true));
        Assert.Equal(9, tokenizer.VocabularySize); // with what fills it up
    }

    [Fact]
    public void Without_types_the_tokens_with_a_role_are_control_tokens()
    {
        var values = MadeMetadata.Gpt2();
        values.Remove("tokenizer.ggml.token_type");
        Assert.Equal([0, 5, 1, 6], Load(values).Encode("a<s>b</s>", addSpecialTokens: false));
    }

    [Fact]
    public void Templates_are_where_a_folder_has_them()
    {
        var values = MadeMetadata.Gpt2();
        values["tokenizer.chat_templates"] = new[] { "tool_use", "rag" };
        values["tokenizer.chat_template"] = "plain";
        values["tokenizer.chat_template.tool_use"] = "with tools";
        values["tokenizer.chat_template.rag"] = "with documents";

        var source = Documents(values);

        Assert.Equal("plain", source.Text("chat_template.jinja"));
        Assert.Equal("with tools", source.Text("additional_chat_templates/tool_use.jinja"));
        Assert.Equal("with documents", source.Text("additional_chat_templates/rag.jinja"));
        var template = ChatTemplate.Find(source)!;
        Assert.Equal("plain", template.Render(Conversation.Of(("user", "a")), addGenerationPrompt: false).Text);
        var tools = JsonDocument.Parse("""[{"type":"function","function":{"name":"f"}}]""").RootElement;
        var messages = JsonDocument.Parse("""[{"role":"user","content":"a"}]""").RootElement;
        Assert.Equal("with tools", template.Render(Conversation.Read(messages, tools), addGenerationPrompt: false).Text);
    }

    [Fact]
    public void A_template_alone_is_the_default_one_and_a_file_without_has_none()
    {
        var values = MadeMetadata.Gpt2();
        Assert.Null(ChatTemplate.Find(Documents(values)));
        values["tokenizer.chat_template.rag"] = "alone";
        Assert.Equal("alone", Documents(values).Text("chat_template.jinja"));
    }

    [Theory]
    [InlineData("tokenizer.chat_template.../x", "tokenizer.chat_template is named \"../x\", expected a name of letters")]
    [InlineData("tokenizer.chat_template.", "is named \"\"")]
    public void A_name_of_a_template_that_is_no_name_of_a_file_is_refused(string key, string message)
    {
        var values = MadeMetadata.Gpt2();
        (values["tokenizer.chat_template"], values[key]) = ("plain", "other");
        Assert.Contains(message, Assert.Throws<BadInputException>(() => ChatTemplate.Find(Documents(values))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_listed_template_that_is_not_there_is_named()
    {
        var values = MadeMetadata.Gpt2();
        values["tokenizer.chat_templates"] = new[] { "tool_use" };
        var message = Assert.Throws<BadInputException>(() => ChatTemplate.Find(Documents(values))).Message;
        Assert.Contains("tokenizer.chat_template.tool_use is missing", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_template_that_is_not_valid_is_named_with_its_line()
    {
        var values = MadeMetadata.Gpt2();
        values["tokenizer.chat_template"] = "\n{% if %}";
        var message = Assert.Throws<BadInputException>(() => ChatTemplate.Find(Documents(values))).Message;
        Assert.StartsWith("made.gguf: chat_template.jinja:2", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_without_a_tokenizer_says_so()
    {
        var values = new Dictionary<string, object> { ["general.architecture"] = "llama" };
        Assert.Empty(GgufTokenizer.Documents(MadeMetadata.Of(values)));
        Assert.Contains("made.gguf: no tokenizer in its metadata", Assert.Throws<BadInputException>(() => Load(values)).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gpt-2", "It|'s|Ġ1234567|,|ĠnaÃ¯ve|Ġ|Ġx")]
    [InlineData("smollm", "It|'s|Ġ|1|2|3|4|5|6|7|,|ĠnaÃ¯ve|Ġ|Ġx")]
    [InlineData("refact", "It|'s|Ġ|1|2|3|4|5|6|7|,|ĠnaÃ¯ve|Ġ|Ġx")]
    [InlineData("llama-bpe", "It|'s|Ġ|123|456|7|,|ĠnaÃ¯ve|Ġ|Ġx")]
    [InlineData("qwen2", "It|'s|Ġ|1|2|3|4|5|6|7|,|ĠnaÃ¯ve|Ġ|Ġx")]
    [InlineData("tekken", "It|'s|Ġ|1|2|3|4|5|6|7|,|ĠnaÃ¯ve|Ġ|Ġx")]
    public void Words_are_cut_as_the_pre_tokenizer_says(string name, string words)
    {
        var values = MadeMetadata.Gpt2();
        values["tokenizer.ggml.pre"] = name;
        const string Text = "It's 1234567, naïve  x";
        var cut = TokenizerJson.Read(Documents(values)).PreTokenizer([new(Text, 0, Text.Length, true)]);
        Assert.Equal(words, string.Join('|', cut.Select(static piece => piece.Span.ToString())));
    }

    [SharedFact]
    public void Known_pre_tokenizers_are_those_of_the_genuine_tokenizers()
    {
        foreach (var (name, folder) in new[] { ("gpt-2", "gpt2"), ("qwen2", "qwen2.5") })
        {
            var genuine = JsonNode.Parse(File.ReadAllText(SharedFolder.Of("tokenizers", folder, "tokenizer.json")))!.AsObject();
            var (tokens, kinds) = Vocabulary(genuine);
            var values = MadeMetadata.Gpt2();
            values["tokenizer.ggml.pre"] = name;
            (values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]) = (tokens, kinds);
            values["tokenizer.ggml.merges"] = genuine["model"]!["merges"]!.AsArray().Select(static merge => (string)merge!).ToArray();
            var (made, own) = (Load(values), Tokenizer.Load(SharedFolder.Of("tokenizers", folder)));
            foreach (var line in File.ReadLines(SharedFolder.Of("fixtures", "tokenizers", folder, "cases.jsonl")))
            {
                var text = JsonDocument.Parse(line).RootElement.GetProperty("text").GetString()!;
                Assert.Equal(own.Encode(text, addSpecialTokens: false), made.Encode(text, addSpecialTokens: false));
            }
        }
    }

    private static (string[] Tokens, int[] Kinds) Vocabulary(JsonObject genuine)
    {
        var tokens = genuine["model"]!["vocab"]!.AsObject()
            .ToDictionary(static entry => (int)entry.Value!, static entry => (entry.Key, Kind: 1));
        foreach (var added in genuine["added_tokens"]!.AsArray())
            tokens[(int)added!["id"]!] = ((string)added["content"]!, (bool)added["special"]! ? 3 : 4);
        var ordered = tokens.OrderBy(static entry => entry.Key).Select(static entry => entry.Value).ToList();
        return ([.. ordered.Select(static entry => entry.Key)], [.. ordered.Select(static entry => entry.Kind)]);
    }

    private static void AssertRefused(Dictionary<string, object> values, string key, object? value, string message)
    {
        _ = Load(values);
        if (value is null) values.Remove(key);
        else values[key] = value;
        var found = Assert.Throws<BadInputException>(() => Load(values)).Message;
        Assert.StartsWith("made.gguf: ", found, StringComparison.Ordinal);
        Assert.Contains(message, found, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', found);
    }

    private static JsonObject Configuration(Dictionary<string, object> values) =>
        JsonNode.Parse(Documents(values).Text("tokenizer_config.json"))!.AsObject();

    private static GgufDocuments Documents(Dictionary<string, object> values) => new(MadeMetadata.Of(values));

    private static Tokenizer Load(Dictionary<string, object> values) => Tokenizer.Load(Documents(values));
}
