using FedRLora.Abstractions.Messages;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Inputs;

/// <summary>The files of a Hugging Face folder that are read, and no other: a README may change.</summary>
internal static class ModelFolderFiles
{
    private static readonly (string Name, BasePart Part)[] Documents =
    [
        ("config.json", BasePart.Config), ("generation_config.json", BasePart.Tokenizer),
        ("tokenizer.json", BasePart.Tokenizer), ("tokenizer_config.json", BasePart.Tokenizer),
        ("special_tokens_map.json", BasePart.Tokenizer),
    ];

    /// <summary>Those that are there; what is missing and needed is said by who reads it.</summary>
    public static IEnumerable<(string Name, BasePart Part)> Of(string folder) => Documents
        .Concat(ChatTemplateFiles.Of(folder).Select(static name => (Name: name, Part: BasePart.Tokenizer)))
        .Concat(ModelWeights.FilesOf(folder).Select(static name => (Name: name, Part: BasePart.Weights)))
        .Where(file => File.Exists(Path.Combine(folder, file.Name)));
}
