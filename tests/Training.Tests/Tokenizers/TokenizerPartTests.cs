using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Tokenizers;

/// <summary>Each part of a tokenizer by itself, in a tokenizer that has little else.</summary>
public sealed class TokenizerPartTests
{
    [Theory]
    [InlineData("""{"type":"Lowercase"}""", "AΣİ\U00010400", "aσi\u0307\U00010428")]
    [InlineData("""{"type":"NFD"}""", "é", "e\u0301")]
    [InlineData("""{"type":"NFC"}""", "e\u0301", "é")]
    [InlineData("""{"type":"NFKC"}""", "ﬁ①", "fi1")]
    [InlineData("""{"type":"NFKD"}""", "ﬁé", "fie\u0301")]
    [InlineData("""{"type":"Strip"}""", " \u2003a b\n", "a b")]
    [InlineData("""{"type":"Strip","strip_left":false}""", " a ", " a")]
    [InlineData("""{"type":"StripAccents"}""", "e\u0301é", "eé")]
    [InlineData("""{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"}]}""", "é", "e")]
    [InlineData("""{"type":"Prepend","prepend":"_"}""", "a", "_a")]
    [InlineData("""{"type":"Replace","pattern":{"String":"a."},"content":"$0"}""", "a.ab", "$0ab")]
    [InlineData("""{"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "}""", "a    b c", "a b c")]
    [InlineData("""{"type":"Nmt"}""", "a\tb\u0001c\u200bd", "a bc d")]
    [InlineData("""{"type":"BertNormalizer"}""", "É\0\t你\u00a0A", "e  你  a")]
    [InlineData("""{"type":"BertNormalizer","lowercase":false}""", "É", "É")]
    [InlineData("""{"type":"BertNormalizer","lowercase":false,"strip_accents":true}""", "É", "E")]
    public void A_normalizer_rewrites_the_text(string normalizer, string text, string expected) =>
        Assert.Equal([expected], Words($$"""{"type":"Split","pattern":{"String":"\u0000"},"behavior":"Removed"}""", text, normalizer));

    [Theory]
    [InlineData("Removed", false, "a|b|c")]
    [InlineData("Isolated", false, "a|-|-|b|-|c")]
    [InlineData("MergedWithPrevious", false, "a-|-|b-|c")]
    [InlineData("MergedWithNext", false, "a|-|-b|-c")]
    [InlineData("Contiguous", false, "a|--|b|-|c")]
    [InlineData("Removed", true, "-|-|-")]
    [InlineData("MergedWithPrevious", true, "a|-|-b|-c")]
    public void A_split_leaves_its_matches_as_the_behavior_says(string behavior, bool invert, string expected) =>
        Assert.Equal(expected.Split('|'), Words(
            $$"""{"type":"Split","pattern":{"String":"-"},"behavior":"{{behavior}}","invert":{{(invert ? "true" : "false")}}}""",
            "a--b-c"));

    [Theory]
    [InlineData("""{"type":"Whitespace"}""", "Hé_1 a!? 你", "Hé_1|a|!?|你")]
    [InlineData("""{"type":"WhitespaceSplit"}""", " a!\u2003b\n", "a!|b")]
    [InlineData("""{"type":"BertPreTokenizer"}""", "it's $5—ok", "it|'|s|$|5|—|ok")]
    [InlineData("""{"type":"Punctuation"}""", "a.,b", "a|.|,|b")]
    [InlineData("""{"type":"Punctuation","behavior":"Contiguous"}""", "a.,b", "a|.,|b")]
    [InlineData("""{"type":"Digits"}""", "a12\u0663b", "a|12\u0663|b")]
    [InlineData("""{"type":"Digits","individual_digits":true}""", "a12", "a|1|2")]
    [InlineData("""{"type":"Metaspace"}""", "a b", "▁a|▁b")]
    [InlineData("""{"type":"Metaspace","add_prefix_space":false}""", "a b", "a|▁b")]
    [InlineData("""{"type":"Metaspace","prepend_scheme":"never"}""", "a b", "a|▁b")]
    [InlineData("""{"type":"Metaspace","prepend_scheme":"always","split":false}""", "a b", "▁a▁b")]
    [InlineData("""{"type":"ByteLevel","add_prefix_space":true}""", "a é", "Ġa|ĠÃ©")]
    public void A_pre_tokenizer_cuts_words(string preTokenizer, string text, string expected) =>
        Assert.Equal(expected.Split('|'), Words(preTokenizer, text));

    [Fact]
    public void A_prefix_for_the_first_word_does_not_follow_an_added_token()
    {
        var tokenizer = SmallTokenizers.Load(
            """
            {"added_tokens":[{"id":9,"content":"<x>"}],"pre_tokenizer":{"type":"Metaspace","prepend_scheme":"first"},
            "model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0,"a":1,"▁a":2}}}
            """);
        Assert.Equal([2, 9, 1], tokenizer.Encode("a<x>a", true));
        Assert.Equal([9, 1], tokenizer.Encode("<x>a", true));
    }

