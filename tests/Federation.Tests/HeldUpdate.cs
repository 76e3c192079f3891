using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;

namespace FedRLora.Federation.Tests;

/// <summary>An update that is in memory, as if it were read.</summary>
internal sealed class HeldUpdate(AdapterState state) : IUpdateReader
{
    private readonly Queue<float[]> _arrays = new(state.Values.Select(static array => array.Data));
    private int _read;

    public static Task<IUpdateReader> OpenAsync(AdapterState state) => Task.FromResult<IUpdateReader>(new HeldUpdate(state));

    public IReadOnlyList<UpdateTensor> Tensors { get; } =
        [.. state.Select(static array => new UpdateTensor(array.Key, array.Value.Shape, array.Value.Data.Length))];

    public void Read(Span<float> values)
    {
        for (; _arrays.Count > 0 && _arrays.Peek().Length == _read; _read = 0) _arrays.Dequeue();
        if (values.IsEmpty) return;
        _arrays.Peek().AsSpan(_read, values.Length).CopyTo(values);
        _read += values.Length;
    }

    public void Finish()
    {
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
