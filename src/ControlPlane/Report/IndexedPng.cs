using System.Buffers.Binary;
using System.IO.Compression;

namespace FedRLora.ControlPlane.Report;

/// <summary>Pictures of at most 256 colours as PNG (ISO/IEC 15948): one byte for each pixel.</summary>
internal static class IndexedPng
{
    private static readonly byte[] Signature = [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>The file.</summary>
    /// <param name="width">Pixels of a row.</param>
    /// <param name="pixels">Indices of colours, row by row.</param>
    /// <param name="palette">Red, green, blue and opacity.</param>
    public static byte[] Encode(int width, ReadOnlySpan<byte> pixels, IReadOnlyList<(byte R, byte G, byte B, byte A)> palette)
    {
        using var file = new MemoryStream();
        file.Write(Signature);
        var head = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(head, width);
        BinaryPrimitives.WriteInt32BigEndian(head.AsSpan(4), pixels.Length / width);
        (head[8], head[9]) = (8, 3); // bits of a pixel; each an index of the palette
        Chunk(file, "IHDR"u8, head);
        Chunk(file, "PLTE"u8, [.. palette.SelectMany(static colour => new[] { colour.R, colour.G, colour.B })]);
        Chunk(file, "tRNS"u8, [.. palette.Select(static colour => colour.A)]);
        Chunk(file, "IDAT"u8, Packed(width, pixels));
        Chunk(file, "IEND"u8, []);
        return file.ToArray();
    }

    private static byte[] Packed(int width, ReadOnlySpan<byte> pixels)
    {
        using var packed = new MemoryStream();
        using (var zlib = new ZLibStream(packed, CompressionLevel.Optimal, leaveOpen: true))
        {
            for (var row = 0; row < pixels.Length; row += width)
            {
                zlib.WriteByte(0); // unfiltered, as indices should be
                zlib.Write(pixels.Slice(row, width));
            }
        }

        return packed.ToArray();
    }

    private static void Chunk(Stream file, ReadOnlySpan<byte> type, byte[] content)
    {
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, content.Length);
        file.Write(number);
        file.Write(type);
        file.Write(content);
        BinaryPrimitives.WriteUInt32BigEndian(number, ~Crc(Crc(uint.MaxValue, type), content));
        file.Write(number);
    }

    private static uint Crc(uint crc, ReadOnlySpan<byte> bytes)
    {
        foreach (var one in bytes)
        {
            crc ^= one;
            for (var bit = 0; bit < 8; bit++) crc = (crc & 1) == 0 ? crc >> 1 : (crc >> 1) ^ 0xEDB88320;
        }

        return crc;
    }
}
