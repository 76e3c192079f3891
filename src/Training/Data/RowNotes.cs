using FedRLora.Abstractions.Messages;
using FedRLora.Training.Metrics;

namespace FedRLora.Training.Data;

/// <summary>Counts what a reader of a loss or a score has to know of its rows.</summary>
internal static class RowNotes
{
    /// <summary>What lengths, blanks and missing labels do to rows.</summary>
    public static IReadOnlyList<DataNote> Of(IReadOnlyList<Example> examples, IReadOnlyList<EncodedRow> rows, bool training)
    {
        var lost = rows.Where(static row => row.PromptLost > 0 && KeepsLittle(row)).ToList();
        var cut = rows.Where(static row => row.PromptLost > 0 && !KeepsLittle(row)).ToList();
        var answers = rows.Where(static row => row.AnswerLost.Length > 0).ToList();
        var unlabelled = examples.Count(static example => example.Label is null);
        return
        [
            .. Lengths(DataNoteKind.PromptCut, cut), .. Lengths(DataNoteKind.PromptLost, lost), .. Lengths(DataNoteKind.AnswerCut, answers),
            .. Note(DataNoteKind.DoubleBlank, examples.Count(static example => example.HasDoubleBlank)),
            .. training && unlabelled < examples.Count ? Note(DataNoteKind.Unlabelled, unlabelled) : [],
        ];

        IEnumerable<DataNote> Lengths(DataNoteKind kind, List<EncodedRow> found) =>
            Note(kind, found.Count).Select(note =>
                note with { Longest = found.Max(static row => row.Ids.Length + row.PromptLost + row.AnswerLost.Length) });

        IEnumerable<DataNote> Note(DataNoteKind kind, int count) =>
            count == 0 ? [] : [new() { Kind = kind, Training = training, Count = count, Of = rows.Count }];
    }

    /// <summary>What has to be known of a task's labels where one of them is chosen.</summary>
    /// <param name="examples">The rows that are scored.</param>
    /// <param name="labels">The task's.</param>
    /// <param name="own">Labels that no other client has.</param>
    public static IReadOnlyList<DataNote> OfLabels(IReadOnlyList<Example> examples, TaskLabels labels, int own)
    {
        var notes = new List<DataNote>();
        var scored = examples.Select(static example => example.Label).OfType<string>()
            .Select(TaskLabels.Spelling).Distinct(StringComparer.Ordinal).Count();
        if (scored == 1 && labels.Names.Count > 1)
            notes.Add(new() { Kind = DataNoteKind.OneLabelScored, Count = examples.Count, Of = examples.Count });
        if (labels.Alike > 0) notes.Add(new() { Kind = DataNoteKind.LabelCase, Count = labels.Alike, Of = labels.Names.Count });
        if (own > 0) notes.Add(new() { Kind = DataNoteKind.OwnLabel, Count = own, Of = labels.Names.Count });
        return notes;
    }

    private static bool KeepsLittle(EncodedRow row) => 4L * row.Start < row.Start + row.PromptLost;
}
