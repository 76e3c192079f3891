using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Clients;

/// <summary>
/// A training report as the metadata of the update it belongs to, with what it was made from: plan, round, client and the shared
/// state it began at. It names the digests of the head, of the optimizer state and of the update's own numbers: whoever finds an
/// update knows by them whether all of it is there. No job, time, host or attempt, so equal work gives equal bytes.
/// </summary>
internal static class ReportMetadata
{
    private const int Block = 1 << 20;

    /// <summary>The metadata of an update.</summary>
    /// <param name="report">The report.</param>
    /// <param name="assignment">The work.</param>
    /// <param name="update">The update.</param>
    /// <param name="plan">The plan of the work.</param>
    public static Dictionary<string, string> Write(ClientReport report, SiteAssignment assignment, AdapterState update, IndexedPlan plan)
    {
        var numbers = Numbers(report, assignment, update);
        if (report.Notes is { } notes) numbers.Add("notes", JsonSerializer.Serialize(notes));
        if (report.Numbers!.GateUse is { } use) numbers.Add("gateUse", JsonSerializer.Serialize(use));
        var task = plan.Client(report.ClientId).Task;
        if (assignment.Tasks.TryGetValue(task, out var state))
        {
            var adapter = plan.Plan.AdapterAt(assignment.Round);
            numbers.Add("task", task);
            numbers.Add("sharedOfTask", state.Sha256);
            foreach (var scope in (Scope[])[Scope.Job, Scope.Task])
            {
                var tensors = adapter.Roles.Select(static role => role.Name)
                    .Where(name => adapter.Moves(name) && adapter.Tensor(name).Scope == scope);
                numbers.Add(scope == Scope.Job ? "scope job" : "scope task", string.Join(' ', tensors));
            }
        }

        return numbers;
    }

    private static Dictionary<string, string> Numbers(
        ClientReport report, SiteAssignment assignment, AdapterState update) => new(StringComparer.Ordinal)
    {
        ["numbers"] = DigestOf(update),
        ["plan"] = assignment.Plan.Sha256, ["round"] = Text(assignment.Round), ["client"] = report.ClientId,
        ["shared"] = assignment.Shared.Sha256,
        ["head"] = Text(report.Head!), ["optimizer"] = Text(report.Optimizer!), // keys follow from job, site, client and round
        ["samples"] = Text(report.Numbers!.Samples), ["steps"] = Text(report.Numbers.Steps),
        ["meanLoss"] = Text(report.Numbers.MeanLoss), ["productNorm"] = Text(report.Numbers.ProductNorm),
    };

    /// <summary>The report; null where the file is not the whole update of this work: a power cut can leave anything at its key.</summary>
    public static ClientReport? Read(
        OpenedBlob file, ClientReport report, SiteAssignment assignment, string task, string key, string headKey, string optimizerKey)
    {
        try
        {
            using var whole = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            using var numbers = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            using var content = new HashingReader(file.Content, whole);
            var metadata = SafetensorsCodec.ReadMetadata(content, file.SizeBytes, key);
            using var data = new HashingReader(content, numbers);
            data.CopyTo(Stream.Null);
            if (metadata["numbers"] != Convert.ToHexStringLower(numbers.GetHashAndReset())) return null;
            var round = int.Parse(metadata["round"], CultureInfo.InvariantCulture);
            var made = (metadata["plan"], round, metadata["client"], metadata["shared"]);
            if (made != (assignment.Plan.Sha256, assignment.Round, report.ClientId, assignment.Shared.Sha256)) return null;
            if (metadata.GetValueOrDefault("sharedOfTask") != assignment.Tasks.GetValueOrDefault(task)?.Sha256) return null;
            return report with
            {
                Head = Blob(metadata["head"], headKey), Optimizer = Blob(metadata["optimizer"], optimizerKey),
                Numbers = new TrainingNumbers
                {
                    Samples = int.Parse(metadata["samples"], CultureInfo.InvariantCulture),
                    Steps = int.Parse(metadata["steps"], CultureInfo.InvariantCulture),
                    MeanLoss = double.Parse(metadata["meanLoss"], CultureInfo.InvariantCulture),
                    ProductNorm = double.Parse(metadata["productNorm"], CultureInfo.InvariantCulture),
                    GateUse = metadata.TryGetValue("gateUse", out var use) ? JsonSerializer.Deserialize<GateUse>(use) : null,
                },
                Notes = metadata.TryGetValue("notes", out var notes) ? JsonSerializer.Deserialize<DataNote[]>(notes) : null,
                Update = new BlobRef(key, Convert.ToHexStringLower(whole.GetHashAndReset()), file.SizeBytes),
            };
        }
        catch (Exception e) when (e is BadInputException or KeyNotFoundException or FormatException or OverflowException or JsonException)
        {
            return null;
        }
    }

    // In ordinal order of names, as the file holds them: all are of one type. By blocks, since the bytes of a large array exceed a span.
    private static string DigestOf(AdapterState state)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (_, array) in state)
        {
            for (var start = 0; start < array.Data.Length; start += Block)
            {
                var block = array.Data.AsSpan(start, Math.Min(Block, array.Data.Length - start));
                hash.AppendData(MemoryMarshal.AsBytes(block));
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static string Text(BlobRef blob) => string.Create(CultureInfo.InvariantCulture, $"{blob.Sha256} {blob.SizeBytes}");

    private static string Text(IFormattable value) => value.ToString(value is double ? "R" : null, CultureInfo.InvariantCulture);

    private static BlobRef Blob(string text, string key) => text.Split(' ') is [var sha256, var size]
        ? new BlobRef(key, sha256, long.Parse(size, CultureInfo.InvariantCulture))
        : throw new FormatException($"\"{text}\" is no digest and size for {key}.");
}
