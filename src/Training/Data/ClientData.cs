using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Inputs;
using FedRLora.Training.Metrics;

namespace FedRLora.Training.Data;

/// <summary>A client's training rows.</summary>
/// <param name="Rows">In the file's order.</param>
/// <param name="Notes">What has to be known of them.</param>
internal sealed record TrainingRows(IReadOnlyList<EncodedRow> Rows, IReadOnlyList<DataNote> Notes)
{
    public long SizeBytes => Rows.Sum(static row => row.SizeBytes);
}

/// <summary>A client's test rows.</summary>
/// <param name="Examples">As written.</param>
/// <param name="Rows">Encoded.</param>
/// <param name="Labels">Those of the task.</param>
internal sealed record TestRows(IReadOnlyList<Example> Examples, IReadOnlyList<EncodedRow> Rows, TaskLabels Labels)
{
    /// <summary>Rows without a label.</summary>
    public int Unlabelled { get; } = Examples.Count(static example => example.Label is null);

    /// <summary>A digest of all that is scored: rows as written and as encoded, and labels. Files with equal rows have one.</summary>
    public string Digest { get; } = DigestOf(Examples, Rows, Labels);

    /// <summary>What has to be known of them, whatever the metric is.</summary>
    public IReadOnlyList<DataNote> Notes { get; init; } = [];

    /// <summary>What has to be known where labels are chosen.</summary>
    public IReadOnlyList<DataNote> LabelNotes { get; init; } = [];

    public long SizeBytes => Rows.Sum(static row => row.SizeBytes) + Examples.Sum(static example => example.SizeBytes);

    private static string DigestOf(IReadOnlyList<Example> examples, IReadOnlyList<EncodedRow> rows, TaskLabels labels)
    {
        using var hash = new ContentHash();
        hash.Add(labels.Names.Count).Add(labels.Answers.Count);
        foreach (var name in labels.Names) hash.Add(name);
        foreach (var (answer, label) in labels.Answers.Zip(labels.LabelOf)) hash.Add(answer).Add(label);
        hash.Add(labels.Ambiguous?.Answer).Add(labels.Ambiguous?.First).Add(labels.Ambiguous?.Second);
        foreach (var example in examples)
            hash.Add(example.Line).Add(example.Prompt).Add(example.Completion).Add(example.Label).Add(example.Chat?.Json);
        foreach (var row in rows)
        {
            hash.AddAll<int>(row.Ids).AddAll<int>(row.AnswerLost).Add(row.PromptLost).Add(row.Spans.Count);
            foreach (var span in row.Spans) hash.Add(span.From).Add(span.To);
        }

        return hash.Digest();
    }
}

/// <summary>Reads and encodes a client's files.</summary>
internal static class ClientData
{
    public static async Task<TrainingRows> TrainingAsync(
        string path, ClientSpec client, ulong planSeed, RowEncoder encoder, CancellationToken cancellationToken)
    {
        var examples = await JsonLines.ReadAsync(path, client.Data.Offset, client.Data.Rows, cancellationToken);
        if (client.Data.ShuffleLabels) examples = Shuffled(examples, Seed.For(planSeed, 0, client.Id, "shuffle-labels"));
        List<EncodedRow> rows = [.. examples.Select(example => encoder.Encode(example, path))];
        return new(rows, RowNotes.Of(examples, rows, training: true));
    }

    /// <param name="path">The file.</param>
    /// <param name="maxRows">Rows drawn over the whole file, the same for everyone who asks for as many; null for all.</param>
    /// <param name="client">Whose rows they are; null for a file of nobody.</param>
    /// <param name="task">What is known of the task by its files.</param>
    /// <param name="encoder">Of the model.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public static async Task<TestRows> TestAsync(
        string path, int? maxRows, ClientSpec? client, TaskRows task, RowEncoder encoder, CancellationToken cancellationToken)
    {
        var examples = await JsonLines.ReadAsync(path, 0, null, cancellationToken);
        if (maxRows < examples.Count) examples = Drawn(examples, maxRows.Value);
        List<EncodedRow> rows = [.. examples.Select(example => encoder.Encode(example, path))];
        var trainedOn = client is null ? [] : task.TrainedOn(client, examples);
        return new(examples, rows, task.Labels)
        {
            Notes = [.. RowNotes.Of(examples, rows, training: false), .. trainedOn],
            LabelNotes = RowNotes.OfLabels(examples, task.Labels, client is null ? 0 : task.OwnLabels(client)),
        };
    }

    // Completions and labels move together, prompts stay.
    private static List<Example> Shuffled(List<Example> examples, ulong seed) =>
        [.. examples.Zip(Permutation.Of(examples.Count, seed), (example, other) =>
            example with { Completion = examples[other].Completion, Label = examples[other].Label })];

    // In the file's order. The first rows of a file that is sorted by label would all have one.
    private static List<Example> Drawn(List<Example> examples, int count) =>
        [.. Permutation.Of(examples.Count, Seed.For(0, 0, "", "test-rows")).Take(count).Order().Select(row => examples[row])];
}
