using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// Memory that every step uses again, given out and taken back like a stack: fresh buffers would cost a page fault for every 4 kB,
/// and glibc before 2.38 cannot use a freed aligned block for the next one of its size. What a forward pass keeps lies in one stack
/// until the backward pass comes by; a layer's gradients lie in another, and what the layer below needs of them is carried over.
/// </summary>
internal sealed class Workspace(Device device, ScalarType dtype) : IDisposable
{
    private readonly Stack _kept = new(device, dtype);
    private readonly Stack _gradients = new(device, dtype);
    private readonly Stack[] _carried = [new(device, dtype), new(device, dtype)];
    private readonly Stack _scratch = new(device, dtype);
    private int _turn;

    /// <summary>Whether memory is for gradients from now on.</summary>
    public bool IsBackward { get; set; }

    /// <summary>The most that was given out at a time, in bytes; grows with the rows of a pass, as scratch memory does not.</summary>
    public long MostBytes => All.Where(stack => stack != _scratch).Sum(static stack => stack.Most) * dtype.ElementSize();

    /// <summary>Memory held for passes to come, in bytes.</summary>
    public long HeldBytes => All.Sum(static stack => stack.Held) * dtype.ElementSize();

    /// <summary>Where the memory of this direction ends.</summary>
    public Mark Top => Current.Top;

    /// <summary>Memory with anything in it.</summary>
    /// <returns><c>[rows, width]</c>, a view in the caller's dispose scope.</returns>
    public Tensor Take(long rows, long width) => Current.Take(rows, width);

    /// <summary>Memory that is free again at the next call.</summary>
    /// <returns><c>[rows, width]</c>, a view in the caller's dispose scope.</returns>
    public Tensor Scratch(long rows, long width)
    {
        _scratch.Top = default;
        return _scratch.Take(rows, width);
    }

    /// <summary>Gives back what this direction took since the mark.</summary>
    public void Release(Mark mark) => Current.Top = mark;

    /// <summary>
    /// A layer's backward is through: what its forward took since the mark is given back, and all its gradients but some.
    /// </summary>
    /// <param name="mark">Where the memory of the forward pass ended before the layer.</param>
    /// <param name="needed">Gradients that the layer below reads.</param>
    /// <returns>Those, elsewhere.</returns>
    public IReadOnlyList<Tensor> EndLayer(Mark mark, IReadOnlyList<Tensor> needed)
    {
        _kept.Top = mark;
        _turn = 1 - _turn;
        _carried[_turn].Top = default;
        Tensor[] carried = [.. needed.Select(gradient => _carried[_turn].Take(gradient.shape[0], gradient.shape[1]).copy_(gradient))];
        _gradients.Top = default;
        return carried;
    }

    /// <summary>Gives everything back.</summary>
    public void Reset()
    {
        foreach (var stack in All) stack.Clear();
        IsBackward = false;
    }

    public void Dispose()
    {
        foreach (var stack in All) stack.Dispose();
    }

    private Stack Current => IsBackward ? _gradients : _kept;

    private IEnumerable<Stack> All => [_kept, _gradients, .. _carried, _scratch];

    private sealed class Stack(Device device, ScalarType dtype) : IDisposable
    {
        private const long LeastElements = 1 << 22;
        private const long Alignment = 16;

        private readonly List<Tensor> _chunks = [];

        public Mark Top { get; set; }

        public long Most { get; private set; }

        public long Held => _chunks.Sum(static chunk => chunk.NumberOfElements);

        public Tensor Take(long rows, long width)
        {
            var length = (rows * width + Alignment - 1) / Alignment * Alignment;
            var (chunk, offset, used) = Top;
            if (chunk < _chunks.Count && offset + length > _chunks[chunk].NumberOfElements) (chunk, offset) = (chunk + 1, 0);
            if (chunk < _chunks.Count && length > _chunks[chunk].NumberOfElements) DropFrom(chunk);
            if (chunk == _chunks.Count) _chunks.Add(empty([Math.Max(LeastElements, length)], dtype, device).DetachFromDisposeScope());
            Top = new(chunk, offset + length, used + length);
            Most = Math.Max(Most, Top.Used);
            return _chunks[chunk].as_strided([rows, width], [width, 1], offset);
        }

        /// <summary>Takes everything back; what had to be pieced together is one piece from then on.</summary>
        public void Clear()
        {
            if (_chunks.Count > 1)
            {
                DropFrom(0);
                _chunks.Add(empty([Most], dtype, device).DetachFromDisposeScope());
            }

            (Top, Most) = (default, 0);
        }

        public void Dispose() => DropFrom(0);

        private void DropFrom(int first)
        {
            foreach (var chunk in _chunks.Skip(first)) chunk.Dispose();
            _chunks.RemoveRange(first, _chunks.Count - first);
        }
    }

    /// <summary>A place in a stack.</summary>
    /// <param name="Chunk">Number of its piece of memory.</param>
    /// <param name="Offset">Elements before it there.</param>
    /// <param name="Used">Elements given out before it.</param>
    internal readonly record struct Mark(int Chunk, long Offset, long Used);
}
