using FedRLora.Training.Conversion;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Conversion;
using FedRLora.Training.Tests.Models;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>A GGUF file with drawn weights.</summary>
internal sealed class TinyGguf
{
    public TinyGguf(TemporaryFolder folder, ModelConfig? config = null, string name = "tiny.gguf", WeightType type = WeightType.F32)
    {
        Path = folder.File(name);
        FolderToGguf.Write(TinyFolder.Write(folder.File(name + ".folder"), config ?? TinyLlama.Config), Path, type);
    }

    public string Path { get; }
}
