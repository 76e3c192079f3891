using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>
/// What a frozen model is made of, by Hugging Face name: the matrices of its adaptable layers, and everything else as tensors.
/// </summary>
/// <param name="tensors">Norms, biases, tables of positions; float32, or wider where the model is.</param>
/// <param name="matrices">Embedding, linear layers, LM head.</param>
/// <param name="files">What keeps the pages that matrices lie in.</param>
internal sealed class FrozenParameters(
    IReadOnlyDictionary<string, Tensor> tensors, IReadOnlyDictionary<string, FrozenMatrix> matrices, IReadOnlyList<IDisposable> files)
    : IDisposable
{
    /// <summary>Norms, biases and tables, and every matrix that is a tensor of floats.</summary>
    public IReadOnlyDictionary<string, Tensor> Tensors { get; } = matrices.Where(static matrix => matrix.Value is FloatMatrix)
        .Select(static matrix => KeyValuePair.Create(matrix.Key, ((FloatMatrix)matrix.Value).Values)).Concat(tensors)
        .ToDictionary(StringComparer.Ordinal);

    /// <summary>The matrices.</summary>
    public IReadOnlyDictionary<string, FrozenMatrix> Matrices => matrices;

    /// <summary>Where the parameters are.</summary>
    public Device Device => Tensors.Values.First().device;

    /// <summary>What is computed with.</summary>
    public ScalarType Dtype => matrices.Values.FirstOrDefault()?.Dtype ?? ScalarType.Float32;

    /// <summary>All of it as tensors of floats.</summary>
    /// <param name="all">By name; the parameters own them from here on.</param>
    /// <param name="isMatrix">Whether a name is that of an adaptable layer's weight.</param>
    public static FrozenParameters OfTensors(IReadOnlyDictionary<string, Tensor> all, Func<string, bool> isMatrix) => new(
        all.Where(tensor => !isMatrix(tensor.Key)).ToDictionary(StringComparer.Ordinal),
        all.Where(tensor => isMatrix(tensor.Key))
            .ToDictionary(static tensor => tensor.Key, static FrozenMatrix (tensor) => new FloatMatrix(tensor.Value),
                StringComparer.Ordinal),
        []);

    /// <summary>
    /// A parameter in its files' orientation as float32 on the CPU, piece by piece; each is disposed when the next is asked for.
    /// </summary>
    /// <param name="name">Its name.</param>
    /// <param name="most">Numbers of a piece, or of a row where that is longer.</param>
    public IEnumerable<Tensor> PartsOf(string name, long most)
    {
        if (matrices.TryGetValue(name, out var matrix) && !matrix.IsTransposed)
        {
            var atOnce = Math.Max(1, most / matrix.Columns);
            for (var first = 0L; first < matrix.Rows; first += atOnce)
            {
                using var part = matrix.Part(first, Math.Min(atOnce, matrix.Rows - first));
                yield return part;
            }

            yield break;
        }

        using var whole = matrix is null ? tensors[name].to(ScalarType.Float32).cpu().contiguous()
            : matrix.Whole(ScalarType.Float32).t().contiguous();
        using var flat = whole.view(-1);
        for (var first = 0L; first < flat.shape[0]; first += most)
        {
            using var part = flat.narrow(0, first, Math.Min(most, flat.shape[0] - first));
            yield return part;
        }
    }

    public void Dispose()
    {
        foreach (var tensor in tensors.Values) tensor.Dispose();
        foreach (var matrix in matrices.Values) matrix.Dispose();
        foreach (var file in files) file.Dispose();
    }
}
