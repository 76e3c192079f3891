using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// Low ranks that were trained before and are frozen beside the live one: the links of a chain (COLA, arXiv 2401.04151). Their number
/// follows from the plan and the round.
/// </summary>
/// <param name="Count">Of them, at least one.</param>
public sealed record FrozenLinks(int Count) : IAdapterPart
{
    /// <summary>The links' down-projections below each other, <c>[links R, D_in]</c>.</summary>
    public const string A = "linksA";

    /// <summary>The links' heads side by side, <c>[1, D_out, links R]</c>.</summary>
    public const string B = "linksB";

    private static readonly TensorRole[] Tensors =
    [
        new(A, new() { Trains = false, Scope = Scope.Job })
        {
            Summary = "the down-projections of merged links", Shape = "[links r, inputs]", Follows = LowRankFactors.A,
            ComesWith = "a lifecycle with mergeAndRedraw, in rounds after it",
        },
        new(B, new() { Trains = false, Scope = Scope.Job })
        {
            Summary = "the heads of merged links", Shape = "[1, outputs, links r]", Side = Side.Out, Follows = LowRankFactors.B,
            ComesWith = "a lifecycle with mergeAndRedraw, in rounds after it",
        },
    ];

    /// <inheritdoc/>
    [JsonIgnore]
    public IReadOnlyList<TensorRole> Roles => Tensors;
}
