using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace FedRLora.Abstractions.Tensors;

/// <summary>An array to be written: float32, float64 or int64 in memory, or of any type and made when its turn comes.</summary>
public sealed class SafetensorsArray
{
    private readonly Action<Stream> _write;

    private SafetensorsArray(SafetensorsDtype dtype, IReadOnlyList<long> shape, Action<Stream> write) =>
        (Dtype, Shape, _write) = (dtype, shape, write);

    /// <summary>Element type.</summary>
    public SafetensorsDtype Dtype { get; }

    /// <summary>Sizes, outermost first.</summary>
    public IReadOnlyList<long> Shape { get; }

    internal long SizeBytes => NamedArray.Count(Shape) * SafetensorsHeader.SizeOf(Dtype);

    /// <summary>Refers to the array's data.</summary>
    public static SafetensorsArray Of(NamedArray array) => Of(array.Shape, array.Data);

    /// <summary>Refers to float32 elements.</summary>
    /// <exception cref="ArgumentException">The length does not fit the shape.</exception>
    public static SafetensorsArray Of(IReadOnlyList<long> shape, float[] data) => InMemory(SafetensorsDtype.F32, shape, data);

    /// <summary>Refers to float64 elements.</summary>
    /// <exception cref="ArgumentException">The length does not fit the shape.</exception>
    public static SafetensorsArray Of(IReadOnlyList<long> shape, double[] data) => InMemory(SafetensorsDtype.F64, shape, data);

    /// <summary>Refers to int64 elements.</summary>
    /// <exception cref="ArgumentException">The length does not fit the shape.</exception>
    public static SafetensorsArray Of(IReadOnlyList<long> shape, long[] data) => InMemory(SafetensorsDtype.I64, shape, data);

    /// <summary>An array whose bytes are written when its turn comes.</summary>
    /// <param name="dtype">Element type.</param>
    /// <param name="shape">Sizes, outermost first.</param>
    /// <param name="write">Writes exactly the bytes that type and shape ask for, little endian.</param>
    public static SafetensorsArray Streamed(SafetensorsDtype dtype, IReadOnlyList<long> shape, Action<Stream> write) =>
        new(dtype, shape, write);

    internal void WriteTo(Stream stream) => _write(stream);

    private static SafetensorsArray InMemory<T>(SafetensorsDtype dtype, IReadOnlyList<long> shape, T[] data)
        where T : unmanaged => NamedArray.Count(shape) == data.LongLength
        ? new(dtype, shape, stream => WriteBlocks(data, stream))
        : throw new ArgumentException(
            $"{data.LongLength} elements, the shape [{string.Join(", ", shape)}] asks for {NamedArray.Count(shape)}.");

    // By blocks: the bytes of a large array exceed what a span can hold.
    private static void WriteBlocks<T>(T[] data, Stream stream) where T : unmanaged
    {
        const int Block = 1 << 26;
        for (var start = 0; start < data.Length; start += Block)
            stream.Write(MemoryMarshal.AsBytes(data.AsSpan(start, Math.Min(Block, data.Length - start))));
    }
}

/// <summary>
/// Writes safetensors so that equal content gives equal bytes: wider element types first (which keeps every tensor aligned),
/// then ordinal order of names; metadata in ordinal order; the header padded to 8 bytes with spaces.
/// </summary>
public static class SafetensorsWriter
{
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes all arrays; the stream need not be seekable and stays open.</summary>
    /// <exception cref="ArgumentException">A name occurs twice.</exception>
    public static void Write(
        IEnumerable<KeyValuePair<string, SafetensorsArray>> arrays, IReadOnlyDictionary<string, string> metadata, Stream stream)
    {
        var ordered = arrays.OrderByDescending(static entry => SafetensorsHeader.SizeOf(entry.Value.Dtype))
            .ThenBy(static entry => entry.Key, StringComparer.Ordinal).ToList();
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (name, _) in ordered)
        {
            if (!names.Add(name)) throw new ArgumentException($"The name {name} occurs twice.", nameof(arrays));
        }

        stream.Write(Header(ordered, metadata));
        foreach (var (_, array) in ordered) array.WriteTo(stream);
    }

    private static ReadOnlySpan<byte> Header(
        List<KeyValuePair<string, SafetensorsArray>> arrays, IReadOnlyDictionary<string, string> metadata)
    {
        var buffer = new ArrayBufferWriter<byte>();
        buffer.Write(stackalloc byte[sizeof(ulong)]); // the length, known at the end
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            if (metadata.Count > 0) WriteMetadata(json, metadata);
            var begin = 0L;
            foreach (var (name, array) in arrays) begin = WriteEntry(json, name, array, begin);
            json.WriteEndObject();
        }

        var padding = -buffer.WrittenCount & 7;
        buffer.Write("       "u8[..padding]);
        var header = buffer.WrittenSpan.ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)(header.Length - sizeof(ulong)));
        return header;
    }

    private static void WriteMetadata(Utf8JsonWriter json, IReadOnlyDictionary<string, string> metadata)
    {
        json.WriteStartObject("__metadata__");
        foreach (var (key, value) in metadata.OrderBy(static entry => entry.Key, StringComparer.Ordinal)) json.WriteString(key, value);
        json.WriteEndObject();
    }

    private static long WriteEntry(Utf8JsonWriter json, string name, SafetensorsArray array, long begin)
    {
        var end = begin + array.SizeBytes;
        json.WriteStartObject(name);
        json.WriteString("dtype", array.Dtype.ToString());
        json.WriteStartArray("shape");
        foreach (var size in array.Shape) json.WriteNumberValue(size);
        json.WriteEndArray();
        json.WriteStartArray("data_offsets");
        json.WriteNumberValue(begin);
        json.WriteNumberValue(end);
        json.WriteEndArray();
        json.WriteEndObject();
        return end;
    }
}
