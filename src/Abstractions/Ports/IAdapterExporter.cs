using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Abstractions.Ports;

/// <summary>An adapter in PEFT's layout.</summary>
/// <param name="ConfigJson">adapter_config.json.</param>
/// <param name="Tensors">
/// adapter_model.safetensors: <c>base_model.model.{module}.lora_A.weight</c> [R, D_in] and <c>.lora_B.weight</c> [D_out, R];
/// lora_embedding_A and lora_embedding_B on an embedding; lora_magnitude_vector [D_out] where the weight is decomposed.
/// </param>
public sealed record ExportedAdapter(string ConfigJson, AdapterState Tensors)
{
    /// <summary>What the tensor file says of the base that the adapter was trained on; may be empty.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();
}

/// <summary>Which of the forms that load elsewhere is wanted; by default the exact one in PEFT's layout.</summary>
public sealed record ExportForm
{
    /// <summary>Where the adapter depends on the input, the nearest form that does not: its heads weighed equally.</summary>
    public bool Nearest { get; init; }

    /// <summary>As vLLM loads it: lora_A and lora_B alone, one rank and one scaling for all layers.</summary>
    public bool Vllm { get; init; }

    /// <summary>For vLLM, ranks padded with zeros to the next one that it accepts.</summary>
    public bool PadRank { get; init; }

    /// <summary>
    /// What the adapter names as its base model; null for the whole path of the plan's. One that a run started from keeps its own.
    /// </summary>
    public string? BaseModel { get; init; }

    /// <summary>The folder of a run that adapters of this form go to unless another is asked for.</summary>
    public string FolderName => Vllm ? "adapters-vllm" : "adapters";

    /// <summary>As people read it.</summary>
    public string Text => Vllm ? "the form that vLLM loads" : "PEFT's layout";
}

/// <summary>Turns a client's adapter into PEFT's layout.</summary>
public interface IAdapterExporter
{
    /// <summary>The static low rank of a client: heads merged, a frozen start folded into extra rank.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="round">The round that the states were committed in, from 1; 0 for the start.</param>
    /// <param name="client">The client.</param>
    /// <param name="shared">Committed tensors of scope Job, and those of scope Task as the client's task has them.</param>
    /// <param name="head">The committed head; null before the client's first round.</param>
    /// <param name="form">The form; null for the exact one in PEFT's layout.</param>
    /// <exception cref="BadInputException">The adapter does not have that form; the reason is said.</exception>
    ExportedAdapter Export(
        FederationPlan plan, int round, ClientSpec client, AdapterState shared, AdapterState? head, ExportForm? form = null);

    /// <summary>Digest of the adapter that a plan starts from, as it is now; null where it starts from a seed.</summary>
    /// <exception cref="BadInputException">The folder is not usable.</exception>
    string? DigestOfGiven(FederationPlan plan);
}
