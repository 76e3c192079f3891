using FedRLora.Abstractions.Plans;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>A model on the CPU that is loaded when it is first asked for.</summary>
/// <param name="path">A Hugging Face folder or a GGUF file.</param>
/// <param name="storage">How its matrices lie there.</param>
internal sealed class LoadedModel(string path, WeightStorage storage) : IDisposable
{
    private CausalLanguageModel? _model;

    /// <summary>The model.</summary>
    /// <exception cref="Abstractions.BadInputException">It is not usable.</exception>
    public CausalLanguageModel Model => _model ??= ModelRegistry.Load(path, CPU, storage);

    public void Dispose() => _model?.Dispose();
}
