using System.Runtime.InteropServices;

namespace FedRLora.Abstractions.Tensors;

/// <summary>An <see cref="AdapterState"/> as safetensors and back; element data is moved once, between stream and array.</summary>
public static class SafetensorsCodec
{
    /// <summary>Writes a state as F32 tensors; equal content gives equal bytes.</summary>
    public static void Write(AdapterState state, IReadOnlyDictionary<string, string> metadata, Stream stream) =>
        SafetensorsWriter.Write(
            state.Select(static entry => KeyValuePair.Create(entry.Key, SafetensorsArray.Of(entry.Value))), metadata, stream);

    /// <summary>Reads a state from a file in memory.</summary>
    /// <inheritdoc cref="Read(Stream, long, string)"/>
    public static AdapterState Read(byte[] file, string name) => Read(new MemoryStream(file, writable: false), file.LongLength, name).State;

    /// <summary>Reads a state from a stream that knows its length, to its end.</summary>
    /// <inheritdoc cref="Read(Stream, long, string)"/>
    public static AdapterState Read(Stream stream, string name) => Read(stream, stream.Length - stream.Position, name).State;

    /// <summary>Reads a state and the file's metadata; F16, BF16 and F64 become float32.</summary>
    /// <param name="stream">At the beginning of the file; read to its end, which must come after <paramref name="sizeBytes"/>.</param>
    /// <param name="sizeBytes">Size of the file.</param>
    /// <param name="name">What messages call the file.</param>
    /// <exception cref="BadInputException">Not a valid safetensors file of that size, or a tensor does not hold floats.</exception>
    public static (AdapterState State, IReadOnlyDictionary<string, string> Metadata) Read(
        Stream stream, long sizeBytes, string name)
    {
        var reader = new SafetensorsReader(stream, sizeBytes, name);
        var arrays = new Dictionary<string, NamedArray>(reader.Tensors.Count, StringComparer.Ordinal);
        foreach (var tensor in reader.Tensors)
        {
            if (!IsFloat(tensor.Dtype)) throw NotFloat(tensor, name);
            var data = GC.AllocateUninitializedArray<float>(checked((int)tensor.Count));
            reader.Read(data);
            arrays.Add(tensor.Name, new NamedArray(tensor.Shape, data));
        }

        reader.ExpectEnd();
        return (new AdapterState(arrays), reader.Metadata);
    }

    /// <summary>Reads every tensor of an F64 file, such as a partial sum.</summary>
    /// <inheritdoc cref="Read(Stream, long, string)"/>
    public static (IReadOnlyDictionary<string, (IReadOnlyList<long> Shape, double[] Data)> Arrays,
        IReadOnlyDictionary<string, string> Metadata) ReadFloat64(
        Stream stream, long sizeBytes, string name)
    {
        var header = SafetensorsHeader.Parse(stream, sizeBytes, name);
        var arrays = new Dictionary<string, (IReadOnlyList<long>, double[])>(header.Tensors.Count, StringComparer.Ordinal);
        foreach (var tensor in InFileOrder(header))
        {
            if (tensor.Dtype != SafetensorsDtype.F64)
                throw new BadInputException($"{name}: tensor {tensor.Name}: dtype {tensor.Dtype}, expected F64");
            var data = new double[tensor.Count];
            Fill(stream, MemoryMarshal.AsBytes(data.AsSpan()), tensor, name);
            arrays.Add(tensor.Name, (tensor.Shape, data));
        }

        ExpectEnd(stream, sizeBytes, name);
        return (arrays, header.Metadata);
    }

    /// <summary>Reads the metadata alone and leaves the stream at the first byte of data.</summary>
    /// <inheritdoc cref="Read(Stream, long, string)"/>
    public static IReadOnlyDictionary<string, string> ReadMetadata(Stream stream, long sizeBytes, string name) =>
        SafetensorsHeader.Parse(stream, sizeBytes, name).Metadata;

    internal static void ToFloat32(ReadOnlySpan<byte> raw, SafetensorsTensor tensor, Span<float> result, string file)
    {
        switch (tensor.Dtype)
        {
            case SafetensorsDtype.F32:
                raw.CopyTo(MemoryMarshal.AsBytes(result));
                break;
            case SafetensorsDtype.F64:
                var doubles = MemoryMarshal.Cast<byte, double>(raw);
                for (var i = 0; i < result.Length; i++) result[i] = (float)doubles[i];
                break;
            case SafetensorsDtype.F16:
                var halves = MemoryMarshal.Cast<byte, Half>(raw);
                for (var i = 0; i < result.Length; i++) result[i] = (float)halves[i];
                break;
            case SafetensorsDtype.BF16:
                var uppers = MemoryMarshal.Cast<byte, ushort>(raw);
                for (var i = 0; i < result.Length; i++) result[i] = BitConverter.UInt32BitsToSingle((uint)uppers[i] << 16);
                break;
            default:
                throw NotFloat(tensor, file);
        }
    }

    internal static bool IsFloat(SafetensorsDtype dtype) =>
        dtype is SafetensorsDtype.F64 or SafetensorsDtype.F32 or SafetensorsDtype.F16 or SafetensorsDtype.BF16;

    internal static BadInputException NotFloat(SafetensorsTensor tensor, string file) =>
        new($"{file}: tensor {tensor.Name}: dtype {tensor.Dtype}, expected F64, F32, F16 or BF16");

    private static IEnumerable<SafetensorsTensor> InFileOrder(SafetensorsHeader header) =>
        header.Tensors.Values.OrderBy(static tensor => tensor.Begin).ThenBy(static tensor => tensor.End);

    private static void Fill(Stream stream, Span<byte> target, SafetensorsTensor tensor, string name)
    {
        var read = stream.ReadAtLeast(target, target.Length, throwOnEndOfStream: false);
        if (read < target.Length)
            throw new BadInputException($"{name}: tensor {tensor.Name}: the file ended after {read} of its {target.Length} bytes");
    }

    private static void ExpectEnd(Stream stream, long sizeBytes, string name)
    {
        if (stream.ReadByte() != -1) throw new BadInputException($"{name}: goes on after the {sizeBytes} bytes it was said to have");
    }
}
