using System.Collections;

namespace FedRLora.Abstractions.Tensors;

/// <summary>A float32 array with its shape, row-major.</summary>
/// <param name="Shape">Sizes, outermost first; empty for a scalar.</param>
/// <param name="Data">The elements; its length is the product of <paramref name="Shape"/>.</param>
public sealed record NamedArray(IReadOnlyList<long> Shape, float[] Data)
{
    /// <summary>The number of elements that <paramref name="shape"/> describes.</summary>
    public static long Count(IReadOnlyList<long> shape) => shape.Aggregate(1L, static (product, size) => checked(product * size));
}

/// <summary>
/// Named float arrays: what is shared, a client's head, an update, optimizer moments. Iterates in ordinal name order, so that
/// everything computed from it is independent of how it was built.
/// </summary>
public sealed class AdapterState : IReadOnlyDictionary<string, NamedArray>
{
    private readonly SortedDictionary<string, NamedArray> _arrays = new(StringComparer.Ordinal);

    /// <summary>A state without arrays.</summary>
    public static AdapterState Empty { get; } = new([]);

    /// <summary>Copies the references of <paramref name="arrays"/>, not the data.</summary>
    /// <exception cref="ArgumentException">A name occurs twice, or a length does not fit its shape.</exception>
    public AdapterState(IEnumerable<KeyValuePair<string, NamedArray>> arrays)
    {
        foreach (var (name, array) in arrays)
        {
            if (NamedArray.Count(array.Shape) != array.Data.LongLength)
            {
                throw new ArgumentException($"{name} has {array.Data.LongLength} elements, "
                    + $"its shape [{string.Join(", ", array.Shape)}] asks for {NamedArray.Count(array.Shape)}.");
            }
            _arrays.Add(name, array);
        }
    }

    /// <inheritdoc/>
    public NamedArray this[string key] => _arrays[key];

    /// <inheritdoc/>
    public IEnumerable<string> Keys => _arrays.Keys;

    /// <inheritdoc/>
    public IEnumerable<NamedArray> Values => _arrays.Values;

    /// <inheritdoc/>
    public int Count => _arrays.Count;

    /// <summary>Bytes of all elements as float32.</summary>
    public long SizeBytes => _arrays.Values.Sum(static array => sizeof(float) * array.Data.LongLength);

    /// <inheritdoc/>
    public bool ContainsKey(string key) => _arrays.ContainsKey(key);

    /// <inheritdoc/>
    public bool TryGetValue(string key, [System.Diagnostics.CodeAnalysis.MaybeNullWhen(false)] out NamedArray value) =>
        _arrays.TryGetValue(key, out value);

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, NamedArray>> GetEnumerator() => _arrays.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
