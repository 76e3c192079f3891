using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;

namespace FedRLora.Federation.Tests;

/// <summary>An update that is in memory, as if it were read.</summary>
/// <param name="state">The update.</param>
/// <param name="descending">Whether its tensors come in the descending order of names, not in the ascending one.</param>
/// <param name="end">Called when all of it was read.</param>
internal sealed class HeldUpdate(AdapterState state, bool descending = false, Action? end = null) : IUpdateReader
{
    private readonly Queue<float[]> _arrays = new((descending ? state.Values.Reverse() : state.Values).Select(static array => array.Data));
    private int _read;

    public static Task<IUpdateReader> OpenAsync(AdapterState state, bool descending = false, Action? end = null) =>
        Task.FromResult<IUpdateReader>(new HeldUpdate(state, descending, end));

    public IReadOnlyList<UpdateTensor> Tensors { get; } = [.. (descending ? state.Reverse() : state)
        .Select(static array => new UpdateTensor(array.Key, array.Value.Shape, array.Value.Data.Length))];

    public void Read(Span<float> values)
    {
        for (; _arrays.Count > 0 && _arrays.Peek().Length == _read; _read = 0) _arrays.Dequeue();
        if (values.IsEmpty) return;
        _arrays.Peek().AsSpan(_read, values.Length).CopyTo(values);
        _read += values.Length;
    }

    public void Finish() => end?.Invoke();

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
