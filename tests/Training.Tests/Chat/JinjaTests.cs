using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat.Jinja;

namespace FedRLora.Training.Tests.Chat;

/// <summary>
/// Our own templates against what Jinja2 3.1.6 makes of them under the settings of chat templates (trim_blocks, lstrip_blocks, loop
/// controls, tojson without ASCII escapes): <c>Golden/jinja-cases.jsonl</c>, where a text of null means that it refuses.
/// </summary>
public sealed class JinjaTests
{
    internal const string Variables = """
        {"xs": [1, 2, 3], "words": ["b", "a", "C"], "d": {"one": 1, "two": [2, null, true, 1.5], "s": "it's \"é\" 😀\n"},
         "text": " Hello, World 😀 ",
         "none": null, "n": 7, "f": 2.5,
         "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"},
         {"role": "user", "content": "x", "tags": []}]}
        """;

    [Fact]
    public void Templates_give_what_jinja_gives_and_refuse_what_it_refuses()
    {
        var wrong = new List<string>();
        foreach (var line in File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Golden", "jinja-cases.jsonl")))
        {
            using var document = JsonDocument.Parse(line);
            var (template, expected) = (document.RootElement.GetProperty("template").GetString()!,
                document.RootElement.GetProperty("text").GetString());
            string? text;
            try
            {
                text = Render(template);
            }
            catch (BadInputException problem)
            {
                text = expected is null ? null : $"refused: {problem.Message}";
            }

            if (text != expected) wrong.Add($"{template}\n  gave     {text ?? "a refusal"}\n  expected {expected ?? "a refusal"}");
        }

        Assert.True(wrong.Count == 0, $"{wrong.Count} differences:\n{string.Join('\n', wrong)}");
    }

    [Theory]
    [InlineData("{% if true %}\n{{ 1 }}\n{{ a.b }}\n{% endif %}",
        "t.jinja:3: the attribute b is asked of a, which is not defined; test it with 'is defined' first")]
    [InlineData("a\n\n{{ 'x' + 1 }}", "t.jinja:3: '+' has no meaning for a string and a number; join with ~ to turn both into strings")]
    [InlineData("a\n{% for x in xs %}\nb", "t.jinja:3: the block that begins in line 2 is not closed; end it with {% endfor %}")]
    [InlineData("\n\n{# a", "t.jinja:3: a comment is not closed; end it with #}")]
    [InlineData("{{ raise_exception('roles must\nalternate') }}", "t.jinja:1: the template refuses the conversation: roles must alternate")]
    [InlineData("{{ 1 | shout }}", "t.jinja:1: there is no filter shout; known are ")]
    [InlineData("{% include 'x' %}", "t.jinja:1: the statement include is not one of ")]
    [InlineData("{{ range(10 ** 9) }}", "t.jinja:1: a range of 1000000000 numbers; at most 100000 are made")]
    [InlineData("{{ [1].append(2) }}", "t.jinja:1: a list cannot be changed by append; ")]
    public void An_error_names_file_and_line_and_says_what_to_do(string template, string message) =>
        Assert.StartsWith(message, Assert.Throws<BadInputException>(() => Render(template)).Message, StringComparison.Ordinal);

    [Fact]
    public void The_generation_tag_marks_what_the_assistant_says()
    {
        const string Template = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
            + "!{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
        var (text, generated) = Run(Template);
        Assert.Equal("<user>hi<assistant>ho!<user>x", text);
        Assert.Equal("ho!", Assert.Single(generated.Select(span => text[span.From..span.To])));
    }

    [Fact]
    public void The_time_is_the_callers()
    {
        Assert.Equal("26 Jul 2024, Friday 208 9", Run("{{ strftime_now('%d %b %Y, %A %j %-H') }}").Text);
    }

    internal static string Render(string template) => Run(template).Text;

    private static (string Text, IReadOnlyList<(int From, int To)> Generated) Run(string template)
    {
        using var document = JsonDocument.Parse(Variables);
        var variables = ((DictValue)JsonText.Read(document.RootElement)).Entries
            .Select(static entry => KeyValuePair.Create(((TextValue)entry.Key).Value, entry.Value));
        return JinjaTemplate.Parse(template, static line => $"t.jinja:{line}")
            .Run(variables, Variables.Length, new(2024, 7, 26, 9, 0, 0, TimeSpan.Zero));
    }
}
