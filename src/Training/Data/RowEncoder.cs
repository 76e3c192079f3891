using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Data;

/// <summary>A prompt with the tails that its label candidates give it.</summary>
/// <param name="Prefix">What all candidates share.</param>
/// <param name="Tails">What follows, one array per candidate.</param>
/// <param name="LossFrom">Where in its tail a candidate's completion begins.</param>
/// <param name="Own">The candidate that is right.</param>
/// <param name="TokensNeeded">The limit that would leave each candidate whole; null where each is.</param>
internal sealed record CandidateRow(int[] Prefix, int[][] Tails, int[] LossFrom, int Own, int? TokensNeeded);

/// <summary>
/// Rows to token ids. The text is <c>prompt + " " + completion</c>; completion tokens are what follows the longest common prefix of
/// the ids of the prompt and of the whole text, plus the end token where the tokenizer has one. A conversation is written by the model's
/// chat template, as <see cref="ChatRows"/> says. What exceeds the limit is taken from what follows the last turn that is learned, then
/// from the front, after the begin token, up to that turn, then from its end.
/// </summary>
/// <param name="tokenizer">The model's.</param>
/// <param name="maxTokens">The limit.</param>
/// <param name="chat">The model's chat template, asked for at the first conversation.</param>
internal sealed class RowEncoder(Tokenizer tokenizer, int maxTokens, Func<ChatTemplate?>? chat = null)
{
    /// <summary>Encodes a row of a file.</summary>
    /// <exception cref="BadInputException">The row has no token to learn, or the model cannot write it.</exception>
    public EncodedRow Encode(Example example, string path)
    {
        var place = $"{path}:{example.Line}";
        var (ids, spans) = Whole(example, place);
        if (spans.Count > 0 && ids.Length > maxTokens) ids = ids[..spans[^1].To];
        var start = spans.Count > 0 ? spans[^1].From : 0;
        var kept = start > 0 && ids[0] == tokenizer.BeginId ? 1 : 0;
        var prefix = Shorten(ids[..start], Math.Max(kept, maxTokens - (ids.Length - start)));
        int[] row = [.. prefix, .. ids.Skip(start).Take(maxTokens - prefix.Length)];
        var removed = start - prefix.Length;
        var left = spans.Select(span => new LossSpan(Math.Max(1, span.From - removed), Math.Min(row.Length, span.To - removed)))
            .Where(static span => span.From < span.To).ToList();
        return left.Count > 0
            ? new(row, left) { PromptLost = removed, AnswerLost = ids[(removed + row.Length)..] }
            : throw new BadInputException(spans.Count > 0 && maxTokens < 2
                ? $"{place}: maxTokens: {maxTokens} leaves no token to learn behind a first one; give 2 or more"
                : $"{place}: the row has no token to learn; give it a completion");
    }

    /// <summary>Encodes a row with every candidate as its completion.</summary>
    public CandidateRow Encode(Example example, IReadOnlyList<string> candidates, int own)
    {
        var texts = example.Chat is null ? Texts(example.Prompt, candidates) : Chats(example, candidates);
        var shared = texts.Min(text => Math.Min(text.Start, texts[0].Ids.AsSpan().CommonPrefixLength(text.Ids)));
        var whole = texts.Max(text => text.Ids.Length - shared);
        var longest = Math.Min(maxTokens - 1, whole);
        return new(
            Shorten(texts[0].Ids[..shared], maxTokens - longest),
            [.. texts.Select(text => text.Ids[shared..Math.Min(text.Ids.Length, shared + longest)])],
            [.. texts.Select(text => text.Start - shared)],
            own,
            whole > longest ? whole + 1 : null);
    }

    private List<(int[] Ids, int Start)> Texts(string prompt, IReadOnlyList<string> candidates)
    {
        var promptIds = tokenizer.Encode(prompt, addSpecialTokens: true);
        return [.. candidates.Select(candidate => WholeText(prompt, promptIds, candidate))];
    }

    // Up to the end of the turn: what follows it says nothing about it.
    private List<(int[] Ids, int Start)> Chats(Example example, IReadOnlyList<string> candidates) => [.. candidates.Select(candidate =>
    {
        var (ids, spans) = Whole(example with { Completion = candidate }, $"line {example.Line} with another label's completion");
        return (ids[..spans[^1].To], spans[^1].From);
    })];

    private (int[] Ids, IReadOnlyList<LossSpan> Spans) Whole(Example example, string place)
    {
        if (example.Chat is { } conversation)
        {
            var template = chat?.Invoke() ?? throw new BadInputException($"{place}: the row has \"messages\" and the model no chat "
                + "template; put the model's chat_template.jinja into its folder, or write rows with \"prompt\" and \"completion\"");
            return new ChatRows(tokenizer, template).Encode(conversation.WithAnswer(example.Completion), place);
        }

        var (ids, start) = WholeText(example.Prompt, tokenizer.Encode(example.Prompt, addSpecialTokens: true), example.Completion);
        return (ids, [new(start, ids.Length)]);
    }

    private (int[] Ids, int Start) WholeText(string prompt, int[] promptIds, string completion)
    {
        var ids = tokenizer.Encode(prompt.Length == 0 ? completion : $"{prompt} {completion}", addSpecialTokens: true);
        var start = promptIds.AsSpan().CommonPrefixLength(ids);
        return (tokenizer.EndId is { } end && (ids.Length == 0 || ids[^1] != end) ? [.. ids, end] : ids, start);
    }

    private int[] Shorten(int[] prompt, int length)
    {
        if (prompt.Length <= length) return prompt;
        return length > 0 && prompt[0] == tokenizer.BeginId ? [prompt[0], .. prompt[^(length - 1)..]] : prompt[^length..];
    }
}
