using FedRLora.Training.Gguf;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>The documents that a GGUF file's metadata makes, without a model behind them.</summary>
/// <param name="metadata">The file's.</param>
/// <param name="preTokenizer">The pre-tokenizer's name, where a test knows it.</param>
internal sealed class GgufDocuments(GgufMetadata metadata, string? preTokenizer = null) : ModelSource
{
    public override string Path => metadata.Path;

    public static GgufDocuments Of(string path, string? preTokenizer = null) => new(GgufFile.ReadHeader(path).Metadata, preTokenizer);

    public override bool Has(string name) => GgufTokenizer.Documents(metadata).Contains(name);

    public override string Text(string name) => GgufTokenizer.Text(metadata, name, preTokenizer)!;

    public override string Called(string name) => $"{metadata.Path}: {name}";

    public override IModelWeights OpenWeights() => throw new NotSupportedException();

    /// <summary>Writes what a converted folder would hold.</summary>
    public void WriteTo(string folder)
    {
        foreach (var name in GgufTokenizer.Documents(metadata))
        {
            var path = System.IO.Path.Combine(folder, name);
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
            File.WriteAllText(path, Text(name));
        }
    }
}
