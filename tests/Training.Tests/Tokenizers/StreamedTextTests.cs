using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Tokenizers;

public sealed class StreamedTextTests
{
    // Byte level: 0 is "a", 1 and 2 are the two bytes of "é" as the alphabet of byte-level tokenizers spells them, 3 ends a text.
    private const string Json = """
        {"added_tokens":[{"id":3,"content":"</s>","special":true}],
         "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"},
         "model":{"type":"BPE","vocab":{"a":0,"Ã":1,"©":2},"merges":[]}}
        """;

    [Fact]
    public void A_character_of_two_tokens_comes_with_the_second()
    {
        var text = new StreamedText(Load(), [0]);

        Assert.Equal(["a", "", "é", "a", ""], new[] { 0, 1, 2, 0, 3 }.Select(text.Add));
        Assert.Equal("", text.Rest());
    }

    [Fact]
    public void Half_a_character_at_the_end_is_not_written()
    {
        var text = new StreamedText(Load(), [0]);

        Assert.Equal("", text.Add(1));
        Assert.Equal("", text.Rest());
    }

    private static Tokenizer Load()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.File("tokenizer.json"), Json);
        return Tokenizer.Load(folder.Root);
    }
}
