using FedRLora.Training.Steps;
using TorchSharp;
using FedRLora.Abstractions;
using FedRLora.Training.Data;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Chat;

public sealed class ChatRowTests
{
    private const string Marked = "{% for m in messages %}{{ m.role[0] }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        + "{% endgeneration %}{{ eos_token }}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    private const string Conversation = """{"messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"cd"},"""
        + """{"role":"user","content":"e"},{"role":"assistant","content":"f"}]}""";

    [Fact]
    public async Task Loss_is_on_every_turn_of_the_assistant_and_on_the_token_that_ends_it()
    {
        var row = await EncodeAsync(TinyChat.Template, Conversation);
        Assert.Equal([1, 23, 30, 3, 4, 2, 1, 3, 30, 5, 6, 2, 1, 23, 30, 7, 2, 1, 3, 30, 8, 2], row.Ids);
        Assert.Equal([new(9, 12), new(20, 22)], row.Spans);
        Assert.Equal([9, 10, 11, 20, 21], row.LossPlaces);
        Assert.Equal((20, 5), (row.Start, row.LossTokens));
    }

    [Fact]
    public async Task A_batch_learns_several_spans_of_a_row()
    {
        using var scope = torch.NewDisposeScope();
        var batch = Packing.Of([[await EncodeAsync(TinyChat.Template, Conversation), new([1, 3, 2], 1)]], torch.CPU);
        Assert.Equal([5, 6, 2, 8, 2, 3, 2], batch.Targets.data<long>());
        Assert.Equal([8, 9, 10, 19, 20, 22, 23], batch.LossRows.data<long>());
    }

    [Fact]
    public async Task Marks_of_the_template_say_exactly_what_is_learned()
    {
        var row = await EncodeAsync(Marked, Conversation);
        Assert.Equal([23, 30, 3, 4, 3, 30, 5, 6, 2, 23, 30, 7, 3, 30, 8, 2], row.Ids);
        Assert.Equal([6, 7, 14], row.LossPlaces);
    }

    [Theory]
    [InlineData(TinyChat.Template, new[] { 20, 21 })]
    [InlineData(Marked, new[] { 14 })]
    public async Task A_turn_of_weight_0_carries_no_loss(string template, int[] places) =>
        Assert.Equal(places,
            (await EncodeAsync(template, Conversation.Replace("\"cd\"", "\"cd\",\"weight\":0", StringComparison.Ordinal))).LossPlaces);

    [Fact]
    public async Task Whitespace_after_the_end_token_carries_no_loss()
    {
        var row = await EncodeAsync(
            "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{{ eos_token }} {% endfor %}{% if add_generation_prompt %}a:{% endif %}",
            Conversation);
        Assert.Equal([23, 30, 3, 4, 2, 29, 3, 30, 5, 6, 2, 29, 23, 30, 7, 2, 29, 3, 30, 8, 2, 29], row.Ids);
        Assert.Equal([8, 9, 10, 19, 20], row.LossPlaces);
    }

    [Fact]
    public async Task What_a_template_writes_after_the_last_message_alone_closes_the_last_turn_alone()
    {
        var row = await EncodeAsync("{% for m in messages %}{{ m.role[0] }}:{{ m.content }}?{% endfor %}{% if add_generation_prompt %}"
            + "a:{% else %}{{ eos_token }}{% endif %}", Conversation);
        Assert.Equal([7, 8, 9, 16, 17, 18], row.LossPlaces);
        Assert.Equal([31, 2], row.Ids[^2..]);
    }