    [Theory]
    [InlineData(@"\h+", "x9Fz", "x|9F|z")] // a hexadecimal digit there
    [InlineData("[^(\\s|[.,])]+", "ab(c.d", "ab|(|c|.|d")] // a class within a class adds to it
    [InlineData("a++b?", "aab", "aab")] // possessive
    [InlineData("(?:ab){,2}", "abab-", "abab|-")]
    [InlineData("(?i:'S)", "it's", "it|'s")]
    [InlineData(@"\p{^L}+", "a12b", "a|12|b")]
    [InlineData(@"\p{Letter}", "1b", "1|b")]
    [InlineData(@"\w+", "a\u0903-", "a\u0903|-")] // every mark belongs to a word
    [InlineData(@"\p{L}+", "\U0001D49C\U0001F600", "\U0001D49C|\U0001F600")]
    [InlineData("^b", "a\nb", "a\n|b")] // lines, always
    [InlineData(@"\x{4f60}|[a-z-]", "你-", "你|-")]
    public void Oniguruma_syntax_keeps_its_sense(string pattern, string text, string expected)
    {
        var json = System.Text.Json.JsonSerializer.Serialize(
            new { type = "Split", pattern = new { Regex = pattern }, behavior = "Isolated" });
        Assert.Equal(expected.Split('|'), Words(json, text));
    }

    [Theory]
    [InlineData("[a&&b]")]
    [InlineData("[[:alpha:]]")]
    [InlineData("[a[^b]]")]
    [InlineData(@"\K")]
    [InlineData("(?<n>a)")]
    [InlineData("(?(1)a|b)")]
    [InlineData("a)")]
    [InlineData("(a")]
    [InlineData("[a")]
    [InlineData("*a")]
    [InlineData("\U0001F600")]
    public void Syntax_without_an_equal_is_refused(string pattern)
    {
        var json = System.Text.Json.JsonSerializer.Serialize(
            new { type = "Split", pattern = new { Regex = pattern }, behavior = "Isolated" });
        Assert.Contains("is not implemented", Assert.Throws<BadInputException>(() => Words(json, "a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Unigram_takes_the_spelling_with_the_highest_sum_and_joins_unknown_neighbours()
    {
        var tokenizer = SmallTokenizers.Load(
            """{"model":{"unk_id":0,"vocab":[["<unk>",0],["a",-1],["b",-1],["ab",-1.5],["bc",-9],["c",-5]]}}""");
        Assert.Equal([3, 5, 0, 1], tokenizer.Encode("abcxya", true));
        Assert.Equal(["ab", "c", "xy", "a"], tokenizer.Tokens("abcxya"));
    }

    [Fact]
    public void Unigram_spells_unknown_text_by_its_bytes_where_the_vocabulary_has_them()
    {
        var tokenizer = SmallTokenizers.Load("""{"model":{"type":"Unigram","unk_id":0,"byte_fallback":true,"vocab":[["<unk>",0],["a",-1],"""
            + """["<0xC3>",-9],["<0xA9>",-9]]},"decoder":{"type":"ByteFallback"}}""");
        Assert.Equal([1, 2, 3], tokenizer.Encode("aé", true));
        Assert.Equal([1, 0], tokenizer.Encode("aéx", true)); // of the run, one byte is missing
        Assert.Equal("aé", tokenizer.Decode([1, 2, 3], true));
    }

    [Fact]
    public void WordPiece_takes_the_longest_piece_and_gives_up_whole_words()
    {
        var tokenizer = SmallTokenizers.Load(
            """
            {"pre_tokenizer":{"type":"WhitespaceSplit"},"model":{"type":"WordPiece","max_input_chars_per_word":5,
            "vocab":{"[UNK]":0,"a":1,"ab":2,"##c":3,"##cd":4}},"decoder":{"type":"WordPiece"}}
            """);
        Assert.Equal([2, 4, 2, 3, 3, 0, 0], tokenizer.Encode("abcd abcc abx acccccc", true));
        Assert.Equal("abcd a ab", tokenizer.Decode([2, 4, 1, 2], true));
    }

    [Fact]
    public void Affixes_of_words_are_part_of_the_spelling()
    {
        var tokenizer = SmallTokenizers.Load("""
            {"pre_tokenizer":{"type":"WhitespaceSplit"},"decoder":{"type":"BPEDecoder"},
             "model":{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0,"b":1,"b</w>":2,"ab</w>":3,"a</w>":4},"merges":["a b</w>"]}}
            """);
        Assert.Equal([3, 4, 1, 3], tokenizer.Encode("ab a bab", true));
        Assert.Equal("ab a", tokenizer.Decode([3, 4], true));
    }

    [Theory]
    [InlineData("""{"type":"BertProcessing","cls":["a",1],"sep":["b",2]}""", new[] { 1, 3, 2 })]
    [InlineData("""{"type":"RobertaProcessing","cls":["a",1],"sep":["b",2],"trim_offsets":true,"add_prefix_space":true}""",
        new[] { 1, 3, 2 })]
    [InlineData("""{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"BertProcessing","cls":["a",1],"sep":["b",2]},"""
        + """{"type":"BertProcessing","cls":["b",2],"sep":["a",1]}]}""", new[] { 2, 1, 3, 2, 1 })]
    public void A_post_processor_puts_tokens_around_the_text(string processor, int[] expected) =>
        Assert.Equal(expected, SmallTokenizers
            .Load($$$"""{"post_processor":{{{processor}}},"model":{"type":"BPE","vocab":{"a":1,"b":2,"c":3},"merges":[]}}""")
            .Encode("c", addSpecialTokens: true));

    // A model that knows no word shows all of them: each word is a run that no piece covers.
    private static IReadOnlyList<string> Words(string preTokenizer, string text, string normalizer = "null") => SmallTokenizers
        .Load(
            $$$"""
            {"normalizer":{{{normalizer}}},"pre_tokenizer":{{{preTokenizer}}},"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0]]}}
            """)
        .Tokens(text);
}
