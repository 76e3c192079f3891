using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Training.Tests;

/// <summary>
/// The tiny federation with a chat template, so that rows are conversations: a message is <c>&lt;s&gt;</c>, the first letter of its role, a
/// colon, its content, <c>&lt;/s&gt;</c>. Letters are tokens: a is 3, b is 4, the space 29, the colon 30.
/// </summary>
internal sealed class TinyChat : IDisposable
{
    public const string Template = """
        {%- for message in messages %}
            {{- bos_token + message.role[0] + ':' + message.content + eos_token }}
        {%- endfor %}
        {%- if add_generation_prompt %}
            {{- bos_token + 'a:' }}
        {%- endif %}
        """;

    public TinyChat(string? template = Template)
    {
        var tokenizer = JsonNode.Parse(File.ReadAllText(Tokenizer))!;
        tokenizer["added_tokens"] = new JsonArray(Added(1, "<s>"), Added(2, "</s>"));
        File.WriteAllText(Tokenizer, tokenizer.ToJsonString());
        if (template is not null) File.WriteAllText(Path.Combine(Model, "chat_template.jinja"), template);
    }

    public TinyFederation Federation { get; } = new();

    public string Model => Path.Combine(Federation.Root, "model");

    private string Tokenizer => Path.Combine(Model, "tokenizer.json");

    /// <summary>A line of a data file: messages of alternating roles, the first a user's.</summary>
    public static string Row(string? label, params IEnumerable<string> contents) => JsonSerializer.Serialize(new
    {
        messages = contents.Select(static (content, place) => new { role = place % 2 == 0 ? "user" : "assistant", content }),
        label,
    });

    public FederationPlan Plan() => Federation.Plan() with { Training = Federation.Plan().Training with { MaxTokens = 40 } };

    public void Dispose() => Federation.Dispose();

    private static JsonObject Added(int id, string content) => new()
    {
        ["id"] = id, ["content"] = content, ["single_word"] = false, ["lstrip"] = false, ["rstrip"] = false, ["normalized"] = false,
        ["special"] = true,
    };
}
