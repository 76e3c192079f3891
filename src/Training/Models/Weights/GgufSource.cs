using FedRLora.Abstractions;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;

namespace FedRLora.Training.Models.Weights;

/// <summary>
/// A GGUF file as a Hugging Face folder: its documents are what <c>fedrlora convert</c> writes, so that the file and the converted folder
/// are one model.
/// </summary>
internal sealed class GgufSource : ModelSource
{
    private readonly string _path;
    private readonly Lazy<GgufHeader> _header;
    private readonly Lazy<ModelConfig> _config;

    public GgufSource(string path)
    {
        _path = path;
        _header = new(() =>
        {
            var header = GgufFile.ReadHeader(path);
            _ = GgufArchitecture.Of(header.Metadata); // what is no model says so before its tokenizer is missed
            return header;
        });
        _config = new(() => GgufConfig.Of(_header.Value, Values));
    }

    public override string Path => _path;

    /// <summary>What the file says of itself.</summary>
    public GgufMetadata Metadata => _header.Value.Metadata;

    public override bool Has(string name) => name == ModelConfig.FileName || GgufTokenizer.Documents(Metadata).Contains(name);

    public override string Text(string name) => name == ModelConfig.FileName
        ? _config.Value.ToJson()
        : GgufTokenizer.Text(Metadata, name) ?? throw new BadInputException($"{_path}: has no {name}");

    public override string Called(string name) => name == ModelConfig.FileName ? _path : $"{_path} ({name})";

    /// <summary>Writes every document that the file has something for into a folder that is there.</summary>
    public void WriteDocuments(string folder)
    {
        foreach (var name in GgufTokenizer.Documents(Metadata).Prepend(ModelConfig.FileName))
        {
            var document = System.IO.Path.Combine(folder, name);
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(document)!);
            File.WriteAllText(document, Text(name));
        }
    }

    public override IModelWeights OpenWeights() => new GgufWeights(GgufFile.Open(_path), _config.Value);

    // Read, not kept: a few numbers.
    private float[] Values(GgufTensor tensor)
    {
        using var file = GgufFile.Open(_path);
        return GgufValues.Of(file, tensor);
    }
}
