using System.Runtime.InteropServices;

namespace FedRLora.Abstractions.Tensors;

/// <summary>
/// The floats of a safetensors file from its front to its end, a few at a time: what <see cref="SafetensorsCodec"/> reads at once, in
/// memory that does not grow with the file. F16, BF16 and F64 become float32.
/// </summary>
/// <param name="stream">At the beginning of the file.</param>
/// <param name="sizeBytes">Size of the file.</param>
/// <param name="name">What messages call the file.</param>
/// <exception cref="BadInputException">The header is not that of a valid safetensors file of that size.</exception>
public sealed class SafetensorsReader(Stream stream, long sizeBytes, string name)
{
    private const int Piece = 1 << 15; // elements of other types than float32

    private readonly SafetensorsHeader _header = SafetensorsHeader.Parse(stream, sizeBytes, name);
    private IReadOnlyList<SafetensorsTensor>? _tensors;
    private byte[]? _raw;
    private int _tensor;
    private long _read; // elements of the tensor at hand

    /// <summary>The file's metadata.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _header.Metadata;

    /// <summary>The tensors in the order in which they are read.</summary>
    public IReadOnlyList<SafetensorsTensor> Tensors => _tensors ??=
        [.. _header.Tensors.Values.OrderBy(static tensor => tensor.Begin).ThenBy(static tensor => tensor.End)];

    /// <summary>Reads the next elements, all of one tensor.</summary>
    /// <exception cref="BadInputException">The tensor does not hold floats, or the file ended.</exception>
    public void Read(Span<float> values)
    {
        for (; _tensor < Tensors.Count && _read == Tensors[_tensor].Count; _tensor++) _read = 0;
        if (values.IsEmpty) return;
        var tensor = Tensors[_tensor];
        if (!SafetensorsCodec.IsFloat(tensor.Dtype)) throw SafetensorsCodec.NotFloat(tensor, name);
        if (tensor.Count - _read < values.Length)
            throw new ArgumentException($"{values.Length} elements, {tensor.Name} has {tensor.Count - _read} left.", nameof(values));
        if (tensor.Dtype == SafetensorsDtype.F32) Fill(MemoryMarshal.AsBytes(values), tensor, _read * sizeof(float));
        else Convert(values, tensor);
        _read += values.Length;
    }

    /// <summary>Checks that nothing comes after the file's last byte, once every element was read.</summary>
    /// <exception cref="BadInputException">Something does.</exception>
    public void ExpectEnd()
    {
        if (stream.ReadByte() != -1) throw new BadInputException($"{name}: goes on after the {sizeBytes} bytes it was said to have");
    }

    private void Convert(Span<float> values, SafetensorsTensor tensor)
    {
        var size = SafetensorsHeader.SizeOf(tensor.Dtype);
        _raw ??= new byte[Piece * sizeof(double)];
        for (var start = 0; start < values.Length; start += Piece)
        {
            var piece = values.Slice(start, Math.Min(Piece, values.Length - start));
            var raw = _raw.AsSpan(0, piece.Length * size);
            Fill(raw, tensor, (_read + start) * size);
            SafetensorsCodec.ToFloat32(raw, tensor, piece, name);
        }
    }

    private void Fill(Span<byte> target, SafetensorsTensor tensor, long before)
    {
        var read = stream.ReadAtLeast(target, target.Length, throwOnEndOfStream: false);
        if (read < target.Length)
        {
            throw new BadInputException(
                $"{name}: tensor {tensor.Name}: the file ended after {before + read} of its {tensor.SizeBytes} bytes");
        }
    }
}
