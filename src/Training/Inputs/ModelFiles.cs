using FedRLora.Abstractions.Messages;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Gguf;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Inputs;

/// <summary>The files of a model that are read, and no other: a README beside them may change.</summary>
internal static class ModelFiles
{
    private static readonly (string Name, BasePart Part)[] Documents =
    [
        ("config.json", BasePart.Config), ("generation_config.json", BasePart.Tokenizer),
        ("tokenizer.json", BasePart.Tokenizer), ("tokenizer_config.json", BasePart.Tokenizer),
        ("special_tokens_map.json", BasePart.Tokenizer),
    ];

    /// <summary>Those that are there; what is missing and needed is said by who reads it.</summary>
    /// <param name="model">A Hugging Face folder, or a GGUF file, which may be one of several parts.</param>
    public static IEnumerable<(string Name, string Path, BasePart Part)> Of(string model) => File.Exists(model)
        ? GgufParts.PathsOf(model).Where(File.Exists).Select(static path => (Path.GetFileName(path), path, BasePart.Weights))
        : Documents
            .Concat(ChatTemplateFiles.Of(model).Select(static name => (Name: name, Part: BasePart.Tokenizer)))
            .Concat(ModelWeights.FilesOf(model).Select(static name => (Name: name, Part: BasePart.Weights)))
            .Select(file => (file.Name, Path: Path.Combine(model, file.Name), file.Part))
            .Where(static file => File.Exists(file.Path));

    /// <summary>Whether a file holds tensors, and is worth remembering.</summary>
    public static bool IsWeights(string path) => Path.GetExtension(path) is ModelWeights.Extension or GgufFile.Extension;
}
