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
            .ToDictionary(static tensor => tensor.Key, static FrozenMatrix (tensor) => new FloatMatrix(tensor.Value), StringComparer.Ordinal),
        []);

    public void Dispose()
    {
        foreach (var tensor in tensors.Values) tensor.Dispose();
        foreach (var matrix in matrices.Values) matrix.Dispose();
        foreach (var file in files) file.Dispose();
    }
}
