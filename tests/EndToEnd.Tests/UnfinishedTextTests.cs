using System.Text;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Texts that end within a character, since their last token is a byte of it.</summary>
public sealed class UnfinishedTextTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("", "<0xC3>")]
    [InlineData("a", "a", "<0xE2>", "<0x82>")]
    [InlineData("é", "<0xC3>", "<0xA9>", "<0xF0>")]
    [InlineData("é", "<0xC3>", "<0xA9>")]
    public void Bytes_that_are_no_whole_character_are_not_written(string expected, params string[] tokens)
    {
        string[] vocabulary = ["<unk>", "a", "<0xC3>", "<0xA9>", "<0xE2>", "<0x82>", "<0xF0>"];
        var ids = string.Join(',', vocabulary.Select(static (token, id) => $"\"{token}\":{id}"));
        var json =
            $$$"""
            {"decoder":{"type":"ByteFallback"},"model":{"type":"BPE","vocab":{{{{ids}}}},"merges":[],"unk_token":"<unk>",
            "byte_fallback":true}}
            """;
        File.WriteAllText(Path.Combine(_tiny.Root, "model", "tokenizer.json"), json);
        File.Delete(Path.Combine(_tiny.Root, "model", "tokenizer_config.json"));
        var text = new StreamedText(Tokenizer.Load(Path.Combine(_tiny.Root, "model")), []);

        var written = new StringBuilder();
        foreach (var token in tokens) written.Append(text.Add(Array.IndexOf(vocabulary, token)));
        written.Append(text.Rest());

        Assert.Equal(expected, written.ToString());
    }
}
