using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// Which entries of the heads train: those that were largest when the mask was calibrated (LoRI, arXiv 2504.07448). It is there in the
/// rounds after its calibration.
/// </summary>
public sealed record HeadMask : IAdapterPart
{
    /// <summary>1 where an entry of B trains, else 0; <c>[N, D_out, R]</c>.</summary>
    public const string Role = "mask";

    private static readonly TensorRole[] Tensors =
    [
        new(Role, new() { Init = Init.Constant(1), Trains = false })
        {
            Summary = "which entries of the heads train", Shape = "[heads, outputs, r]", Side = Side.Out, Follows = LowRankFactors.B,
            ComesWith = "a lifecycle with calibrateMask, in rounds after it",
        },
    ];

    /// <inheritdoc/>
    [JsonIgnore]
    public IReadOnlyList<TensorRole> Roles => Tensors;
}
