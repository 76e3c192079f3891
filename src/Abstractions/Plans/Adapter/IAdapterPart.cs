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

/// <summary>The two factors of every low rank: A before the bottleneck, the heads B after it.</summary>
public sealed record LowRankFactors : IAdapterPart
{
    /// <summary>The down-projection, <c>[R, D_in]</c>.</summary>
    public const string A = "A";

    /// <summary>The heads, <c>[N, D_out, R]</c>.</summary>
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

/// <summary>
/// DoRA (arXiv 2402.09353): each output row of the weight is brought to unit norm and multiplied by a trained magnitude. The norm
/// carries no gradient, and what dropout hides is hidden from the low rank alone.
/// </summary>
public sealed record Decomposition : IAdapterPart
{
    /// <summary>The norm of each output row, <c>[D_out]</c>; it begins as that of the frozen weight.</summary>
    public const string Magnitude = "magnitude";

    private static readonly TensorRole[] Tensors =
    [
        new(Magnitude, new())
        {
            Summary = "the norms of the weight's output rows", Shape = "[outputs]", Side = Side.Out, IsDrawn = false,
            ComesWith = "decomposed: true",
        },
    ];

    /// <inheritdoc/>
    public IReadOnlyList<TensorRole> Roles => Tensors;

    /// <inheritdoc/>
    public string? KeepsOffEmbeddings => "a decomposed weight";

    /// <inheritdoc/>
    public IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
    {
        if (!spec.IsStatic)
        {
            yield return new(
                "a decomposed weight has one norm for all inputs, a router has none; give routing: mean, or decomposed: false.",
                "adapter.decomposed", "adapter.routing");
        }

        if (spec.Tensor(Magnitude).Scope == Scope.Seed)
        {
            yield return new(
                "scope seed redraws the magnitudes, which come from the weight and not from a seed; "
                + $"give scopeMagnitude: {(spec.Tensor(Magnitude).Trains ? "job, task or client" : "client")}.",
                [.. AdapterChecks.PathsOf(Magnitude, "scope"), "adapter.decomposed"]);
        }
    }
}
