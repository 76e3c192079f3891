using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Gguf;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>
/// A model as a Hugging Face folder of what it computes with: every number as float32, widened from however it is stored.
/// </summary>
internal static class WidenedFolder
{
    private const long ElementsAtOnce = 1 << 22;

    /// <summary>Writes the folder.</summary>
    /// <param name="path">A Hugging Face folder or a GGUF file.</param>
    /// <param name="model">The same, loaded.</param>
    /// <param name="target">A folder that does not exist yet.</param>
    /// <param name="filesOf">What is copied of a folder beside its weights.</param>
    /// <param name="cancellationToken">Looked at before each tensor.</param>
    public static void Write(
        string path, CausalLanguageModel model, string target, Func<string, IEnumerable<string>> filesOf,
        CancellationToken cancellationToken)
    {
        Directory.CreateDirectory(target);
        var documents = Directory.Exists(path)
            ? filesOf(path).Select(file => (Name: Path.GetRelativePath(path, file), Content: File.ReadAllBytes(file)))
            : Documents(new GgufSource(path));
        foreach (var (name, content) in documents)
        {
            var document = Path.Combine(target, name);
            Directory.CreateDirectory(Path.GetDirectoryName(document)!);
            File.WriteAllBytes(document, content);
        }

        var arrays = ModelRegistry.ExpectedParameters(model.Config).Select(parameter => KeyValuePair.Create(parameter.Name,
            SafetensorsArray.Streamed(SafetensorsDtype.F32, parameter.Shape, stream =>
            {
                cancellationToken.ThrowIfCancellationRequested();
                foreach (var part in model.PartsOf(parameter.Name, ElementsAtOnce)) stream.Write(part.bytes);
            })));
        using var stream = File.Create(Path.Combine(target, "model.safetensors"));
        SafetensorsWriter.Write(arrays, new Dictionary<string, string> { ["format"] = "pt" }, stream);
    }

    private static IEnumerable<(string Name, byte[] Content)> Documents(GgufSource source) =>
        GgufTokenizer.Documents(source.Metadata).Prepend(ModelConfig.FileName)
            .Select(name => (name, System.Text.Encoding.UTF8.GetBytes(source.Text(name))));
}
