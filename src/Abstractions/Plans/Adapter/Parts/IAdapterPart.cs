namespace FedRLora.Abstractions.Plans;

/// <summary>
/// A part of a method: which tensors it brings and what it asks of the rest. Pure values; the algebra stands with training.
/// </summary>
public interface IAdapterPart
{
    /// <summary>The tensors that it has on each layer.</summary>
    IReadOnlyList<TensorRole> Roles { get; }

    /// <summary>What it is called where it cannot be on an embedding, with its article; null where it can.</summary>
    string? KeepsOffEmbeddings => null;

    /// <summary>What does not go together with it.</summary>
    IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => [];
}
