using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// Memory that every step uses again, given out and taken back like a stack: fresh buffers would cost a page fault for every 4 kB,
/// and glibc before 2.38 cannot use a freed aligned block for the next one of its size. Three stacks: what a forward pass keeps for
/// the backward pass, and two for gradients, of which a layer uses one while it reads the gradient that the layer above left in the
/// other.
/// </summary>
internal sealed class Workspace(Device device, ScalarType dtype) : IDisposable
{
    private readonly Stack _kept = new(device, dtype);
    private readonly Stack[] _gradients = [new(device, dtype), new(device, dtype)];
    private readonly Stack _scratch = new(device, dtype);
    private int _turn;

    /// <summary>Whether memory is for gradients from now on.</summary>
    public bool IsBackward { get; set; }

    /// <summary>The most that was given out at a time, in bytes; grows with the rows of a pass, as scratch memory does not.</summary>
    public long MostBytes => (_kept.Most + _gradients.Sum(static stack => stack.Most)) * dtype.ElementSize();

    /// <summary>Where the forward pass's memory ends.</summary>
    public (int Chunk, long Offset) Mark => _kept.Top;

    /// <summary>Memory with anything in it.</summary>
    /// <returns><c>[rows, width]</c>, a view in the caller's dispose scope.</returns>
    public Tensor Take(long rows, long width) => (IsBackward ? _gradients[_turn] : _kept).Take(rows, width);

    /// <summary>Memory that is free again at the next call.</summary>
    /// <returns><c>[rows, width]</c>, a view in the caller's dispose scope.</returns>
    public Tensor Scratch(long rows, long width)
    {
        _scratch.Top = default;
        return _scratch.Take(rows, width);
    }

    /// <summary>Gives back what the forward pass took since the mark.</summary>
    public void Release((int Chunk, long Offset) mark) => _kept.Top = mark;

    /// <summary>The gradients of the layer before last are no longer needed.</summary>
    public void Turn() => _gradients[_turn = 1 - _turn].Top = default;

    /// <summary>Gives everything back.</summary>
    public void Reset()
    {
        foreach (var stack in _gradients.Append(_kept)) (stack.Top, stack.Most) = (default, 0);
        IsBackward = false;
    }

    public void Dispose()
    {
        foreach (var stack in _gradients.Append(_kept).Append(_scratch)) stack.Dispose();
    }

    private sealed class Stack(Device device, ScalarType dtype) : IDisposable
    {
        private const long ChunkElements = 1 << 22;
        private const long Alignment = 16;

        private readonly List<Tensor> _chunks = [];

        public (int Chunk, long Offset) Top { get; set; }

        public long Most { get; set; }

        public Tensor Take(long rows, long width)
        {
            var length = (rows * width + Alignment - 1) / Alignment * Alignment;
            var (chunk, offset) = Top;
            while (chunk < _chunks.Count && offset + length > _chunks[chunk].NumberOfElements) (chunk, offset) = (chunk + 1, 0);
            if (chunk == _chunks.Count) _chunks.Add(empty([Math.Max(ChunkElements, length)], dtype, device).DetachFromDisposeScope());
            Top = (chunk, offset + length);
            Most = Math.Max(Most, _chunks.Take(chunk).Sum(static full => full.NumberOfElements) + offset + length);
            return _chunks[chunk].as_strided([rows, width], [width, 1], offset);
        }

        public void Dispose() => _chunks.ForEach(static chunk => chunk.Dispose());
    }
}
