using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat.Jinja;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Data.Chat;

/// <summary>A conversation as text.</summary>
/// <param name="Text">What the tokenizer is given; it has the special tokens in it.</param>
/// <param name="Generated">The places that the template marks as the assistant's, in order; empty where it marks none.</param>
public sealed record RenderedChat(string Text, IReadOnlyList<(int From, int To)> Generated);

/// <summary>How a model writes a conversation: the chat template of its folder. Safe to share between threads.</summary>
public sealed class ChatTemplate
{
    /// <summary>
    /// The day that a template writes where it asks for one and the caller names none: training must not depend on the day it runs.
    /// </summary>
    public static readonly DateTimeOffset PinnedDay = new(2024, 7, 26, 12, 0, 0, TimeSpan.Zero);

    private readonly JinjaTemplate _default;
    private readonly JinjaTemplate? _withTools;
    private readonly IReadOnlyDictionary<string, string> _specialTokens;

    internal ChatTemplate(JinjaTemplate standard, JinjaTemplate? withTools, IReadOnlyDictionary<string, string> specialTokens) =>
        (_default, _withTools, _specialTokens) = (standard, withTools, specialTokens);

    /// <summary>
    /// The template of a model: <c>chat_template.jinja</c>, else <c>chat_template</c> in <c>tokenizer_config.json</c> (a template,
    /// or named ones of which <c>tool_use</c> serves conversations with tools), else in <c>chat_template.json</c>.
    /// </summary>
    /// <param name="path">A Hugging Face folder or a GGUF file.</param>
    /// <returns>Null where the model has none.</returns>
    /// <exception cref="BadInputException">A template is not valid; file and line are named.</exception>
    public static ChatTemplate? Find(string path) => Find(ModelSource.At(path));

    /// <inheritdoc cref="Find(string)"/>
    internal static ChatTemplate? Find(ModelSource source) => ChatTemplateFiles.Read(source);

    /// <summary>Writes a conversation.</summary>
    /// <param name="conversation">Messages and tools.</param>
    /// <param name="addGenerationPrompt">Whether the text ends where the assistant begins to speak.</param>
    /// <param name="now">The day that the template may write; <see cref="PinnedDay"/> where it is not given.</param>
    /// <exception cref="BadInputException">
    /// The template cannot write it, or refuses to; file and line of the template are named.
    /// </exception>
    public RenderedChat Render(Conversation conversation, bool addGenerationPrompt, DateTimeOffset? now = null)
    {
        var variables = conversation.Variables.Append(new("add_generation_prompt", Value.Of(addGenerationPrompt)))
            .Concat(_specialTokens.Select(static token => KeyValuePair.Create(token.Key, Value.Of(token.Value))));
        var template = conversation.HasTools ? _withTools ?? _default : _default;
        var (text, generated) = template.Run(variables, conversation.Length, now ?? PinnedDay);
        return new(text, generated);
    }
}
