using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat;

namespace FedRLora.Training.Tests.Chat;

/// <summary>Where a folder keeps its template.</summary>
public sealed class ChatTemplateTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_folder_without_a_template_has_none()
    {
        Assert.Null(ChatTemplate.Find(_folder.Root));
        File.WriteAllText(_folder.File("tokenizer_config.json"), "{}");
        Assert.Null(ChatTemplate.Find(_folder.Root));
    }

    [Fact]
    public void A_template_file_wins_over_the_tokenizers_configuration_and_that_over_its_old_file()
    {
        File.WriteAllText(_folder.File("chat_template.json"), """{"chat_template": "old"}""");
        Assert.Equal("old", Rendered());
        File.WriteAllText(_folder.File("tokenizer_config.json"), """{"chat_template": "configured {{ messages[0].content }}"}""");
        Assert.Equal("configured hi", Rendered());
        File.WriteAllText(_folder.File("chat_template.jinja"), "file\n");
        Assert.Equal("file", Rendered());
    }

    [Fact]
    public void Of_named_templates_the_one_for_tools_serves_conversations_with_tools()
    {
        File.WriteAllText(_folder.File("tokenizer_config.json"), """{"chat_template": [{"name": "default", "template": "plain"}, """
            + """{"name": "tool_use", "template": "{{ tools | length }} tools"}]}""");
        Assert.Equal("plain", Rendered());
        Assert.Equal("1 tools", Rendered("""[{"type": "function"}]"""));
        Assert.Equal("plain", Rendered("[]"));
    }

    [Fact]
    public void Special_tokens_are_texts_and_those_that_are_null_are_empty()
    {
        File.WriteAllText(_folder.File("tokenizer_config.json"), """{"bos_token": null, "eos_token": {"content": "</s>", "special": """
            + """true}, "unk_token": "<unk>", "chat_template": "[{{ bos_token }}{{ eos_token }}{{ unk_token }}]"}""");
        Assert.Equal("[</s><unk>]", Rendered());
    }

    [Fact]
    public void The_day_is_pinned_unless_it_is_given()
    {
        File.WriteAllText(_folder.File("chat_template.jinja"), "{{ strftime_now('%Y-%m-%d') }}");
        var template = ChatTemplate.Find(_folder.Root)!;
        Assert.Equal("2024-07-26", Rendered());
        Assert.Equal("2030-01-02",
            template.Render(Conversation.Of(("user", "hi")), false, new DateTimeOffset(2030, 1, 2, 0, 0, 0, TimeSpan.Zero)).Text);
    }

    [Theory]
    [InlineData("tokenizer_config.json", """{"chat_template": "a\n{% if %}"}""",
        "tokenizer_config.json: line 2 of chat_template: found %}, expected a value")]
    [InlineData("tokenizer_config.json", """{"chat_template": 3}""", "tokenizer_config.json: chat_template is Number; make it a template")]
    [InlineData("tokenizer_config.json", """{"chat_template": [{"name": "a"}]}""", "item 1 of chat_template has no name and template")]
    [InlineData("tokenizer_config.json", """{"chat_template": [{"name": "a", "template": ""}, {"name": "b", "template": ""}]}""",
        "none is named default")]
    [InlineData("chat_template.jinja", "\n{{ a", "chat_template.jinja:2: a tag is not closed; end it with }}")]
    public void A_template_that_is_not_valid_is_named_with_its_line(string file, string text, string message)
    {
        File.WriteAllText(_folder.File(file), text);
        Assert.Contains(message, Assert.Throws<BadInputException>(() => ChatTemplate.Find(_folder.Root)).Message, StringComparison.Ordinal);
    }

    private string Rendered(string? tools = null)
    {
        using var messages = JsonDocument.Parse("""[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]""");
        using var offered = JsonDocument.Parse(tools ?? "null");
        return ChatTemplate.Find(_folder.Root)!
            .Render(Conversation.Read(messages.RootElement, offered.RootElement), addGenerationPrompt: false).Text;
    }
}
