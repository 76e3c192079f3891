using FedRLora.Training.Data;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>Mean cross-entropy over the tokens that carry loss; the LM head is computed for those alone.</summary>
internal static class CompletionCrossEntropy
{
    /// <summary>A scalar in float32.</summary>
    public static Tensor Of(CausalLanguageModel model, Batch batch, ILayerAdapters? adapters)
    {
        var hidden = model.Hidden(batch.Input(model.Device), null, adapters);
        var rows = hidden.reshape(-1, hidden.shape[^1]).index_select(0, tensor(batch.LossRows, ScalarType.Int64, model.Device));
        return nn.functional.cross_entropy(model.LogitsOf(rows, adapters).to(ScalarType.Float32), tensor(batch.Targets, ScalarType.Int64, model.Device));
    }
}
