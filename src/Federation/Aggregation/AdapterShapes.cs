using System.Collections;
using System.Diagnostics.CodeAnalysis;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>The names and shapes that every update of a round must have.</summary>
public sealed class AdapterShapes : IReadOnlyDictionary<string, IReadOnlyList<long>>
{
    private readonly SortedDictionary<string, IReadOnlyList<long>> _shapes = new(StringComparer.Ordinal);

    /// <summary>The shapes of a state, usually the shared state that the clients started from.</summary>
    public static AdapterShapes Of(AdapterState state)
    {
        var shapes = new AdapterShapes();
        foreach (var (name, array) in state)
            shapes._shapes.Add(name, array.Shape);
        return shapes;
    }

    /// <inheritdoc/>
    public IReadOnlyList<long> this[string key] => _shapes[key];

    /// <inheritdoc/>
    public IEnumerable<string> Keys => _shapes.Keys;

    /// <inheritdoc/>
    public IEnumerable<IReadOnlyList<long>> Values => _shapes.Values;

    /// <inheritdoc/>
    public int Count => _shapes.Count;

    /// <inheritdoc/>
    public bool ContainsKey(string key) => _shapes.ContainsKey(key);

    /// <inheritdoc/>
    public bool TryGetValue(string key, [MaybeNullWhen(false)] out IReadOnlyList<long> value) => _shapes.TryGetValue(key, out value);

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, IReadOnlyList<long>>> GetEnumerator() => _shapes.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
