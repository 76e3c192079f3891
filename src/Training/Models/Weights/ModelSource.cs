using FedRLora.Abstractions;
using FedRLora.Training.Inputs;

namespace FedRLora.Training.Models.Weights;

/// <summary>
/// A model where it lies: a Hugging Face folder, or a GGUF file that presents itself as one. Who reads a configuration, a tokenizer or a
/// chat template asks here for the text of the file that a folder keeps it in.
/// </summary>
internal abstract class ModelSource
{
    /// <summary>The folder or file, as it was given.</summary>
    public abstract string Path { get; }

    /// <summary>The model at a path.</summary>
    /// <param name="path">A folder; a file is taken for GGUF.</param>
    /// <exception cref="BadInputException">A file that is not a valid GGUF file.</exception>
    public static ModelSource At(string path) => File.Exists(path) ? new GgufSource(path) : new FolderSource(path);

    /// <summary>Whether the model has a document.</summary>
    /// <param name="name">As a folder calls it, for example <c>config.json</c>.</param>
    public abstract bool Has(string name);

    /// <summary>The text of a document.</summary>
    /// <param name="name">As in <see cref="Has"/>.</param>
    /// <exception cref="BadInputException">It cannot be read, or what it is made from says what cannot be.</exception>
    public abstract string Text(string name);

    /// <summary>What messages call a document.</summary>
    public abstract string Called(string name);

    /// <summary>Opens the weights; headers are checked, nothing is read yet.</summary>
    /// <exception cref="BadInputException">No weights, or a file that is not what it should be.</exception>
    public abstract IModelWeights OpenWeights();
}

/// <summary>A Hugging Face folder.</summary>
internal sealed class FolderSource(string folder) : ModelSource
{
    public override string Path => folder;

    public override bool Has(string name) => File.Exists(Called(name));

    public override string Text(string name) => Has(name) ? ConfigReader.TextOf(Called(name))
        : GivenPath.GgufIn(folder) is { } inside
            ? throw new BadInputException($"{folder}: has no {name} and holds {System.IO.Path.GetFileName(inside)}; give that file")
        : throw new BadInputException(Directory.Exists(folder)
            ? $"{folder}: has no {name}; give a Hugging Face model folder or a GGUF file"
            : $"{folder}: no such folder; give a Hugging Face model folder or a GGUF file");

    public override string Called(string name) => System.IO.Path.Combine(folder, name);

    public override IModelWeights OpenWeights() => ModelWeights.Open(folder);
}
