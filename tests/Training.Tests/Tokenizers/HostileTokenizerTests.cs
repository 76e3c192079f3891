using System.Diagnostics;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Training.Tests.Tokenizers;

/// <summary>
/// A tokenizer.json comes with a downloaded model: whatever it holds, it is read or refused, and never hangs or fills the memory.
/// </summary>
public sealed class HostileTokenizerTests
{
    private const string Text = "Héllo  wörld! 12 ab aba [MASK] <|end|> x\ud835\udc9c\ud83d 你好 한국 a\r\n\0\u0301é AAxxy";

    public static TheoryData<int> Samples => [.. Enumerable.Range(0, SmallTokenizers.All.Count)];

    [Theory, MemberData(nameof(Samples))]
    public void Every_small_tokenizer_is_valid(int sample) => Use(Encoding.UTF8.GetBytes(SmallTokenizers.All[sample]));

    [Fact]
    public void A_mutated_file_is_used_or_refused()
    {
        var (read, refused) = Fuzz.Run([.. SmallTokenizers.All.Select(Encoding.UTF8.GetBytes)], Use);
        Assert.True(read > 0 && refused > 0, $"{read} read, {refused} refused");
    }

    [Theory]
    [InlineData("normalizer", "normalizers")]
    [InlineData("pre_tokenizer", "pretokenizers")]
    [InlineData("post_processor", "processors")]
    [InlineData("decoder", "decoders")]
    public void Thousands_of_nested_sequences_are_refused(string section, string steps)
    {
        var nested = string.Concat(Enumerable.Repeat($$"""{"type":"Sequence","{{steps}}":[""", 5000))
            + string.Concat(Enumerable.Repeat("]}", 5000));
        Assert.Throws<BadInputException>(
            () => SmallTokenizers.Load($$$"""{"{{{section}}}":{{{nested}}},"model":{"type":"BPE","vocab":{},"merges":[]}}"""));
    }

    [Theory]
    [InlineData("(a*)*b")] // not linear for those who go back
    [InlineData("(?=x)(a|a)*b")]
    [InlineData("(a{1,9999}){1,9999}b")]
    [InlineData("(?!x)((a{1,9999}){1,9999}){1,9999}b")]
    [InlineData("a{1,999999999}")]
    public void A_pattern_that_explodes_is_refused_by_name_or_answers_in_time(string pattern)
    {
        var clock = Stopwatch.StartNew();
        try
        {
            SmallTokenizers.Load(
                $$$"""
                {"pre_tokenizer":{"type":"Split","pattern":{"Regex":"{{{pattern}}}"},"behavior":"Isolated"},
                "model":{"type":"BPE","vocab":{"a":0},"merges":[]}}
                """)
                .Encode(new string('a', 40), true);
        }
        catch (BadInputException problem)
        {
            Assert.Contains(pattern[..8], problem.Message, StringComparison.Ordinal);
        }

        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(40), $"{clock.Elapsed}");
    }

    [Fact]
    public void Replacements_that_feed_each_other_are_stopped()
    {
        var step = """{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaa"}""";
        var steps = string.Join(',', Enumerable.Repeat(step, 20));
        var encoder = SmallTokenizers.Load(
            $$$"""{"normalizer":{"type":"Sequence","normalizers":[{{{steps}}}]},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}""");
        var decoder = SmallTokenizers.Load(
            $$$"""{"decoder":{"type":"Sequence","decoders":[{{{steps}}}]},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}""");

        Assert.Contains("makes a text of", Assert.Throws<BadInputException>(() => encoder.Encode("aaaa", true)).Message,
            StringComparison.Ordinal);
        Assert.Contains("makes a text of", Assert.Throws<BadInputException>(() => decoder.Decode([0, 0, 0], true)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Merges_in_a_circle_end()
    {
        // Joining the empty token gives back what was there.
        var tokenizer = SmallTokenizers.Load(
            """{"model":{"type":"BPE","vocab":{"":0,"a":1,"aa":2},"merges":[["a","a"],["a",""],["","a"],["",""]]}}""");
        Assert.Equal([2, 2, 1], tokenizer.Encode("aaaaa", true));
    }

    [Fact]
    public void Ids_with_holes_cost_no_memory()
    {
        var tokenizer = SmallTokenizers.Load(
            """{"added_tokens":[{"id":2147483645,"content":"<x>"}],"model":{"type":"BPE","vocab":{"a":0,"b":2147483646},"merges":[]}}""");
        Assert.Equal([0, 2147483645, 2147483646], tokenizer.Encode("a<x>b", true));
        Assert.Equal(int.MaxValue, tokenizer.VocabularySize);
    }

    [Fact]
    public void An_absurd_map_of_characters_is_refused()
    {
        static void Load(string map) => SmallTokenizers.Load(
            $$$"""
            {"normalizer":{"type":"Precompiled","precompiled_charsmap":"{{{map}}}"},"model":{"type":"BPE","vocab":{},"merges":[]}}
            """);
        Load(SmallTokenizers.CharactersMap());
        Assert.Throws<BadInputException>(() => Load("not base64"));
        Assert.Throws<BadInputException>(() => Load(""));
        Assert.Throws<BadInputException>(() => Load(Convert.ToBase64String([255, 255, 255, 255, 1, 2, 3, 4])));
        Assert.Contains("replacement",
            Assert.Throws<BadInputException>(() => Load(SmallTokenizers.CharactersMap(new string('b', 5000) + "\0"))).Message,
            StringComparison.Ordinal);
        Assert.Throws<BadInputException>(() => Load(SmallTokenizers.CharactersMap("no end")));
    }

    [Theory, MemberData(nameof(Samples))]
    public void Any_text_is_encoded_even_one_that_is_not_Unicode(int sample)
    {
        var tokenizer = SmallTokenizers.Load(SmallTokenizers.All[sample]);
        var random = new Random(sample);
        for (var i = 0; i < 200; i++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(40)).Select(_ => random.Next(4) switch
            {
                0 => (char)random.Next(0x80),
                1 => (char)random.Next(0xd800, 0xe000),
                2 => (char)random.Next(0x300, 0x370),
                _ => (char)random.Next(0x10000),
            }));
            tokenizer.Decode(tokenizer.Encode(text, addSpecialTokens: true), skipSpecialTokens: false);
            Assert.Equal(tokenizer.Encode(text, addSpecialTokens: false).Length, tokenizer.Tokens(text).Count);
        }
    }

    private static void Use(byte[] json)
    {
        var tokenizer = SmallTokenizers.Load(json);
        var ids = tokenizer.Encode(Text, addSpecialTokens: true);
        tokenizer.Decode(ids, skipSpecialTokens: true);
        tokenizer.Tokens(Text);
    }
}
