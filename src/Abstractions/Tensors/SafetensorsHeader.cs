using System.Buffers.Binary;
using System.Text.Json;

namespace FedRLora.Abstractions.Tensors;

/// <summary>Element types of a safetensors file, under the names that the format gives them.</summary>
public enum SafetensorsDtype
{
    /// <summary>64-bit float.</summary>
    F64,
    /// <summary>32-bit float.</summary>
    F32,
    /// <summary>16-bit float, IEEE 754.</summary>
    F16,
    /// <summary>16-bit float, the upper half of a float32.</summary>
    BF16,
    /// <summary>64-bit signed integer.</summary>
    I64,
    /// <summary>32-bit signed integer.</summary>
    I32,
    /// <summary>16-bit signed integer.</summary>
    I16,
    /// <summary>8-bit signed integer.</summary>
    I8,
    /// <summary>64-bit unsigned integer.</summary>
    U64,
    /// <summary>32-bit unsigned integer.</summary>
    U32,
    /// <summary>16-bit unsigned integer.</summary>
    U16,
    /// <summary>8-bit unsigned integer.</summary>
    U8,
    /// <summary>One byte, 0 or 1.</summary>
    BOOL,
}

/// <summary>One entry of a header.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="Dtype">Its element type.</param>
/// <param name="Shape">Sizes, outermost first; empty for a scalar.</param>
/// <param name="Begin">First byte, counted from the end of the header.</param>
/// <param name="End">One past the last byte.</param>
public sealed record SafetensorsTensor(string Name, SafetensorsDtype Dtype, IReadOnlyList<long> Shape, long Begin, long End)
{
    /// <summary>Size of the elements.</summary>
    public long SizeBytes => End - Begin;

    /// <summary>Number of elements.</summary>
    public long Count => SizeBytes / SafetensorsHeader.SizeOf(Dtype);
}

/// <summary>
/// The header of a safetensors file, checked as a whole against the size of the file before anything is allocated for it:
/// tensors cover the data without overlap, gap or rest, as the format demands.
/// </summary>
public sealed class SafetensorsHeader
{
    /// <summary>The format's bound on the header.</summary>
    public const long MaxHeaderBytes = 100_000_000;

    private const string MetadataKey = "__metadata__";

    private static readonly Dictionary<string, SafetensorsDtype> Dtypes =
        Enum.GetValues<SafetensorsDtype>().ToDictionary(static dtype => dtype.ToString(), StringComparer.Ordinal);

    private SafetensorsHeader(
        long dataOffset, IReadOnlyDictionary<string, SafetensorsTensor> tensors, IReadOnlyDictionary<string, string> metadata) =>
        (DataOffset, Tensors, Metadata) = (dataOffset, tensors, metadata);

    /// <summary>Where the data begins in the file.</summary>
    public long DataOffset { get; }

    /// <summary>Every tensor by its name.</summary>
    public IReadOnlyDictionary<string, SafetensorsTensor> Tensors { get; }

    /// <summary>The file's <c>__metadata__</c>; empty where there is none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Bytes per element.</summary>
    public static int SizeOf(SafetensorsDtype dtype) => dtype switch
    {
        SafetensorsDtype.F64 or SafetensorsDtype.I64 or SafetensorsDtype.U64 => 8,
        SafetensorsDtype.F32 or SafetensorsDtype.I32 or SafetensorsDtype.U32 => 4,
        SafetensorsDtype.F16 or SafetensorsDtype.BF16 or SafetensorsDtype.I16 or SafetensorsDtype.U16 => 2,
        _ => 1,
    };

    /// <summary>Reads the header and leaves the stream at the first byte of data.</summary>
    /// <param name="stream">At the beginning of the file.</param>
    /// <param name="fileLength">Size of the whole file.</param>
    /// <param name="name">What messages call the file.</param>
    /// <exception cref="BadInputException">The file is not a valid safetensors file of that size.</exception>
    public static SafetensorsHeader Parse(Stream stream, long fileLength, string name)
    {
        Span<byte> prefix = stackalloc byte[sizeof(ulong)];
        if (fileLength < prefix.Length || stream.ReadAtLeast(prefix, prefix.Length, throwOnEndOfStream: false) < prefix.Length)
            throw new BadInputException($"{name}: {fileLength} bytes, a safetensors file begins with 8 bytes of header length");
        var json = new byte[HeaderLength(prefix, fileLength, name)];
        if (stream.ReadAtLeast(json, json.Length, throwOnEndOfStream: false) < json.Length)
            throw new BadInputException($"{name}: the file ended inside its header of {json.Length} bytes");
        return Parse(json, fileLength, name);
    }

    private static int HeaderLength(ReadOnlySpan<byte> prefix, long fileLength, string name)
    {
        if (prefix.StartsWith("version "u8)) throw Utf8Text.IsPointer(name); // as a length far beyond any bound
        var length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        var bound = Math.Min(MaxHeaderBytes, fileLength - sizeof(ulong));
        return length <= (ulong)bound
            ? (int)length
            : throw new BadInputException($"{name}: header length {length}, at most {bound} is possible in a file of {fileLength} bytes");
    }

    private static SafetensorsHeader Parse(byte[] json, long fileLength, string name)
    {
        var dataOffset = sizeof(ulong) + json.LongLength;
        try
        {
            using var document = JsonDocument.Parse(json);
            if (json[0] != (byte)'{') throw new BadInputException($"{name}: the header does not begin with '{{'");
            return Read(document.RootElement, dataOffset, fileLength - dataOffset, name);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a string that is not valid UTF-8.
            throw new BadInputException($"{name}: the header is not valid JSON: {BadInputException.Shown(exception.Message)}", exception);
        }
    }

