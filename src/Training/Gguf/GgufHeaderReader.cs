using System.Buffers.Binary;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>
/// Reads a header from a stream, not from a mapping: each count, length and offset is compared with the file's size before anything of
/// that size is made.
/// </summary>
internal sealed class GgufHeaderReader
{
    private const int MostDimensions = 4;
    private const int MostKeys = 1 << 16; // far above any model's: what is kept of an entry is larger than the entry
    private const int MostTensors = 1 << 17;
    private const int LongestKey = ushort.MaxValue;
    private const int LeastKeyValueBytes = 8 + 4 + 1; // an empty key and a byte
    private const int LeastTensorBytes = 8 + 4 + 8 + 4 + 8; // no name, one dimension

    private readonly BinaryReader _reader;
    private readonly string _path;
    private readonly long _sizeBytes;

    private GgufHeaderReader(BinaryReader reader, string path, long sizeBytes) => (_reader, _path, _sizeBytes) = (reader, path, sizeBytes);

    /// <summary>Reads the header and checks that every tensor lies in the file.</summary>
    /// <param name="stream">At the file's start.</param>
    /// <param name="path">What messages call it.</param>
    /// <exception cref="BadInputException">Not a GGUF file, or one that says what cannot be; the key or tensor is named.</exception>
    public static GgufHeader Read(Stream stream, string path)
    {
        using var reader = new BinaryReader(stream, Encoding.UTF8, leaveOpen: true);
        var walk = new GgufHeaderReader(reader, path, stream.Length);
        try
        {
            var version = walk.ReadStart();
            var (tensors, keys) = (reader.ReadUInt64(), reader.ReadUInt64());
            walk.RequireRoom("tensors", tensors, LeastTensorBytes, MostTensors);
            walk.RequireRoom("metadata keys", keys, LeastKeyValueBytes, MostKeys);
            var metadata = walk.ReadMetadata((int)keys);
            return new(version, metadata, walk.ReadTensors((int)tensors, AlignmentOf(metadata)));
        }
        catch (EndOfStreamException exception)
        {
            throw new BadInputException($"{path}: ends within its header, at {stream.Length} bytes; copy the file again", exception);
        }
    }

    private uint ReadStart()
    {
        if (_sizeBytes < 4) throw new BadInputException($"{_path}: {_sizeBytes} bytes, which is no GGUF file");
        var magic = _reader.ReadBytes(4);
        if (BinaryPrimitives.ReadUInt32LittleEndian(magic) != GgufHeader.Magic)
        {
            var shown = BadInputException.Shown(Encoding.Latin1.GetString(magic));
            throw new BadInputException($"{_path}: begins with \"{shown}\", expected \"GGUF\"");
        }

        var version = _reader.ReadUInt32();
        if (version is 2 or 3) return version;
        throw new BadInputException(BinaryPrimitives.ReverseEndianness(version) is 1 or 2 or 3
            ? $"{_path}: is a big-endian GGUF file; convert it to little-endian with llama.cpp's gguf_convert_endian.py"
            : $"{_path}: is GGUF version {version}, expected 2 or 3; convert the model again with today's llama.cpp");
    }

    private void RequireRoom(string what, ulong count, int leastBytes, int most)
    {
        if (count > (ulong)(_sizeBytes / leastBytes))
            throw new BadInputException($"{_path}: says that it has {count} {what}, and has {_sizeBytes} bytes");
        if (count > (ulong)most) throw new BadInputException($"{_path}: has {count} {what}, expected at most {most}");
    }

    private GgufMetadata ReadMetadata(int count)
    {
        var values = new Dictionary<string, GgufValue>(StringComparer.Ordinal);
        for (var i = 0; i < count; i++)
        {
            var key = ReadName($"the key of metadata entry {i + 1}");
            var type = (GgufValueType)_reader.ReadUInt32();
            if (!values.TryAdd(key, ReadValue(key, type)))
                throw new BadInputException($"{_path}: {BadInputException.Shown(key)} occurs twice");
        }

        return new(_path, values);
    }

    private GgufValue ReadValue(string key, GgufValueType type)
    {
        if (type == GgufValueType.Text) return new(type, null, 1, ReadBytes(key, ReadLength(key)));
        if (type != GgufValueType.Array) return new(type, null, 1, ReadBytes(key, RequireSize(key, type)));
        var item = (GgufValueType)_reader.ReadUInt32();
        var count = _reader.ReadUInt64();
        if (item == GgufValueType.Array)
            throw new BadInputException($"{_path}: {BadInputException.Shown(key)} is an array of arrays, which no model needs");
        var least = item == GgufValueType.Text ? sizeof(ulong) : RequireSize(key, item);
        if (count > (ulong)(_sizeBytes - _reader.BaseStream.Position) / (ulong)least)
        {
            throw new BadInputException($"{_path}: {BadInputException.Shown(key)} says that it has {count} items, "
                + $"and {_sizeBytes - _reader.BaseStream.Position} bytes follow");
        }

        var start = _reader.BaseStream.Position;
        if (item != GgufValueType.Text) return new(type, item, (long)count, ReadBytes(key, (long)count * least));
        for (var i = 0UL; i < count; i++) _reader.BaseStream.Seek(ReadLength(key), SeekOrigin.Current);
        var end = _reader.BaseStream.Position;
        _reader.BaseStream.Position = start;
        return new(type, item, (long)count, ReadBytes(key, end - start));
    }

