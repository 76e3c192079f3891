namespace FedRLora.Abstractions.Plans;

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
