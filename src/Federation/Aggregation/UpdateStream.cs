using System.Buffers;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// Takes updates, one after the other, from their readers into the sums of a cohort. Of each it holds a window of 256 kB. Several of these
/// work on updates that follow each other: an element is added when the client before has added its own, so the order of additions is
/// that of the cohort, however fast anybody reads. Before the end of an update nobody knows whether it is what its client has sent, so what
/// was added is void where any update turns out to be none.
/// </summary>
/// <param name="parts">Where tensors go.</param>
/// <param name="statistics">Where statistics go.</param>
/// <param name="adds">Whether anything is added; without, updates are checked and measured.</param>
internal sealed class UpdateStream(CohortParts parts, StatisticSums statistics, bool adds) : IDisposable
{
    private const int Window = 1 << 16; // floats
    private const int Aligned = 4 * UpdateCheck.Block; // of a tensor that goes on in the next window

    private readonly float[] _window = ArrayPool<float>.Shared.Rent(Window);
    private readonly List<(UpdateTensor Tensor, int Start, int Offset, int Length)> _slices = []; // of tensors, in the window
    private readonly UpdateScan _scan = new();
    private Dictionary<string, NamedArray>? _whole;
    private int _tensor; // that is read next
    private int _start;

    /// <summary>Takes an update to its end.</summary>
    /// <param name="turn">The client's turn: its number is its place in the cohort.</param>
    /// <param name="reader">The update.</param>
    /// <param name="discounts">What is left of it.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <returns>What it adds, or why it cannot be used; and the update itself where the rule wants it whole.</returns>
    public async Task<(CohortParts.Addition? Addition, AdapterState? Whole, string? Problem)> TakeAsync(
        Turn turn, IUpdateReader reader, CohortParts.Discounts discounts, CancellationToken cancellationToken)
    {
        var shapes = parts.ShapesOf(turn.Number);
        _scan.Begin();
        (_tensor, _start, _whole) = (0, 0, adds && parts.TakeWhole ? new(StringComparer.Ordinal) : null);
        // Files that we write are in order. Any other order is as good, one client after the other.
        var isInOrder = IsInOrder(reader.Tensors);
        if (adds && !isInOrder) await turn.Before().WaitAsync(cancellationToken);
        while (Fill(reader, shapes, discounts))
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (!adds) continue;
            var (tensor, start, _, length) = _slices[^1];
            if (isInOrder) await turn.Before(tensor.Name, start + length).WaitAsync(cancellationToken);
            Add(turn.Number);
            if (isInOrder) turn.Done(tensor.Name, start + length);
        }

        reader.Finish();
        return (_scan.ProblemIn(shapes) ?? statistics.ProblemOf(_scan)) is { } problem
            ? (null, null, problem)
            : (parts.LengthsOf(turn.Number, part => _scan.Length(part.Keys)), _whole is null ? null : new AdapterState(_whole), null);
    }

    /// <inheritdoc/>
    public void Dispose() => ArrayPool<float>.Shared.Return(_window);

    private static bool IsInOrder(IReadOnlyList<UpdateTensor> tensors)
    {
        for (var i = 1; i < tensors.Count; i++)
        {
            if (string.CompareOrdinal(tensors[i - 1].Name, tensors[i].Name) >= 0) return false;
        }

        return true;
    }

    // Whether there was anything. Small tensors share a window; large ones go through several.
    private bool Fill(IUpdateReader reader, AdapterShapes shapes, CohortParts.Discounts discounts)
    {
        _slices.Clear();
        for (var filled = 0; _tensor < reader.Tensors.Count; (_tensor, _start) = (_tensor + 1, 0))
        {
            var tensor = reader.Tensors[_tensor];
            var (rest, room) = (tensor.Count - _start, Window - filled);
            var length = rest <= room ? rest : room / Aligned * Aligned;
            if (length < rest && length == 0) return true;
            var isStatistic = StatisticFamily.IsStatistic(tensor.Name);
            if (_start == 0)
                _scan.Take(tensor, isStatistic ? statistics.ShapeOf(tensor.Name) : shapes.GetValueOrDefault(tensor.Name));
            var values = _window.AsSpan(filled, length);
            reader.Read(values);
            _scan.Take(tensor.Name, _start, values, isStatistic ? 1 : discounts.Of(tensor.Name));
            _slices.Add((tensor, _start, filled, length));
            (_start, filled) = (_start + length, filled + length);
            if (length < rest) return true;
        }

        return _slices.Count > 0;
    }

    private void Add(int client)
    {
        if (_scan.IsBroken) return;
        foreach (var (tensor, start, offset, length) in _slices)
        {
            var values = _window.AsSpan(offset, length);
            if (StatisticFamily.IsStatistic(tensor.Name)) statistics.AddPiece(tensor.Name, start, values);
            else if (_whole is null) parts.AddPiece(client, tensor.Name, start, values);
            else
            {
                if (start == 0)
                    _whole.Add(tensor.Name, new(tensor.Shape, GC.AllocateUninitializedArray<float>(tensor.Count)));
                values.CopyTo(_whole[tensor.Name].Data.AsSpan(start));
            }
        }
    }
}