    private int RequireSize(string key, GgufValueType type) => GgufValue.SizeOf(type) is > 0 and var size
        ? size
        : throw new BadInputException(
            $"{_path}: {BadInputException.Shown(key)} has a value of type {(uint)type}, which GGUF does not know");

    private long ReadLength(string key)
    {
        var length = _reader.ReadUInt64();
        var rest = _sizeBytes - _reader.BaseStream.Position;
        return length <= (ulong)rest ? (long)length : throw new BadInputException(
            $"{_path}: {BadInputException.Shown(key)} has a string of {length} bytes, and {rest} bytes follow");
    }

    private byte[] ReadBytes(string key, long count)
    {
        if (count > Array.MaxLength)
            throw new BadInputException($"{_path}: {BadInputException.Shown(key)} takes {count} bytes, more than any model's metadata");
        var bytes = _reader.ReadBytes((int)count);
        return bytes.Length == count ? bytes : throw new EndOfStreamException();
    }

    private string ReadName(string what)
    {
        var at = _reader.BaseStream.Position;
        var length = ReadLength(what);
        if (length > LongestKey) throw new BadInputException($"{_path}: {what} has {length} bytes, expected at most {LongestKey}");
        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(ReadBytes(what, length));
        }
        catch (DecoderFallbackException exception)
        {
            throw new BadInputException($"{_path}: {what}, at byte {at}, is not UTF-8", exception);
        }
    }

    private static int AlignmentOf(GgufMetadata metadata) => metadata.OptionalInteger(GgufHeader.AlignmentKey) switch
    {
        null => GgufHeader.DefaultAlignment,
        >= 8 and <= 1 << 20 and var alignment when alignment % 8 == 0 => (int)alignment,
        var other => throw metadata.Wrong(GgufHeader.AlignmentKey, $"{other}", "a multiple of 8 up to 1048576"),
    };

    private Dictionary<string, GgufTensor> ReadTensors(int count, int alignment)
    {
        var tensors = new Dictionary<string, GgufTensor>(StringComparer.Ordinal);
        for (var i = 0; i < count; i++)
        {
            var tensor = ReadTensor(i);
            if (tensor.Offset % alignment != 0)
                throw Bad(tensor.Name, $"begins at offset {tensor.Offset}, which is no multiple of the alignment {alignment}");
            if (!tensors.TryAdd(tensor.Name, tensor)) throw Bad(tensor.Name, "occurs twice");
        }

        var data = GgufHeader.Aligned(_reader.BaseStream.Position, alignment);
        foreach (var (name, tensor) in tensors)
        {
            if (tensor.Offset > _sizeBytes - data || tensor.SizeBytes > _sizeBytes - data - tensor.Offset)
                throw Bad(name, $"ends behind the end of the file, which has {_sizeBytes} bytes; copy the file again");
            tensors[name] = tensor with { Offset = data + tensor.Offset };
        }

        GgufTensor? before = null;
        foreach (var tensor in tensors.Values.OrderBy(static tensor => tensor.Offset))
        {
            if (before is not null && before.Offset + before.SizeBytes > tensor.Offset)
                throw Bad(tensor.Name, $"begins inside of tensor {BadInputException.Shown(before.Name)}");
            before = tensor;
        }

        return tensors;
    }

    // Its offset is still from where the data begin.
    private GgufTensor ReadTensor(int index)
    {
        var name = ReadName($"the name of tensor {index + 1}");
        var dimensions = _reader.ReadUInt32();
        if (dimensions is 0 or > MostDimensions) throw Bad(name, $"has {dimensions} dimensions, expected 1 to {MostDimensions}");
        var shape = new long[dimensions];
        var values = 1UL;
        for (var i = 0; i < dimensions; i++)
        {
            var size = _reader.ReadUInt64();
            if (size == 0) throw Bad(name, "has a dimension of 0");
            if (size > long.MaxValue / 8 || values > long.MaxValue / 8 / size) throw Bad(name, "has more numbers than 64 bits count");
            values *= size;
            shape[dimensions - 1 - i] = (long)size;
        }

        var (type, offset) = (_reader.ReadUInt32(), _reader.ReadUInt64());
        if (!GgmlTypes.IsKnown(type))
        {
            throw Bad(name, $"is stored as {GgmlTypes.NameOf(type)}, which is not read; "
                + $"expected one of {string.Join(", ", GgmlTypes.All)}");
        }

        var ggml = (GgmlType)type;
        if (shape[^1] % ggml.BlockValues() != 0)
            throw Bad(name, $"has rows of {shape[^1]} numbers, which are no whole blocks of {ggml}, {ggml.BlockValues()} each");
        if (offset > long.MaxValue / 2) throw Bad(name, $"begins at offset {offset}, and the file has {_sizeBytes} bytes");
        return new(name, ggml, shape, (long)offset, ggml.RowBytes((long)values));
    }

    private BadInputException Bad(string tensor, string what) => new($"{_path}: tensor {BadInputException.Shown(tensor)} {what}");
}
