using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Training.Quantization;

namespace FedRLora.Training.Gguf;

/// <summary>Gives some rows of a tensor as float32, in the order in which the file has them.</summary>
/// <param name="first">The first row.</param>
/// <param name="target">As many numbers as whole rows have.</param>
internal delegate void RowSource(long first, Span<float> target);

/// <summary>A tensor to be written.</summary>
/// <param name="Name">llama.cpp's name.</param>
/// <param name="Type">One of <see cref="GgmlQuantizer.Types"/>.</param>
/// <param name="Shape">Outermost first; rows are whole blocks of the type.</param>
/// <param name="Rows">Its numbers.</param>
internal sealed record GgufNewTensor(string Name, GgmlType Type, IReadOnlyList<long> Shape, RowSource Rows)
{
    /// <summary>Numbers in a row.</summary>
    public long Columns => Shape[^1];

    /// <summary>Numbers in all.</summary>
    public long Count => Shape.Aggregate(1L, static (product, size) => product * size);
}

/// <summary>Writes a GGUF file of version 3: metadata and tensors in the order in which they were added.</summary>
internal sealed unsafe class GgufWriter
{
    private const uint Version = 3;
    private const int ChunkValues = 1 << 20;

    private readonly Dictionary<string, byte[]> _values = new(StringComparer.Ordinal); // each with its type before it
    private readonly List<GgufNewTensor> _tensors = [];

    /// <summary>The tensors so far.</summary>
    public IReadOnlyList<GgufNewTensor> Tensors => _tensors;

    /// <summary>Adds a value; one that is null adds nothing.</summary>
    public GgufWriter Set(string key, long? value)
    {
        if (value is { } number) Set(key, GgufValueType.UInt32, stream => Put(stream, checked((uint)number)));
        return this;
    }

    /// <inheritdoc cref="Set(string, long?)"/>
    public GgufWriter Set(string key, double? value)
    {
        if (value is { } number) Set(key, GgufValueType.Float32, stream => Put(stream, (float)number));
        return this;
    }

    /// <inheritdoc cref="Set(string, long?)"/>
    public GgufWriter Set(string key, bool? value)
    {
        if (value is { } flag) Set(key, GgufValueType.Bool, stream => stream.WriteByte(flag ? (byte)1 : (byte)0));
        return this;
    }

    /// <inheritdoc cref="Set(string, long?)"/>
    public GgufWriter Set(string key, string? value)
    {
        if (value is not null) Set(key, GgufValueType.Text, stream => PutText(stream, value));
        return this;
    }

    /// <summary>Adds a list of texts.</summary>
    public GgufWriter Set(string key, IReadOnlyList<string> values) => SetArray(key, GgufValueType.Text, values.Count, stream =>
    {
        foreach (var value in values) PutText(stream, value);
    });

    /// <summary>Adds a list of numbers.</summary>
    public GgufWriter Set(string key, int[] values) =>
        SetArray(key, GgufValueType.Int32, values.Length, stream => stream.Write(MemoryMarshal.AsBytes<int>(values)));

    /// <inheritdoc cref="Set(string, int[])"/>
    public GgufWriter Set(string key, float[] values) =>
        SetArray(key, GgufValueType.Float32, values.Length, stream => stream.Write(MemoryMarshal.AsBytes<float>(values)));

    /// <summary>The values so far, as a reader of the file finds them.</summary>
    public GgufMetadata Metadata(string path)
    {
        using var stream = new MemoryStream();
        WriteStart(stream, tensors: 0);
        stream.Position = 0;
        return GgufHeader.Read(stream, path).Metadata;
    }

    /// <summary>Adds a tensor.</summary>
    /// <exception cref="ArgumentException">Its rows are no whole blocks.</exception>
    public GgufWriter Add(GgufNewTensor tensor)
    {
        if (tensor.Columns % tensor.Type.BlockValues() != 0)
            throw new ArgumentException($"{tensor.Name}: rows of {tensor.Columns} are no whole blocks of {tensor.Type}.", nameof(tensor));
        _tensors.Add(tensor);
        return this;
    }

