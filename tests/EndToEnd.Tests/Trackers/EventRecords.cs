using System.Buffers.Binary;
using Tensorboard;

namespace FedRLora.EndToEnd.Tests.Trackers;

/// <summary>
/// Event files as another program reads them: the records by their definition, the messages by TorchSharp's generated classes.
/// </summary>
internal static class EventRecords
{
    /// <summary>The one event file of a folder.</summary>
    public static string FileIn(params string[] folder) =>
        Assert.Single(Directory.GetFiles(Path.Combine(folder), "events.out.tfevents.*"));

    public static IReadOnlyList<Event> Read(string path)
    {
        var (bytes, events) = (File.ReadAllBytes(path), new List<Event>());
        for (var at = 0; at < bytes.Length;)
        {
            var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at));
            Assert.Equal(Masked(bytes.AsSpan(at, 8)), BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at + 8)));
            var content = bytes.AsSpan(at + 12, length);
            Assert.Equal(Masked(content), BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at + 12 + length)));
            events.Add(Event.Parser.ParseFrom(content.ToArray()));
            at += 16 + length;
        }

        return events;
    }

    /// <summary>Points by step and tag; a tag that a step has twice fails.</summary>
    public static Dictionary<(long Step, string Tag), float> Points(string path) => Read(path)
        .SelectMany(static one => (one.Summary?.Value ?? []).Select(value => (one.Step, value.Tag, value.SimpleValue)))
        .ToDictionary(static point => (point.Step, point.Tag), static point => point.SimpleValue);

    // CRC-32C (Castagnoli) bit by bit, and the mask of the record's definition.
    private static uint Masked(ReadOnlySpan<byte> bytes)
    {
        var crc = uint.MaxValue;
        foreach (var one in bytes)
        {
            crc ^= one;
            for (var bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) == 0 ? 0 : 0x82F63B78);
        }

        crc = ~crc;
        return unchecked(((crc >> 15) | (crc << 17)) + 0xa282ead8);
    }
}
