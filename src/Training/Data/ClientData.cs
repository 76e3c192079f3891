using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Training.Data;

/// <summary>A client's training rows.</summary>
/// <param name="Rows">In the file's order.</param>
/// <param name="Completions">Distinct completions of labelled rows.</param>
internal sealed record TrainingRows(IReadOnlyList<EncodedRow> Rows, IReadOnlyList<string> Completions)
{
    public long SizeBytes => Rows.Sum(static row => 48L + sizeof(int) * row.Ids.Length);
}

/// <summary>A client's test rows.</summary>
/// <param name="Examples">As written.</param>
/// <param name="Rows">Encoded.</param>
/// <param name="Candidates">For label scoring: the distinct completions of labelled training and test rows, in ordinal order.</param>
internal sealed record TestRows(IReadOnlyList<Example> Examples, IReadOnlyList<EncodedRow> Rows, IReadOnlyList<string> Candidates)
{
    /// <summary>Whether every row carries a label.</summary>
    public bool AreLabelled => Examples.All(static example => example.Label is not null);

    /// <summary>Share of the most frequent label; null where a row has none.</summary>
    public double? MajorityShare => AreLabelled
        ? (double)Examples.GroupBy(static example => example.Label, StringComparer.Ordinal).Max(static group => group.Count()) / Examples.Count
        : null;

    public long SizeBytes => Rows.Sum(static row => 48L + sizeof(int) * row.Ids.Length) + Examples.Sum(static example => example.SizeBytes);
}

/// <summary>Reads and encodes a client's files.</summary>
internal static class ClientData
{
    public static async Task<TrainingRows> TrainingAsync(string path, ClientSpec client, ulong planSeed, RowEncoder encoder, CancellationToken cancellationToken)
    {
        var examples = await JsonLines.ReadAsync(path, client.Data.Offset, client.Data.Rows, cancellationToken);
        if (client.Data.ShuffleLabels) examples = Shuffled(examples, Seed.For(planSeed, 0, client.Id, "shuffle-labels"));
        return new([.. examples.Select(example => encoder.Encode(example, path))], CompletionsOf(examples));
    }

    public static async Task<TestRows> TestAsync(string path, int? maxRows, TrainingRows training, RowEncoder encoder, CancellationToken cancellationToken)
    {
        var examples = await JsonLines.ReadAsync(path, 0, null, cancellationToken);
        if (maxRows < examples.Count) examples = examples[..maxRows.Value];
        var candidates = training.Completions.Union(CompletionsOf(examples), StringComparer.Ordinal).Order(StringComparer.Ordinal);
        return new(examples, [.. examples.Select(example => encoder.Encode(example, path))], [.. candidates]);
    }

    // Completions and labels move together, prompts stay.
    private static List<Example> Shuffled(List<Example> examples, ulong seed) =>
        [.. examples.Zip(Permutation.Of(examples.Count, seed), (example, other) => example with { Completion = examples[other].Completion, Label = examples[other].Label })];

    private static IReadOnlyList<string> CompletionsOf(List<Example> examples) =>
        [.. examples.Where(static example => example.Label is not null).Select(static example => example.Completion).Distinct(StringComparer.Ordinal)];
}
