using System.Runtime.InteropServices;
using FedRLora.Abstractions;
using FedRLora.Training.Quantization;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>A matrix as bytes with a magnitude for each row.</summary>
internal sealed unsafe class Int8Matrix : BlockMatrix
{
    private readonly Memory _codes;
    private readonly Memory _absmax;

    /// <param name="values">float32 <c>[Rows, Columns]</c> in the host's memory, contiguous.</param>
    /// <param name="called">What messages call it.</param>
    /// <exception cref="BadInputException">A value is too great.</exception>
    public Int8Matrix(Tensor values, string called)
        : base(values.shape[0], values.shape[1])
    {
        (_codes, _absmax) = (new(Rows * Columns), new(Rows * sizeof(float)));
        var at = Int8Rows.Quantize(
            (float*)FrozenMatrices.PointerTo(values), Rows, Columns, (sbyte*)_codes.Address, (float*)_absmax.Address);
        if (at < 0) return;
        Dispose();
        throw new BadInputException($"{called} has a value at [{at / Columns}, {at % Columns}] that int8 cannot hold; use another storage");
    }

    public override string Storage => "int8";

    public override long SizeBytes => Rows * (Columns + sizeof(float));

    public override void Dispose()
    {
        _codes.Dispose();
        _absmax.Dispose();
    }

    protected override void Widen(long first, long count, float* target) => Int8Rows.Widen(
        (sbyte*)_codes.Address + first * Columns, (float*)_absmax.Address + first, count, Columns, target);
}

/// <summary>A matrix as four-bit NormalFloat with double quantization; blocks of 64 run over all its rows.</summary>
internal sealed unsafe class Nf4Matrix : BlockMatrix
{
    private readonly Memory _packed;
    private readonly Memory _codes;
    private readonly Memory _absmax2;
    private readonly Nf4Values _values;

    /// <param name="values">float32 <c>[Rows, Columns]</c> in the host's memory, contiguous.</param>
    /// <param name="called">What messages call it.</param>
    /// <exception cref="BadInputException">A value is not finite.</exception>
    public Nf4Matrix(Tensor values, string called)
        : base(values.shape[0], values.shape[1])
    {
        var blocks = Nf4.Blocks(Rows * Columns);
        _packed = new(Nf4.PackedBytes(Rows * Columns));
        _codes = new(blocks);
        _absmax2 = new((blocks + Nf4.SecondBlock - 1) / Nf4.SecondBlock * sizeof(float));
        using var absmax = new Memory(blocks * sizeof(float));
        var at = Nf4.Quantize((float*)FrozenMatrices.PointerTo(values), Rows * Columns, _packed.Address, (float*)absmax.Address);
        if (at >= 0)
        {
            Dispose();
            throw new BadInputException($"{called} has a value at [{at / Columns}, {at % Columns}] that is not finite");
        }

        var offset = Nf4.OffsetOf((float*)absmax.Address, blocks);
        Nf4.Compress((float*)absmax.Address, blocks, offset, _codes.Address, (float*)_absmax2.Address);
        _values = new(_packed.Address, _codes.Address, (float*)_absmax2.Address, offset);
    }

    public override string Storage => "nf4";

    public override long SizeBytes => _packed.Bytes + _codes.Bytes + _absmax2.Bytes;

    public override void Dispose()
    {
        _packed.Dispose();
        _codes.Dispose();
        _absmax2.Dispose();
    }

    protected override void Widen(long first, long count, float* target) => Nf4.Widen(_values, first * Columns, count * Columns, target);
}

/// <summary>Memory that no garbage collector looks at.</summary>
internal sealed unsafe class Memory(long bytes) : IDisposable
{
    public byte* Address { get; private set; } = (byte*)NativeMemory.Alloc((nuint)Math.Max(1, bytes));

    public long Bytes => bytes;

    public void Dispose()
    {
        NativeMemory.Free(Address);
        Address = null;
        GC.SuppressFinalize(this);
    }

    // A base that was loaded anew may still be in use; it goes with its last user.
    ~Memory() => NativeMemory.Free(Address);
}
