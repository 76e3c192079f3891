using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Data.Chat;

/// <summary>
/// Conversations to token ids, with the loss on what the assistant says. The ids are those of the whole rendered text. Where the template
/// marks the assistant's text with <c>generation</c>, the loss is on the marked tokens. Elsewhere a turn begins where the messages before
/// it end with the generation prompt, and ends where the messages up to it end; both have to be prefixes of the whole. What the template
/// writes to end a turn, such as its end token, belongs to the turn; whitespace after that token does not. A token that reaches over a
/// boundary belongs to what follows it.
/// </summary>
internal sealed class ChatRows(Tokenizer tokenizer, ChatTemplate template)
{
    /// <summary>Encodes a conversation.</summary>
    /// <param name="conversation">With at least one turn to learn.</param>
    /// <param name="place">File and line, for an error.</param>
    /// <exception cref="BadInputException">The template cannot write it, or the turns cannot be told apart.</exception>
    public (int[] Ids, IReadOnlyList<LossSpan> Spans) Encode(Conversation conversation, string place)
    {
        var whole = Render(conversation, addGenerationPrompt: false, place);
        var ids = tokenizer.Encode(whole.Text, addSpecialTokens: false);
        IEnumerable<LossSpan> spans = whole.Generated.Count > 0
            ? Marked(conversation, whole, place).Select(
                mark => new LossSpan(TokensOf(whole.Text[..mark.From], ids), TokensOf(whole.Text[..mark.To], ids)))
            : conversation.LearnedTurns.Select(turn => Turn(conversation, turn, whole.Text, ids, place));
        return (ids, [.. spans]);
    }

    private static IEnumerable<(int From, int To)> Marked(Conversation conversation, RenderedChat whole, string place)
    {
        var (turns, learned) = (conversation.AssistantTurns.ToList(), conversation.LearnedTurns.ToHashSet());
        if (learned.Count == turns.Count) return whole.Generated;
        if (turns.Count != whole.Generated.Count)
            throw new BadInputException($"{place}: the template marks {whole.Generated.Count} texts of the assistant, "
                + $"the row has {turns.Count} turns of it, so \"weight\" cannot be followed; mark each turn once");
        return whole.Generated.Zip(turns).Where(pair => learned.Contains(pair.Second)).Select(static pair => pair.First);
    }

    private LossSpan Turn(Conversation conversation, int turn, string whole, int[] ids, string place)
    {
        var before = Render(conversation.First(turn), addGenerationPrompt: true, place).Text;
        var from = whole.StartsWith(before, StringComparison.Ordinal) ? TokensOf(before, ids) : throw NoPrefix(turn, place);
        if (turn == conversation.Count - 1) return new(from, End(ids, from, ids.Length));
        var through = Render(conversation.First(turn + 1), addGenerationPrompt: false, place).Text;
        return whole.StartsWith(through, StringComparison.Ordinal)
            ? new(from, End(ids, from, TokensOf(through, ids)))
            : new(from, End(ids, from, WithoutClosing(through, ids) is { } to && to > from ? to : throw NoPrefix(turn, place)));
    }

    // Special tokens that a template writes after the last message alone, such as Phi-3's end of text, close every prefix too.
    private int? WithoutClosing(string through, int[] ids)
    {
        var prefix = tokenizer.Encode(through, addSpecialTokens: false);
        var shared = prefix.AsSpan().CommonPrefixLength(ids);
        return ids.AsSpan().EndsWith(prefix.AsSpan(shared)) && prefix.Skip(shared).All(IsSpecial) ? shared : null;
    }

    private int End(int[] ids, int from, int to)
    {
        var last = Array.FindLastIndex(ids, to - 1, to - from, IsSpecial);
        return last >= 0 && string.IsNullOrWhiteSpace(tokenizer.Decode(ids[(last + 1)..to], skipSpecialTokens: false)) ? last + 1 : to;
    }

    private bool IsSpecial(int id) =>
        tokenizer.Decode([id], skipSpecialTokens: true).Length == 0 && tokenizer.Decode([id], skipSpecialTokens: false).Length > 0;

    private int TokensOf(string prefix, int[] ids) => tokenizer.Encode(prefix, addSpecialTokens: false).AsSpan().CommonPrefixLength(ids);

    private RenderedChat Render(Conversation conversation, bool addGenerationPrompt, string place)
    {
        try
        {
            return template.Render(conversation, addGenerationPrompt);
        }
        catch (BadInputException problem)
        {
            throw new BadInputException($"{place}: the chat template cannot write "
                + $"{(addGenerationPrompt ? $"the first {conversation.Count} messages" : "the messages")}: {problem.Message}", problem);
        }
    }

    private static BadInputException NoPrefix(int turn, string place) => new(
        $"{place}: the chat template writes what stands before or in message {turn + 1} in another way once more follows, "
        + "so the assistant's text cannot be found in the whole; "
        + "mark it with {% generation %} in a chat_template.jinja, or set \"weight\": 0 on the assistant's messages before the last");
}
