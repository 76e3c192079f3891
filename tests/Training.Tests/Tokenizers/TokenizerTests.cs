using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Data.Tokenizers.PreTokenizers;

namespace FedRLora.Training.Tests.Tokenizers;

public sealed class TokenizerTests
{
    private const string Vocabulary = """{"<unk>":0,"a":1,"b":2,"c":3,"ab":4,"abc":5," ":6}""";

    [Fact]
    public void A_folder_without_tokenizer_json_is_refused_with_what_to_do()
    {
        using var folder = new TemporaryFolder();
        var message = Assert.Throws<BadInputException>(() => Tokenizer.Load(folder.Root)).Message;
        Assert.StartsWith(folder.Root, message, StringComparison.Ordinal);
        Assert.Contains("tokenizer.json", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Merges_may_be_strings_or_pairs_and_the_type_may_be_missing()
    {
        var strings = Load($$$"""{"model":{"vocab":{{{Vocabulary}}},"merges":["a b","ab c"]}}""");
        var pairs = Load($$$"""{"model":{"type":"BPE","vocab":{{{Vocabulary}}},"merges":[["a","b"],["ab","c"]]}}""");

        Assert.Equal([5, 4, 1], strings.Encode("abcaba", addSpecialTokens: true));
        Assert.Equal([5, 4, 1], pairs.Encode("abcaba", addSpecialTokens: true));
    }

    [Fact]
    public void Unknown_characters_are_fused_or_not_as_the_file_says()
    {
        Assert.Equal([1, 0, 2],
            Load($$$"""{"model":{"vocab":{{{Vocabulary}}},"merges":[],"unk_token":"<unk>","fuse_unk":true}}""").Encode("axyb", true));
        Assert.Equal([1, 0, 0, 2],
            Load($$$"""{"model":{"vocab":{{{Vocabulary}}},"merges":[],"unk_token":"<unk>"}}""").Encode("axyb", true));
        Assert.Equal([1, 2], Load($$$"""{"model":{"vocab":{{{Vocabulary}}},"merges":[]}}""").Encode("axyb", true));
    }

    [Theory]
    [InlineData("", new[] { 1, 6, 9, 6, 2, 9, 1 })]
    [InlineData("""  "lstrip":true, """, new[] { 1, 9, 6, 2, 9, 1 })]
    [InlineData("""  "rstrip":true, """, new[] { 1, 6, 9, 2, 9, 1 })]
    [InlineData("""  "single_word":true, """, new[] { 1, 6, 9, 6, 2, 0, 1 })]
    public void An_added_token_takes_spaces_and_stands_alone_as_its_flags_say(string flags, int[] expected)
    {
        var added = $$$"""[{"id":9,{{{flags}}}"content":"x","special":true,"normalized":false}]""";
        var tokenizer = Load($$$"""{"added_tokens":{{{added}}},"model":{"vocab":{{{Vocabulary}}},"merges":[],"unk_token":"<unk>"}}""");

        Assert.Equal(expected, tokenizer.Encode("a x bxa", addSpecialTokens: false));
        Assert.Equal(10, tokenizer.VocabularySize);
    }

    [Fact]
    public void Roles_come_from_the_tokenizer_configuration_and_else_from_the_model_configuration()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.File("tokenizer_config.json"),
            """{"bos_token":{"content":"a","lstrip":false},"eos_token":"b","pad_token":null}""");
        File.WriteAllText(folder.File("config.json"), """{"bos_token_id":3,"eos_token_id":[3,2],"pad_token_id":3}""");

        var tokenizer = Load($$$"""{"model":{"vocab":{{{Vocabulary}}},"merges":[]}}""", folder);

        Assert.Equal((1, 2, 3), (tokenizer.BeginId, tokenizer.EndId, tokenizer.PadId));
    }

    [Fact]
    public void Letters_beyond_the_basic_plane_are_letters_to_the_byte_level_pattern()
    {
        const string Text = "a \U0001D49C\U0001D49E\U0001F600 5";
        var words = ByteLevel.Words([new Piece(Text, 0, Text.Length, Begins: true)], addPrefixSpace: false, useRegex: true);

        Assert.Equal(4, words.Count); // "a", " 𝒜𝒞", "😀", " 5"
        Assert.Equal(Text, string.Concat(ByteLevel.Decode([.. words.Select(static word => word.Span.ToString())])));
    }

