using FedRLora.Abstractions.Tensors;
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
        if (File.Exists(path)) new GgufSource(path).WriteDocuments(target);
        else
        {
            foreach (var file in filesOf(path))
            {
                var copy = Path.Combine(target, Path.GetRelativePath(path, file));
                Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
                File.Copy(file, copy);
            }
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
}
