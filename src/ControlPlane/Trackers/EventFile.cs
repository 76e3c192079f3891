using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using FedRLora.ControlPlane.Metrics;

namespace FedRLora.ControlPlane.Trackers;

/// <summary>
/// TensorBoard's event files: records with their length and masked CRC-32C before and after (TFRecord), each a message <c>Event</c> of
/// tensorflow/core/util/event.proto. Values are 32 bits wide, as TensorBoard's own reader keeps them whatever a file has.
/// </summary>
internal static class EventFile
{
    private const string Before = "events.out.tfevents.", After = ".fedrlora";
    private const uint MaskDelta = 0xa282ead8;

    /// <summary>What TensorBoard finds such a file by; it is named after the first round, so that it stays the same.</summary>
    public static string NameOf(DateTimeOffset first) =>
        string.Create(CultureInfo.InvariantCulture, $"{Before}{Math.Max(0, first.ToUnixTimeSeconds()):D10}{After}");

    /// <summary>Whether a name is one of these.</summary>
    public static bool IsName(string name) =>
        name.StartsWith(Before, StringComparison.Ordinal) && name.EndsWith(After, StringComparison.Ordinal);

    /// <summary>How a file begins.</summary>
    public static byte[] Start(DateTimeOffset first) => Record(Event(first).Text(3, "brain.Event:2").ToArray());

    /// <summary>What a round adds. A number that 32 bits do not hold has no point.</summary>
    public static byte[] Of(TrackerRound round)
    {
        var summary = new ProtoWriter();
        foreach (var point in round.Points.Where(static point => float.IsFinite((float)point.Value)))
            summary.Message(1, value => value.Text(1, point.Name).Fixed(2, (float)point.Value));
        return Record(Event(round.At).Number(2, (ulong)round.Step).Bytes(5, summary.ToArray()).ToArray());
    }

    private static ProtoWriter Event(DateTimeOffset at) => new ProtoWriter().Fixed(1, (at - DateTimeOffset.UnixEpoch).TotalSeconds);

    private static byte[] Record(byte[] content)
    {
        var record = new byte[8 + 4 + content.Length + 4];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)content.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), Masked(record.AsSpan(0, 8)));
        content.CopyTo(record, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + content.Length), Masked(content));
        return record;
    }

    private static uint Masked(ReadOnlySpan<byte> bytes)
    {
        var crc = uint.MaxValue;
        foreach (var one in bytes) crc = BitOperations.Crc32C(crc, one);
        return BitOperations.RotateRight(~crc, 15) + MaskDelta;
    }
}
