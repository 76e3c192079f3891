namespace FedRLora.Training.Data;

/// <summary>A run of tokens that carry loss: from <paramref name="From"/> up to, without, <paramref name="To"/>.</summary>
internal sealed record LossSpan(int From, int To);

/// <summary>A row as token ids, and where the loss is.</summary>
/// <param name="Ids">Prompt and completion, or a whole conversation.</param>
/// <param name="Spans">
/// In order, none empty, none with a text's first token, which nothing predicts. The last is the completion that evaluation asks for.
/// </param>
internal sealed record EncodedRow(int[] Ids, IReadOnlyList<LossSpan> Spans)
{
    /// <summary>A row with its loss from <paramref name="start"/> to the end.</summary>
    public EncodedRow(int[] ids, int start) : this(ids, [new(start, ids.Length)])
    {
    }

    /// <summary>Tokens at the front that the limit took.</summary>
    public int PromptLost { get; init; }

    /// <summary>Tokens at the end of the last completion that the limit took.</summary>
    public int[] AnswerLost { get; init; } = [];

    /// <summary>First token of the completion.</summary>
    public int Start => Spans[^1].From;

    /// <summary>Tokens that carry loss.</summary>
    public int LossTokens => Spans.Sum(static span => span.To - span.From);

    /// <summary>Bytes in memory, about.</summary>
    public long SizeBytes => 72L + sizeof(int) * (Ids.Length + AnswerLost.Length);

    /// <summary>Their places.</summary>
    public IEnumerable<int> LossPlaces => Spans.SelectMany(static span => Enumerable.Range(span.From, span.To - span.From));
}
