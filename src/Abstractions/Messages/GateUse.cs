namespace FedRLora.Abstractions.Messages;

/// <summary>
/// How a client's gates chose among heads in a round's training, by layer: a mean over layers would look balanced where each layer sends
/// all to one head, and each to another.
/// </summary>
/// <param name="Layer">The layer in which one head was the first choice for the largest share of rows.</param>
/// <param name="Head">That head, from 0.</param>
/// <param name="Share">Its share of the rows there.</param>
/// <param name="Collapsed">Layers in which one head was the first choice for <see cref="Most"/> of the rows or more.</param>
/// <param name="Layers">Layers with a gate.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.gate-use")]
public sealed record GateUse(
    [property: Id(0)] string Layer, [property: Id(1)] int Head, [property: Id(2)] double Share, [property: Id(3)] int Collapsed,
    [property: Id(4)] int Layers)
{
    /// <summary>From this share of rows on, a gate counts as one that chooses one head.</summary>
    public const double Most = 0.95;
}