    [Fact]
    public void A_long_word_is_encoded_in_the_order_of_ranks()
    {
        var tokenizer = Load($$$"""{"model":{"vocab":{{{Vocabulary}}},"merges":["a b","ab c"]}}""");
        var ids = tokenizer.Encode(string.Concat(Enumerable.Repeat("abc", 20_000)), addSpecialTokens: false);
        Assert.Equal(Enumerable.Repeat(5, 20_000), ids);
    }

    [Theory]
    [InlineData("""{"model":{"type":"Other","vocab":{}}}""", "model Other is not implemented")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}}""", "dropout 0.1")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}""", "merges[0]")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"],"continuing_subword_prefix":"#"}}""",
        "expected it to begin with \"#\"")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}""", "\"a\" twice")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}""", "id 0 twice")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}""", "-1")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":2147483647},"merges":[]}}""", "2147483647")]
    [InlineData("""{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"unk_token":"u"}}""", "unk_token \"u\"")]
    [InlineData("""{"model":{"type":"WordPiece","vocab":{"a":0}}}""", "unk_token \"[UNK]\"")]
    [InlineData("""{"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"?"}}""", "unk_token \"?\"")]
    [InlineData("""{"model":{"type":"Unigram","vocab":[["a",-1]]}}""", "unk_id")]
    [InlineData("""{"model":{"unk_id":1,"vocab":[["a",-1]]}}""", "unk_id is 1")]
    [InlineData("""{"model":{"unk_id":0,"vocab":[["a",1e999]]}}""", "vocab[0]")]
    [InlineData("""{"normalizer":{"type":"Other"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "normalizer Other is not implemented")]
    [InlineData(
        """{"normalizer":{"type":"Replace","pattern":"x","content":""},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "pattern")]
    [InlineData("""{"normalizer":{"type":"Replace","pattern":{"String":""},"content":"y"},"model":{"type":"BPE","vocab":{},"merges":[]}}""",
        "empty pattern")]
    [InlineData("""{"normalizer":{"type":"Precompiled","precompiled_charsmap":"////fw=="},"model":{"type":"BPE","vocab":{},"merges":[]}}""",
        "precompiled_charsmap of 4 bytes")]
    [InlineData("""{"pre_tokenizer":{"type":"UnicodeScripts"},"model":{"type":"BPE","vocab":{},"merges":[]}}""",
        "pre_tokenizer UnicodeScripts is not implemented")]
    [InlineData(
        """
        {"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\p{Han}"},"behavior":"Removed"},"model":{"type":"BPE","vocab":{},"merges":[]}}
        """,
        "property Han")]
    [InlineData(
        """
        {"pre_tokenizer":{"type":"Split","pattern":{"Regex":"a{2,1}"},"behavior":"Removed"},"model":{"type":"BPE","vocab":{},"merges":[]}}
        """,
        "a{2,1}")]
    [InlineData("""{"pre_tokenizer":{"type":"Metaspace","replacement":"ab"},"model":{"type":"BPE","vocab":{},"merges":[]}}""",
        "one character")]
    [InlineData("""{"decoder":{"type":"CTC"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "decoder CTC is not implemented")]
    [InlineData("""{"post_processor":{"type":"BertProcessing"},"model":{"type":"BPE","vocab":{},"merges":[]}}""", "cls")]
    [InlineData(
        """{"post_processor":{"type":"BertProcessing","cls":["c",7],"sep":["s",0]},"model":{"type":"BPE","vocab":{"s":0},"merges":[]}}""",
        "token id 7, which is not in the vocabulary")]
    [InlineData("""{"model":null}""", "model is missing")]
    [InlineData("""[]""", "expected an object")]
    [InlineData("""{"model":""", "cannot be read")]
    public void What_is_not_implemented_or_not_valid_is_refused_by_name(string json, string expected)
    {
        var message = Assert.Throws<BadInputException>(() => Load(json)).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains("tokenizer.json", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    private static Tokenizer Load(string json, TemporaryFolder? given = null)
    {
        using var own = given is null ? new TemporaryFolder() : null;
        var folder = given ?? own!;
        File.WriteAllText(folder.File("tokenizer.json"), json);
        return Tokenizer.Load(folder.Root);
    }
}
