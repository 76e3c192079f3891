using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Runs;

/// <summary>
/// The sealed document of how long a round took. Versions before this one wrote its seconds alone, and what was never measured is not
/// in it.
/// </summary>
internal sealed record TimingDocument
{
    public double? Seconds { get; init; }
    public DateTimeOffset? CommittedAt { get; init; }
    public int? Attempts { get; init; }
    public string? ClosedBy { get; init; }
    public string? DecidedBy { get; init; }
    public IReadOnlyDictionary<string, double>? Parts { get; init; }
    public IReadOnlyDictionary<string, double>? ClientSeconds { get; init; }

    /// <summary>The bytes that are stored.</summary>
    public static byte[] Write(double seconds, RoundTiming? timing) => SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(
        new TimingDocument
        {
            Seconds = seconds > 0 || timing is null ? seconds : null, CommittedAt = timing?.CommittedAt, Attempts = timing?.Attempts,
            ClosedBy = timing?.ClosedBy, DecidedBy = timing?.DecidedBy, Parts = Sorted(timing?.Parts),
            ClientSeconds = Sorted(timing?.ClientSeconds),
        },
        TimingJson.Default.TimingDocument));

    /// <summary>What the bytes say: seconds, 0 where they are not known, and the rest, null where nobody wrote it down.</summary>
    /// <exception cref="CorruptBlobException">They were changed.</exception>
    public static (double Seconds, RoundTiming? Timing) Read(byte[] bytes, string key)
    {
        try
        {
            var read = JsonSerializer.Deserialize(BlobStates.RequireSealed(bytes, key), TimingJson.Default.TimingDocument);
            return (read?.Seconds ?? 0, read is not { Attempts: { } attempts } ? null : new()
            {
                CommittedAt = read.CommittedAt, Attempts = attempts, ClosedBy = read.ClosedBy, DecidedBy = read.DecidedBy,
                Parts = read.Parts ?? ImmutableDictionary<string, double>.Empty,
                ClientSeconds = read.ClientSeconds ?? ImmutableDictionary<string, double>.Empty,
            });
        }
        catch (JsonException e)
        {
            throw new CorruptBlobException($"{key} is no timing of a round: {e.Message}; {WayOut.Of(key)}.");
        }
    }

    private static SortedDictionary<string, double>? Sorted(IReadOnlyDictionary<string, double>? values) =>
        values is null or { Count: 0 } ? null : new(values.ToDictionary(StringComparer.Ordinal), StringComparer.Ordinal);
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n",
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(TimingDocument))]
internal sealed partial class TimingJson : JsonSerializerContext;