    private static SafetensorsHeader Read(JsonElement root, long dataOffset, long dataBytes, string name)
    {
        var tensors = new Dictionary<string, SafetensorsTensor>(StringComparer.Ordinal);
        Dictionary<string, string>? metadata = null;
        foreach (var entry in root.EnumerateObject())
        {
            if (entry.Name == MetadataKey)
            {
                if (metadata is not null) throw new BadInputException($"{name}: {MetadataKey} occurs twice");
                metadata = ReadMetadata(entry.Value, name);
            }
            else if (!tensors.TryAdd(entry.Name, ReadTensor(entry, dataBytes, name)))
            {
                throw new BadInputException($"{name}: tensor {BadInputException.Shown(entry.Name)} occurs twice");
            }
        }

        CheckCoverage(tensors.Values, dataBytes, name);
        return new SafetensorsHeader(dataOffset, tensors, metadata ?? []);
    }

    private static Dictionary<string, string> ReadMetadata(JsonElement value, string name)
    {
        if (value.ValueKind != JsonValueKind.Object)
            throw new BadInputException($"{name}: {MetadataKey} is {value.ValueKind}, expected an object of strings");
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var entry in value.EnumerateObject())
        {
            if (entry.Value.ValueKind != JsonValueKind.String)
            {
                throw new BadInputException(
                    $"{name}: {MetadataKey} {BadInputException.Shown(entry.Name)} is {entry.Value.ValueKind}, expected a string");
            }
            if (!metadata.TryAdd(entry.Name, entry.Value.GetString()!))
                throw new BadInputException($"{name}: {MetadataKey} {BadInputException.Shown(entry.Name)} occurs twice");
        }

        return metadata;
    }

    private static SafetensorsTensor ReadTensor(JsonProperty entry, long dataBytes, string name)
    {
        BadInputException Bad(string what) => new($"{name}: tensor {BadInputException.Shown(entry.Name)}: {what}");
        if (entry.Value.ValueKind != JsonValueKind.Object) throw Bad($"is {entry.Value.ValueKind}, expected an object");
        SafetensorsDtype? dtype = null;
        long[]? shape = null, offsets = null;
        foreach (var field in entry.Value.EnumerateObject())
        {
            switch (field.Name)
            {
                case "dtype" when dtype is null: dtype = ReadDtype(field.Value, Bad); break;
                case "shape" when shape is null: shape = ReadSizes(field, Bad); break;
                case "data_offsets" when offsets is null: offsets = ReadSizes(field, Bad); break;
                default: throw Bad($"unexpected or repeated {BadInputException.Shown(field.Name)}, "
                    + "expected dtype, shape and data_offsets once each");
            }
        }

        if (dtype is not { } type || shape is null || offsets is null) throw Bad("expected dtype, shape and data_offsets");
        if (offsets is not [var begin, var end]) throw Bad($"data_offsets has {offsets.Length} entries, expected 2");
        if (begin > end || end > dataBytes)
            throw Bad($"data_offsets [{begin}, {end}], expected an ordered range within {dataBytes} bytes of data");
        if (SizeOf(shape, type) is not { } size) throw Bad($"shape [{string.Join(", ", shape)}] does not fit any file");
        if (size != end - begin) throw Bad($"{end - begin} bytes, expected {size} for {type} [{string.Join(", ", shape)}]");
        return new SafetensorsTensor(entry.Name, type, shape, begin, end);
    }

    private static SafetensorsDtype ReadDtype(JsonElement value, Func<string, BadInputException> bad)
    {
        var text = value.ValueKind == JsonValueKind.String ? value.GetString()! : value.ValueKind.ToString();
        return Dtypes.TryGetValue(text, out var dtype)
            ? dtype
            : throw bad($"dtype {BadInputException.Shown(text)}, expected one of {string.Join(", ", Dtypes.Keys)}");
    }

    private static long[] ReadSizes(JsonProperty field, Func<string, BadInputException> bad)
    {
        if (field.Value.ValueKind != JsonValueKind.Array) throw bad($"{field.Name} is {field.Value.ValueKind}, expected an array");
        var sizes = new long[field.Value.GetArrayLength()];
        for (var i = 0; i < sizes.Length; i++)
        {
            var size = field.Value[i];
            if (size.ValueKind != JsonValueKind.Number || !size.TryGetInt64(out sizes[i]) || sizes[i] < 0)
                throw bad($"{field.Name} contains {BadInputException.Shown(size.GetRawText())}, expected a non-negative integer");
        }

        return sizes;
    }

    private static long? SizeOf(long[] shape, SafetensorsDtype dtype)
    {
        try
        {
            return checked(NamedArray.Count(shape) * SizeOf(dtype));
        }
        catch (OverflowException)
        {
            return null;
        }
    }

    private static void CheckCoverage(IEnumerable<SafetensorsTensor> tensors, long dataBytes, string name)
    {
        var position = 0L;
        foreach (var tensor in tensors.OrderBy(static tensor => tensor.Begin).ThenBy(static tensor => tensor.End))
        {
            if (tensor.Begin != position)
            {
                var what = tensor.Begin < position ? "overlaps the tensor before it" : "leaves a gap before it";
                throw new BadInputException($"{name}: tensor {BadInputException.Shown(tensor.Name)}: "
                    + $"data_offsets [{tensor.Begin}, {tensor.End}] {what}, expected to begin at {position}");
            }

            position = tensor.End;
        }

        if (position != dataBytes) throw new BadInputException($"{name}: {dataBytes} bytes of data, the header describes {position}");
    }
}
