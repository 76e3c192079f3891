using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Data;

/// <summary>A row as token ids; the loss is on <c>Ids[Start..]</c>.</summary>
/// <param name="Ids">Prompt and completion.</param>
/// <param name="Start">First completion token; at least 1, because nothing predicts a text's first token.</param>
internal sealed record EncodedRow(int[] Ids, int Start)
{
    /// <summary>Tokens that carry loss.</summary>
    public int LossTokens => Ids.Length - Start;
}

/// <summary>A prompt with the tails that its label candidates give it.</summary>
/// <param name="Prefix">What all candidates share.</param>
/// <param name="Tails">What follows, one array per candidate.</param>
/// <param name="LossFrom">Where in its tail a candidate's completion begins.</param>
/// <param name="Own">The candidate that is right.</param>
internal sealed record CandidateRow(int[] Prefix, int[][] Tails, int[] LossFrom, int Own);

/// <summary>
/// Text to token ids. The text is <c>prompt + " " + completion</c>; completion tokens are what follows the longest common prefix of
/// the ids of the prompt and of the whole text, plus the end token where the tokenizer has one. What exceeds the limit is taken from
/// the front of the prompt, after its begin token, then from the end of the completion.
/// </summary>
internal sealed class RowEncoder(Tokenizer tokenizer, int maxTokens)
{
    /// <summary>Encodes a row of a file.</summary>
    /// <exception cref="BadInputException">The row has no token to learn.</exception>
    public EncodedRow Encode(Example example, string path)
    {
        var (ids, start) = WholeText(example.Prompt, tokenizer.Encode(example.Prompt, addSpecialTokens: true), example.Completion);
        var kept = start > 0 && ids[0] == tokenizer.BeginId ? 1 : 0;
        var prefix = Shorten(ids[..start], Math.Max(kept, maxTokens - (ids.Length - start)));
        int[] row = [.. prefix, .. ids.Skip(start).Take(maxTokens - prefix.Length)];
        var first = Math.Max(1, prefix.Length);
        return row.Length > first ? new(row, first) : throw new BadInputException($"{path}:{example.Line}: the row has no token to learn; give it a completion");
    }

    /// <summary>Encodes a prompt with every candidate as its completion.</summary>
    public CandidateRow Encode(string prompt, IReadOnlyList<string> candidates, int own)
    {
        var promptIds = tokenizer.Encode(prompt, addSpecialTokens: true);
        var texts = candidates.Select(candidate => WholeText(prompt, promptIds, candidate)).ToList();
        var shared = texts.Min(static text => text.Start);
        var longest = Math.Min(maxTokens - 1, texts.Max(text => text.Ids.Length - shared));
        return new(
            Shorten(texts[0].Ids[..shared], maxTokens - longest),
            [.. texts.Select(text => text.Ids[shared..Math.Min(text.Ids.Length, shared + longest)])],
            [.. texts.Select(text => text.Start - shared)],
            own);
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
