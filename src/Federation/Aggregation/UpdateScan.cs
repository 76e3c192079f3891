using System.Runtime.InteropServices;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// What an update is found to be while its pieces go by: whether it can be aggregated, by the words of <see cref="UpdateCheck"/>, and how
/// long it is, by its bits. It remembers one number for each 4,096 elements.
/// </summary>
internal sealed class UpdateScan
{
    private readonly List<double> _squares = [];
    private readonly Dictionary<string, (int First, int Count)> _tensors = new(StringComparer.Ordinal); // in the squares
    private readonly Dictionary<string, string> _problems = new(StringComparer.Ordinal);

    /// <summary>What has gone by.</summary>
    public IEnumerable<string> Names => _tensors.Keys;

    /// <summary>Whether something is wrong with what has gone by.</summary>
    public bool IsBroken => _problems.Count > 0;

    /// <summary>Forgets the update before.</summary>
    public void Begin()
    {
        _squares.Clear();
        _tensors.Clear();
        _problems.Clear();
    }

    /// <summary>Takes the shape of a tensor, whose elements come next.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <param name="expected">The shape it should have; null where it should not be there.</param>
    public void Take(UpdateTensor tensor, IReadOnlyList<long>? expected)
    {
        _tensors.Add(tensor.Name, (_squares.Count, 0));
        var problem = expected is null ? UpdateCheck.Extra(tensor.Name) : UpdateCheck.FindShape(tensor.Name, expected, tensor.Shape);
        if (problem is not null) _problems.Add(tensor.Name, problem);
    }

    /// <summary>Looks at the next elements of a tensor, of which all but the last come in multiples of 4,096.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="start">The first element.</param>
    /// <param name="values">The elements, which are changed.</param>
    /// <param name="factor">What is left of the update: the elements are multiplied by it where it is below 1.</param>
    public void Take(string name, int start, Span<float> values, float factor)
    {
        if (_problems.ContainsKey(name)) return;
        if (UpdateCheck.FindValue(name, start, values) is { } problem)
        {
            _problems.Add(name, problem);
            return;
        }

        if (factor < 1) System.Numerics.Tensors.TensorPrimitives.Multiply(values, factor, values);
        var before = _squares.Count;
        CollectionsMarshal.SetCount(_squares, before + ((values.Length + UpdateCheck.Block - 1) / UpdateCheck.Block));
        UpdateCheck.SumSquares(values, CollectionsMarshal.AsSpan(_squares)[before..]);
        ref var tensor = ref CollectionsMarshal.GetValueRefOrNullRef(_tensors, name);
        tensor.Count = _squares.Count - tensor.First;
    }

    /// <summary>Whether a tensor has gone by.</summary>
    public bool Has(string name) => _tensors.ContainsKey(name);

    /// <summary>What is wrong with a tensor; null where nothing is.</summary>
    public string? ProblemOf(string name) => _problems.GetValueOrDefault(name);

    /// <summary>The first thing that is wrong with the tensors of an update that has gone by; null where nothing is.</summary>
    public string? ProblemIn(AdapterShapes shapes)
    {
        foreach (var name in shapes.Keys)
        {
            if (!Has(name)) return UpdateCheck.Missing(name);
            if (ProblemOf(name) is { } problem) return problem;
        }

        return Names.Where(name => !StatisticFamily.IsStatistic(name) && !shapes.ContainsKey(name)).Min(StringComparer.Ordinal) is { } extra
            ? UpdateCheck.Extra(extra)
            : null;
    }

    /// <summary>The <see cref="UpdateCheck.Length"/> of some tensors, given in ordinal order of names.</summary>
    public double Length(IEnumerable<string> names)
    {
        var squares = 0.0;
        foreach (var name in names)
        {
            var (first, count) = _tensors[name];
            foreach (var one in CollectionsMarshal.AsSpan(_squares).Slice(first, count)) squares += one;
        }

        return Math.Sqrt(squares);
    }
}
