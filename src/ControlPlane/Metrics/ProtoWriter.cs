using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace FedRLora.ControlPlane.Metrics;

/// <summary>Fields of a protobuf message, in the order in which they are written.</summary>
internal sealed class ProtoWriter
{
    private readonly ArrayBufferWriter<byte> _bytes = new();

    public byte[] ToArray() => _bytes.WrittenSpan.ToArray();

    public ProtoWriter Text(int field, string value) => Bytes(field, Encoding.UTF8.GetBytes(value));

    public ProtoWriter Bytes(int field, ReadOnlySpan<byte> value)
    {
        Varint((ulong)(field << 3 | 2));
        Varint((ulong)value.Length);
        _bytes.Write(value);
        return this;
    }

    public ProtoWriter Message(int field, Action<ProtoWriter> write)
    {
        var inner = new ProtoWriter();
        write(inner);
        return Bytes(field, inner._bytes.WrittenSpan);
    }

    public ProtoWriter Number(int field, ulong value)
    {
        Varint((ulong)(field << 3));
        Varint(value);
        return this;
    }

    public ProtoWriter Fixed(int field, ulong value)
    {
        Varint((ulong)(field << 3 | 1));
        Raw(value);
        return this;
    }

    public ProtoWriter Fixed(int field, double value) => Fixed(field, BitConverter.DoubleToUInt64Bits(value));

    public ProtoWriter Fixed(int field, float value)
    {
        Varint((ulong)(field << 3 | 5));
        Span<byte> four = stackalloc byte[4];
        BinaryPrimitives.WriteSingleLittleEndian(four, value);
        _bytes.Write(four);
        return this;
    }

    public ProtoWriter Packed(int field, IEnumerable<ulong> values)
    {
        var inner = new ProtoWriter();
        foreach (var value in values) inner.Raw(value);
        return Bytes(field, inner._bytes.WrittenSpan);
    }

    private void Raw(ulong value)
    {
        Span<byte> eight = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(eight, value);
        _bytes.Write(eight);
    }

    private void Varint(ulong value)
    {
        for (; value >= 0x80; value >>= 7) _bytes.Write([(byte)(value | 0x80)]);
        _bytes.Write([(byte)value]);
    }
}
