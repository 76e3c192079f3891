using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Tokenizers;

/// <summary>Files beside <c>tokenizer.json</c> that say something about its tokens.</summary>
public sealed class TokenizerFolderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory, InlineData("bos_token"), InlineData("eos_token"), InlineData("pad_token")]
    public void A_token_with_a_role_that_the_tokenizer_does_not_have_is_refused(string role)
    {
        foreach (var file in (string[])["tokenizer_config.json", "special_tokens_map.json"])
        {
            var message = Refused((file, $$"""{"{{role}}": "<|im_end|>"}"""), ("config.json", """{"eos_token_id": 2}"""));
            Assert.Contains($"{role} is <|im_end|>, which is no token of tokenizer.json", message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("tokenizer_config.json", """{"added_tokens_decoder": {"9": {"content": "<x>", "special": true}}}""",
        "<x> with id 9, tokenizer.json does not add it")]
    [InlineData("tokenizer_config.json", """{"added_tokens_decoder": {"9": {"content": "</s>"}}}""",
        "</s> with id 9, tokenizer.json gives it id 2")]
    [InlineData("tokenizer_config.json", """{"added_tokens_decoder": {"3": {"content": "a"}}}""",
        "a with id 3, tokenizer.json does not add it")]
    [InlineData("added_tokens.json", """{"<x>": 9}""", "<x> with id 9, tokenizer.json does not add it")]
    [InlineData("special_tokens_map.json", """{"additional_special_tokens": ["<x>"]}""", "<x>, tokenizer.json does not add it")]
    [InlineData("tokenizer_config.json", """{"additional_special_tokens": [{"content": "<x>"}]}""", "<x>, tokenizer.json does not add it")]
    [InlineData("tokenizer_config.json", """{"extra_special_tokens": {"image_token": "<x>"}}""", "<x>, tokenizer.json does not add it")]
    [InlineData("tokenizer_config.json", """{"add_bos_token": false, "bos_token": "<s>"}""",
        "add_bos_token is false, and the post-processor of tokenizer.json adds")]
    [InlineData("tokenizer_config.json", """{"add_eos_token": true, "eos_token": "</s>"}""",
        "add_eos_token is true, and the post-processor of tokenizer.json does not add")]
    public void Files_that_disagree_about_tokens_are_refused(string file, string text, string expected)
    {
        var message = Refused((file, text));
        Assert.StartsWith(_folder.File(file), message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Files_that_agree_are_read()
    {
        Write(
            ("tokenizer_config.json", """{"add_bos_token": true, "add_eos_token": """
                + """false, "bos_token": "<s>", "eos_token": "</s>", "pad_token": null, "added_tokens_decoder": {"1": """
                + """{"content": "<s>"}}, "additional_special_tokens": ["</s>"]}"""),
            ("added_tokens.json", """{"</s>": 2}"""));

        var tokenizer = Tokenizer.Load(_folder.Root);

        Assert.Equal((1, 2, null), (tokenizer.BeginId, tokenizer.EndId, tokenizer.PadId));
    }

    [Fact]
    public void A_prompt_has_what_stands_before_a_text_and_not_what_stands_behind_it()
    {
        Write();
        File.WriteAllText(_folder.File("tokenizer.json"), Json.Replace(
            """{"Sequence":{"id":"A","type_id":0}}""", """{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}""",
            StringComparison.Ordinal));

        var tokenizer = Tokenizer.Load(_folder.Root);

        Assert.Equal([1, 3, 2], tokenizer.Encode("a", addSpecialTokens: true));
        Assert.Equal([1, 3], tokenizer.EncodePrompt("a"));
    }

    private const string Json = """
        {"added_tokens":[{"id":1,"content":"<s>","special":true},{"id":2,"content":"</s>","special":true}],
         "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
         {"Sequence":{"id":"A","type_id":0}}],"pair":[],
          "special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]},"</s>":{"id":"</s>","ids":[2],"tokens":["</s>"]}}},
         "model":{"type":"BPE","vocab":{"<unk>":0,"<s>":1,"</s>":2,"a":3},"merges":[],"unk_token":"<unk>"}}
        """;

    private string Refused(params (string Name, string Text)[] files)
    {
        Write(files);
        return Assert.Throws<BadInputException>(() => Tokenizer.Load(_folder.Root)).Message;
    }

    private void Write(params (string Name, string Text)[] files)
    {
        foreach (var old in Directory.GetFiles(_folder.Root)) File.Delete(old);
        File.WriteAllText(_folder.File("tokenizer.json"), Json);
        foreach (var (name, text) in files) File.WriteAllText(_folder.File(name), text);
    }
}