    /// <summary>Writes the file: it is there whole, or not at all.</summary>
    /// <param name="path">Must not exist.</param>
    /// <param name="cancellationToken">Looked at before each tensor.</param>
    /// <exception cref="BadInputException">It exists, cannot be written, or a number does not fit its type; that is named.</exception>
    public void Write(string path, CancellationToken cancellationToken = default)
    {
        RequireNew(path);
        var partial = $"{Path.GetFullPath(path)}.{Path.GetRandomFileName()}"; // a name that nobody has
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(partial)!);
            using (var stream = File.Create(partial, bufferSize: 1 << 16)) Write(stream, path, cancellationToken);
            File.Move(partial, path);
        }
        catch (Exception exception)
        {
            if (File.Exists(partial)) File.Delete(partial);
            if (exception is IOException or UnauthorizedAccessException)
                throw new BadInputException(
                    $"{path}: cannot be written: {exception.Message.Replace(partial, path, StringComparison.Ordinal)}", exception);
            throw;
        }
    }

    /// <summary>Refuses the place of something that exists.</summary>
    /// <exception cref="BadInputException">It exists.</exception>
    public static void RequireNew(string path)
    {
        if (Directory.Exists(path) || File.Exists(path))
            throw new BadInputException($"{path}: exists already; give the name of a new file");
    }

    private void Write(Stream stream, string path, CancellationToken cancellationToken)
    {
        WriteStart(stream, _tensors.Count);
        var offset = 0L;
        foreach (var tensor in _tensors)
        {
            PutText(stream, tensor.Name);
            Put(stream, (uint)tensor.Shape.Count);
            foreach (var size in tensor.Shape.Reverse()) Put(stream, (ulong)size);
            Put(stream, (uint)tensor.Type);
            Put(stream, (ulong)offset);
            offset = GgufHeader.Aligned(offset + tensor.Type.RowBytes(tensor.Count), GgufHeader.DefaultAlignment);
        }

        Pad(stream);
        foreach (var tensor in _tensors)
        {
            cancellationToken.ThrowIfCancellationRequested();
            WriteRows(tensor, stream, path);
            Pad(stream);
        }
    }

    private void WriteStart(Stream stream, int tensors)
    {
        Put(stream, GgufHeader.Magic);
        Put(stream, Version);
        Put(stream, (ulong)tensors);
        Put(stream, (ulong)_values.Count);
        foreach (var (key, value) in _values)
        {
            PutText(stream, key);
            stream.Write(value);
        }
    }

    private static void WriteRows(GgufNewTensor tensor, Stream stream, string path)
    {
        var rows = tensor.Count / tensor.Columns;
        var atOnce = Math.Clamp(ChunkValues / tensor.Columns, 1, rows);
        var values = new float[atOnce * tensor.Columns];
        var bytes = new byte[tensor.Type.RowBytes(values.LongLength)];
        for (var row = 0L; row < rows; row += atOnce)
        {
            var count = (int)(Math.Min(atOnce, rows - row) * tensor.Columns);
            tensor.Rows(row, values.AsSpan(0, count));
            fixed (float* source = values)
            fixed (byte* target = bytes)
            {
                if (GgmlQuantizer.Write(tensor.Type, source, count, target) is >= 0 and var wrong)
                    throw DoesNotFit(tensor, row * tensor.Columns + wrong, values[wrong], path);
            }

            stream.Write(bytes, 0, checked((int)tensor.Type.RowBytes(count)));
        }
    }

    /// <summary>What to write instead of a type that does not hold a number.</summary>
    public static string WiderThan(GgmlType type) =>
        type == GgmlType.BF16 ? $"write {GgmlType.F32}" : $"write {GgmlType.BF16} or {GgmlType.F32}";

    private static BadInputException DoesNotFit(GgufNewTensor tensor, long at, float value, string path)
    {
        var what = string.Create(CultureInfo.InvariantCulture,
            $"{path}: tensor {tensor.Name} has {value} at [{at / tensor.Columns}, {at % tensor.Columns}]");
        return new(float.IsFinite(value)
            ? $"{what}, which {tensor.Type} cannot hold; {WiderThan(tensor.Type)}"
            : $"{what}, which is not finite; take the weights from an earlier checkpoint");
    }

    private void Set(string key, GgufValueType type, Action<Stream> write)
    {
        using var bytes = new MemoryStream();
        Put(bytes, (uint)type);
        write(bytes);
        _values.Add(key, bytes.ToArray());
    }

    private GgufWriter SetArray(string key, GgufValueType type, int count, Action<Stream> write)
    {
        Set(key, GgufValueType.Array, stream =>
        {
            Put(stream, (uint)type);
            Put(stream, (ulong)count);
            write(stream);
        });
        return this;
    }

    private static void Pad(Stream stream) =>
        stream.Write(new byte[GgufHeader.Aligned(stream.Position, GgufHeader.DefaultAlignment) - stream.Position]);

    private static void PutText(Stream stream, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        Put(stream, (ulong)bytes.Length);
        stream.Write(bytes);
    }

    private static void Put(Stream stream, float value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(float)];
        BinaryPrimitives.WriteSingleLittleEndian(bytes, value);
        stream.Write(bytes);
    }

    private static void Put(Stream stream, uint value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        stream.Write(bytes);
    }

    private static void Put(Stream stream, ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        stream.Write(bytes);
    }
}
