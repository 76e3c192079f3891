using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Abstractions.Ports;

/// <summary>An adapter in PEFT's layout.</summary>
/// <param name="ConfigJson">adapter_config.json.</param>
/// <param name="Tensors">adapter_model.safetensors: <c>base_model.model.{module}.lora_A.weight</c> [R, D_in] and <c>.lora_B.weight</c> [D_out, R].</param>
public sealed record ExportedAdapter(string ConfigJson, AdapterState Tensors);

/// <summary>Turns a client's adapter into PEFT's layout.</summary>
public interface IAdapterExporter
{
    /// <summary>The static low rank of a client: heads merged, frozen twins folded into extra rank.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="client">The client.</param>
    /// <param name="shared">Committed tensors of scope Job.</param>
    /// <param name="head">The committed head; null before the client's first round.</param>
    /// <exception cref="BadInputException">The adapter depends on the input and has no static form.</exception>
    ExportedAdapter Export(FederationPlan plan, ClientSpec client, AdapterState shared, AdapterState? head);
}
