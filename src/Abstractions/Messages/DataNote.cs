using System.Globalization;
using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Messages;

/// <summary>What of a client's rows has to be known beside its loss or score.</summary>
public enum DataNoteKind
{
    /// <summary>Rows lose tokens at the front of their prompt.</summary>
    PromptCut,

    /// <summary>Rows keep less than a quarter of their prompt.</summary>
    PromptLost,

    /// <summary>Rows lose tokens that carry loss.</summary>
    AnswerCut,

    /// <summary>Two blanks stand where the completion begins: one is put between prompt and completion.</summary>
    DoubleBlank,

    /// <summary>Rows without a label beside rows with one.</summary>
    Unlabelled,

    /// <summary>Test rows that this client trains on.</summary>
    TrainedOn,

    /// <summary>Test rows that another client of the task trains on, at the same site.</summary>
    TrainedOnByTask,

    /// <summary>Completions that are longer than the bound of a continuation, so that none can equal them.</summary>
    AnswerTooLong,

    /// <summary>The rows that were scored have one label, the file has more.</summary>
    OneLabelScored,

    /// <summary>Labels that are in no other client's rows of the task at this site.</summary>
    OwnLabel,

    /// <summary>Labels that differ from another in case, width or unseen signs alone.</summary>
    LabelCase,

    /// <summary><c>metric: auto</c> did not take accuracy, since rows have no label.</summary>
    AutoUnlabelled,

    /// <summary><c>metric: auto</c> did not take accuracy, since there are too many labels.</summary>
    AutoManyLabels,

    /// <summary><c>metric: auto</c> did not take accuracy, since the task has one label.</summary>
    AutoOneLabel,

    /// <summary><c>metric: auto</c> did not take accuracy, since one answer stands for several labels.</summary>
    AutoAmbiguous,
}

/// <summary>A count of a client's rows that a reader of its loss or score has to know.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.data-note")]
public sealed record DataNote
{
    /// <summary>What is counted.</summary>
    [Id(0)] public required DataNoteKind Kind { get; init; }

    /// <summary>Whether the rows are those that the client trains on; its test rows otherwise.</summary>
    [Id(1)] public bool Training { get; init; }

    /// <summary>How many.</summary>
    [Id(2)] public required int Count { get; init; }

    /// <summary>Of how many.</summary>
    [Id(3)] public required int Of { get; init; }

    /// <summary>Tokens of the longest row, or of the longest answer; 0 where length does not matter.</summary>
    [Id(4)] public int Longest { get; init; }

    /// <summary>The same of another client's rows, so that one line can speak for a task.</summary>
    public DataNote And(DataNote other) => Kind is DataNoteKind.AutoManyLabels or DataNoteKind.OwnLabel or DataNoteKind.LabelCase
        ? this with { Count = Math.Max(Count, other.Count), Of = Math.Max(Of, other.Of) }
        : this with { Count = Count + other.Count, Of = Of + other.Of, Longest = Math.Max(Longest, other.Longest) };

    /// <summary>In one line, with what to do.</summary>
    [JsonIgnore]
    public string Text
    {
        get
        {
            var rows = Invariant($"{Count} of {Of} {(Training ? "training" : "test")} rows");
            return Kind switch
            {
                DataNoteKind.PromptCut => Invariant($"{rows} lose the front of their prompt; with maxTokens: {Longest} none would"),
                DataNoteKind.PromptLost =>
                    Invariant($"{rows} keep less than a quarter of their prompt; with maxTokens: {Longest} they would keep all"),
                DataNoteKind.AnswerCut => Invariant($"{rows} lose tokens of their completion; with maxTokens: {Longest} none would"),
                DataNoteKind.DoubleBlank => $"{rows} have two blanks where the completion begins: one is put between prompt and completion",
                DataNoteKind.Unlabelled => $"{rows} have no label",
                DataNoteKind.TrainedOn => $"{rows} are among the rows that the client trains on",
                DataNoteKind.TrainedOnByTask => $"{rows} are among the rows that another client of the task trains on",
                DataNoteKind.AnswerTooLong =>
                    Invariant($"{rows} have a completion that no continuation is long enough for; the longest has {Longest} tokens"),
                DataNoteKind.OneLabelScored => Invariant($"all {Count} test rows that were scored have one label"),
                DataNoteKind.OwnLabel => Invariant($"{Count} of {Of} labels are in the rows of one client alone"),
                DataNoteKind.LabelCase =>
                    Invariant($"{Count} of {Of} labels differ from another in case, width or unseen signs alone; they count as different"),
                DataNoteKind.AutoUnlabelled => $"scored by perplexity, not by accuracy: {rows} have no label",
                DataNoteKind.AutoManyLabels =>
                    Invariant($"scored by perplexity, not by accuracy: {Count} labels, at most {Of} are scored one by one"),
                DataNoteKind.AutoOneLabel => "scored by perplexity, not by accuracy: all rows have one label",
                _ => "scored by perplexity, not by accuracy: one answer stands for several labels",
            };
        }
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