    [Theory]
    [InlineData("{% for m in messages %}{{ m.role[0] }}:{% if loop.last or m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}a:{% endif %}",
        "data.jsonl:1: the chat template writes what stands before or in message 2 in another way once more follows, so the assistant's "
            + "text cannot be found in the whole; mark it with {% generation %} in a chat_template.jinja, or set \"weight\": 0")]
    [InlineData("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "data.jsonl:1: the chat template writes what stands before or in message 2 in another way")]
    [InlineData("{% if messages | length > 2 %}{{ raise_exception('too long') }}{% endif %}",
        "data.jsonl:1: the chat template cannot write the messages: ")]
    [InlineData(null, "data.jsonl:1: the row has \"messages\" and the model no chat template; "
        + "put the model's chat_template.jinja into its folder, or write rows with \"prompt\" and \"completion\"")]
    public async Task A_template_that_cannot_be_learned_from_is_refused_by_line(string? template, string message) =>
        Assert.StartsWith(message, (await Assert.ThrowsAsync<BadInputException>(() => EncodeAsync(template, Conversation))).Message,
            StringComparison.Ordinal);

    [Theory]
    [InlineData(22, new[] { 1, 23, 30, 3, 4, 2, 1, 3, 30, 5, 6, 2, 1, 23, 30, 7, 2, 1, 3, 30, 8, 2 }, new[] { 9, 10, 11, 20, 21 })]
    [InlineData(13, new[] { 1, 6, 2, 1, 23, 30, 7, 2, 1, 3, 30, 8, 2 }, new[] { 1, 2, 11, 12 })]
    [InlineData(2, new[] { 1, 8 }, new[] { 1 })]
    public async Task A_long_conversation_loses_its_front_first_and_the_last_turn_last(int maxTokens, int[] ids, int[] places)
    {
        var row = await EncodeAsync(TinyChat.Template, Conversation, maxTokens);
        Assert.Equal(ids, row.Ids);
        Assert.Equal(places, row.LossPlaces);
    }

    [Fact]
    public async Task What_follows_the_last_turn_goes_before_anything_else()
    {
        var row = await EncodeAsync(TinyChat.Template,
            """{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}""", 10);
        Assert.Equal([1, 23, 30, 3, 2, 1, 3, 30, 4, 2], row.Ids);
        Assert.Equal([8, 9], row.LossPlaces);
    }

    [Fact]
    public async Task Candidates_take_the_place_of_the_last_turn()
    {
        using var chat = new TinyChat();
        var example = await ReadAsync(chat, Conversation);
        var row = Encoder(chat, 40).Encode(example, ["f", "fg", "h"], 1);
        Assert.Equal([1, 23, 30, 3, 4, 2, 1, 3, 30, 5, 6, 2, 1, 23, 30, 7, 2, 1, 3, 30], row.Prefix);
        Assert.Equal([[8, 2], [8, 9, 2], [10, 2]], row.Tails);
        Assert.Equal([0, 0, 0], row.LossFrom);
    }

    [Theory]
    [InlineData("""{"messages":[]}""", "\"messages\" has no messages")]
    [InlineData("""{"messages":"a"}""", "\"messages\" has no messages")]
    [InlineData("""{"messages":[1]}""", "message 1 is no object")]
    [InlineData("""{"messages":[{"content":"a"}]}""", "message 1 has no \"role\"")]
    [InlineData("""{"messages":[{"role":"assistant"}]}""", "message 1 has no \"content\"")]
    [InlineData("""{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null}]}""", "message 2 has no \"content\"")]
    [InlineData("""{"messages":[{"role":"user","content":"a"}]}""", "\"messages\" has no message of the assistant to learn")]
    [InlineData("""{"messages":[{"role":"assistant","content":"a","weight":0}]}""",
        "\"messages\" has no message of the assistant to learn")]
    [InlineData("""{"messages":[{"role":"assistant","content":"a","weight":2}]}""", "message 1 has a \"weight\"")]
    [InlineData("""{"messages":[{"role":"assistant","content":"a"}],"tools":{}}""", "\"tools\" is no list")]
    [InlineData("""{"messages":[{"role":"assistant","content":123456789012345678901}]}""", "an integer has more than 64 bits")]
    [InlineData("""{"messages":[{"role":"assistant","content":"\ud800"}]}""", "half of a character")]
    public async Task A_conversation_that_is_not_valid_is_refused_by_line(string line, string problem)
    {
        using var chat = new TinyChat();
        var message = (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync(chat, line))).Message;
        Assert.Contains("data.jsonl:1: ", message, StringComparison.Ordinal);
        Assert.Contains(problem, message, StringComparison.Ordinal);
    }

    private static async Task<EncodedRow> EncodeAsync(string? template, string line, int maxTokens = 40)
    {
        using var chat = new TinyChat(template);
        return Encoder(chat, maxTokens).Encode(await ReadAsync(chat, line), "data.jsonl");
    }

    private static RowEncoder Encoder(TinyChat chat, int maxTokens) =>
        new(Tokenizer.Load(chat.Model), maxTokens, () => ChatTemplate.Find(chat.Model));

    private static async Task<Example> ReadAsync(TinyChat chat, string line)
    {
        chat.Federation.Write("data.jsonl", [line]);
        return (await JsonLines.ReadAsync(Path.Combine(chat.Federation.Root, "data.jsonl"), 0, null, default))[0];
    }
}
