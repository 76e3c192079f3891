namespace FedRLora.Abstractions.Plans;

/// <summary>How many down-projections a layer has.</summary>
public enum Downs
{
    /// <summary>One for all heads.</summary>
    One,

    /// <summary>One for each head, below each other in A.</summary>
    PerHead,
}

/// <summary>The two factors of every low rank: A before the bottleneck, the heads B after it.</summary>
public sealed record LowRankFactors : IAdapterPart
{
    /// <summary>The down-projection, <c>[R, D_in]</c>, or <c>[N R, D_in]</c> where each head has its own.</summary>
    public const string A = "A";

    /// <summary>The heads, <c>[N, D_out, R]</c>, or <c>[N, D_out, K]</c> behind a core of K rows.</summary>
    public const string B = "B";

    private static readonly TensorRole[] Tensors =
    [
        new(A, new() { Init = Init.KaimingUniform, Scope = Scope.Job })
        {
            Summary = "the down-projection", Shape = "[r, inputs]", IsFactor = true,
        },
        new(B, new()) { Summary = "the heads", Shape = "[heads, outputs, r]", Side = Side.Out, IsByHead = true, IsFactor = true },
    ];

    /// <inheritdoc/>
    public IReadOnlyList<TensorRole> Roles => Tensors;
}
