using FedRLora.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>The tensors of a model by Hugging Face name and in its layout, wherever they lie.</summary>
internal interface IModelWeights : IDisposable
{
    /// <summary>The folder or file, as messages call it.</summary>
    string Path { get; }

    /// <summary>Every tensor's name.</summary>
    IReadOnlyCollection<string> Names { get; }

    /// <summary>Checks that a tensor could be read, without reading it.</summary>
    /// <exception cref="BadInputException">The tensor is missing, has another shape, or does not hold numbers that are read.</exception>
    void Check(string name, IReadOnlyList<long> shape);

    /// <summary>A tensor with the stored values in an element type.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="shape">The shape it must have.</param>
    /// <param name="device">Where the result is wanted.</param>
    /// <param name="dtype">Element type of the result.</param>
    /// <exception cref="BadInputException">As in <see cref="Check"/>, or a value is not finite.</exception>
    Tensor Read(string name, IReadOnlyList<long> shape, Device device, ScalarType dtype);

    /// <summary>A matrix as it is stored.</summary>
    /// <inheritdoc cref="Read" path="/param"/>
    /// <inheritdoc cref="Read" path="/exception"/>
    FrozenMatrix Stored(string name, IReadOnlyList<long> shape, Device device);

    /// <summary>What must live as long as the matrices of <see cref="Stored"/>; it is the caller's from then on.</summary>
    IReadOnlyList<IDisposable> TakePages();
}
