using FedRLora.Abstractions.Messages;

namespace FedRLora.Federation.Rounds;

/// <summary>What a round keeps of a report.</summary>
internal static class KeptReports
{
    private const int ReasonLength = 200;

    /// <summary>A manifest holds finite numbers, so a report without them is a failed one.</summary>
    public static KeptReport Trained(ClientReport report)
    {
        var numbers = report.Numbers ?? new TrainingNumbers();
        var kept = new KeptReport
        {
            Update = Digest(report.Update),
            Head = Digest(report.Head),
            Optimizer = Digest(report.Optimizer),
            Numbers = numbers.For(Audience.Everyone) with { GateUse = numbers.Finite().GateUse },
            Rows = report.Notes,
        };
        var failure = report.Failure
            ?? (report.Numbers is null ? "Its report holds no numbers of the training: is its silo of another version?" : null)
            ?? (double.IsFinite(numbers.MeanLoss) ? null : Invariant($"Its mean loss is {numbers.MeanLoss}."))
            ?? (double.IsFinite(numbers.ProductNorm) ? null : Invariant($"Its product norm is {numbers.ProductNorm}."));
        return failure is null ? kept : Failed(kept, failure) with { Refused = report.Failure is null };
    }

    /// <summary>What is kept of an update that cannot be aggregated.</summary>
    public static KeptReport Refused(KeptReport kept, string reason) => Failed(kept, reason) with { Refused = true };

    /// <summary>What is kept of a client whose files do not stay.</summary>
    public static KeptReport Lost(KeptReport kept, LostFiles lost) =>
        Failed(kept, Invariant($"{lost.What} (it was gone {lost.Times} times)"));

    private static KeptReport Failed(KeptReport kept, string failure) => new()
    {
        Failure = Short(failure),
        Numbers = kept.Numbers.Finite(),
        Rows = kept.Rows,
    };

    /// <summary>What is kept of a scoring.</summary>
    public static KeptScore Scored(ClientReport report) => report switch
    {
        { Failure: { } failure } => new(null, Short(failure)),
        { Score: { } score } when !double.IsFinite(score.Value) || !double.IsFinite(score.Loss) =>
            new(null, Invariant($"Its {score.Metric} is {score.Value}, its loss {score.Loss}.")),
        _ => new(report.Score is { } score ? Finite(score) : null, null),
    };

    // What is told beside a score, and is no number that a manifest holds, is not known.
    private static ClientScore Finite(ClientScore score) => score with
    {
        MajorityShare = Finite(score.MajorityShare),
        StandardError = Finite(score.StandardError),
        Base = score.Base is { } reference && double.IsFinite(reference.Reference)
            ? reference with { StandardError = Finite(reference.StandardError) }
            : null,
    };

    private static double? Finite(double? value) => value is { } number && double.IsFinite(number) ? number : null;

    private static BlobDigest? Digest(BlobRef? blob) => blob is null ? null : new(blob.Sha256, blob.SizeBytes);

    /// <summary>What is kept of a reason.</summary>
    public static string Short(string reason) =>
        reason.Length <= ReasonLength ? reason : string.Concat(reason.AsSpan(0, ReasonLength - 3), "...");

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}
