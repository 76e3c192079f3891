using System.Globalization;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains;

/// <summary>A training report as the metadata of the update it belongs to: no time, host or attempt, so equal work gives equal bytes.</summary>
internal static class ReportMetadata
{
    public static Dictionary<string, string> Write(ClientReport report) => new(StringComparer.Ordinal)
    {
        ["head"] = Text(report.Head!), ["optimizer"] = Text(report.Optimizer!), // keys follow from job, site, client and round
        ["samples"] = Text(report.Samples), ["steps"] = Text(report.Steps),
        ["meanLoss"] = Text(report.MeanLoss), ["productNorm"] = Text(report.ProductNorm),
    };

    public static ClientReport Read(IReadOnlyDictionary<string, string> metadata, ClientReport report, string headKey, string optimizerKey) => report with
    {
        Head = Blob(metadata["head"], headKey), Optimizer = Blob(metadata["optimizer"], optimizerKey),
        Samples = int.Parse(metadata["samples"], CultureInfo.InvariantCulture), Steps = int.Parse(metadata["steps"], CultureInfo.InvariantCulture),
        MeanLoss = double.Parse(metadata["meanLoss"], CultureInfo.InvariantCulture), ProductNorm = double.Parse(metadata["productNorm"], CultureInfo.InvariantCulture),
    };

    private static string Text(BlobRef blob) => string.Create(CultureInfo.InvariantCulture, $"{blob.Sha256} {blob.SizeBytes}");

    private static string Text(IFormattable value) => value.ToString(value is double ? "R" : null, CultureInfo.InvariantCulture);

    private static BlobRef Blob(string text, string key) => text.Split(' ') is [var sha256, var size]
        ? new BlobRef(key, sha256, long.Parse(size, CultureInfo.InvariantCulture))
        : throw new CorruptBlobException($"\"{text}\" is no digest and size for {key}.");
}
