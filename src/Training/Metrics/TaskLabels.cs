using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Data;
using FedRLora.Training.Data.Tokenizers.Normalizers;

namespace FedRLora.Training.Metrics;

/// <summary>
/// The labels of a task and the answers that stand for each. Labels that differ in blanks, or in how Unicode writes the same signs, are
/// one. An answer is a completion as rows write it, so a label may have several.
/// </summary>
internal sealed class TaskLabels
{
    private static readonly Func<string, string> Composed = UnicodeNormalization.Form(compatible: false, composed: true);

    private static readonly Func<string, string> Compatible = UnicodeNormalization.Form(compatible: true, composed: true);

    private readonly Dictionary<string, int> _labels = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _answers = new(StringComparer.Ordinal);

    private TaskLabels(IEnumerable<(string Label, string Answer)> pairs)
    {
        var byAnswer = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (label, answer) in pairs.Select(static pair => (Spelling(pair.Label), pair.Answer)))
        {
            _labels.TryAdd(label, 0);
            if (!byAnswer.TryAdd(answer, label) && byAnswer[answer] != label) Ambiguous ??= (answer, byAnswer[answer], label);
        }

        Names = [.. _labels.Keys.Order(StringComparer.Ordinal)];
        for (var i = 0; i < Names.Count; i++) _labels[Names[i]] = i;
        Answers = [.. byAnswer.Keys];
        LabelOf = [.. byAnswer.Values.Select(label => _labels[label])];
        for (var i = 0; i < Answers.Count; i++) _answers[Answers[i]] = i;
    }

    /// <summary>No label at all.</summary>
    public static TaskLabels None { get; } = new([]);

    /// <summary>The labels, in ordinal order.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>The answers of all labels, in ordinal order.</summary>
    public IReadOnlyList<string> Answers { get; }

    /// <summary>Of each answer, the place of its label.</summary>
    public IReadOnlyList<int> LabelOf { get; }

    /// <summary>An answer that stands for two labels, so that nothing can be told by it; null where each stands for one.</summary>
    public (string Answer, string First, string Second)? Ambiguous { get; }

    /// <summary>Of how many labels another differs in case, width or unseen signs alone.</summary>
    public int Alike => Names.GroupBy(Seen, StringComparer.OrdinalIgnoreCase)
        .Where(static group => group.Count() > 1).Sum(static group => group.Count());

    /// <summary>A short digest of labels and answers.</summary>
    public string Frame
    {
        get
        {
            var text = string.Join('\n', Answers.Select((answer, i) =>
                $"{Names[LabelOf[i]].Length} {Names[LabelOf[i]]} {answer.Length} {answer}"));
            return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..16];
        }
    }

    /// <summary>The place of a label; null for one that is none of them.</summary>
    public int? PlaceOf(string label) => _labels.TryGetValue(Spelling(label), out var place) ? place : null;

    /// <summary>The place of a completion among the answers; null for one that is none of them.</summary>
    public int? AnswerOf(string completion) => _answers.TryGetValue(completion, out var place) ? place : null;

    /// <summary>Labels as rows give them, with the completions of the same rows as their answers.</summary>
    /// <param name="rows">Label and completion of labelled rows.</param>
    /// <param name="declared">The labels that the plan gives the task; null for those of the rows.</param>
    public static TaskLabels Of(IEnumerable<(string Label, string Completion)> rows, IReadOnlyList<LabelSpec>? declared = null)
    {
        if (declared is null) return new(rows);
        var byRows = rows.ToLookup(static row => Spelling(row.Label), static row => row.Completion, StringComparer.Ordinal);
        return new(declared.Select(label => label with { Name = NameIn(byRows, label.Name) })
            .SelectMany(label => AnswersOf(label, byRows).Select(answer => (label.Name, answer))));
    }

    // A plan may write a number in another way than rows do; as a text of its own 1.0 stays what it is.
    private static string NameIn(ILookup<string, string> byRows, string name) =>
        byRows.Contains(Spelling(name)) ? name : NumberLabel.Of(name);

    // A label that no row has is written as itself.
    private static IEnumerable<string> AnswersOf(LabelSpec label, ILookup<string, string> byRows)
    {
        if (label.Answers.Count > 0) return label.Answers;
        return byRows.Contains(Spelling(label.Name)) ? byRows[Spelling(label.Name)].Distinct(StringComparer.Ordinal) : [label.Name];
    }

    /// <summary>What of a label counts.</summary>
    public static string Spelling(string label) =>
        string.Join(' ', Composed(label).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    // Without zero-width signs, and full-width letters as plain ones.
    private static string Seen(string label) =>
        string.Concat(Compatible(label).Where(static sign => CharUnicodeInfo.GetUnicodeCategory(sign) != UnicodeCategory.Format));
}
