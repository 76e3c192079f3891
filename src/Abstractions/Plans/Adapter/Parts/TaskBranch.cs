using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// A second pair of factors beside the first, on the last blocks: MTLoRA's task-specific adapter (arXiv 2403.20320), whose output the
/// shared one is added to.
/// </summary>
/// <param name="Rank">Of the pair; 0 where there is none.</param>
/// <param name="Scale">What its product is multiplied with.</param>
/// <param name="Blocks">How many blocks have it, from the last; null for a quarter of them, at least one.</param>
public sealed record TaskBranch(int Rank, double Scale, int? Blocks = null) : IAdapterPart
{
    /// <summary>The pair's down-projection, <c>[r_t, D_in]</c>.</summary>
    public const string A = "taskA";

    /// <summary>The pair's head, <c>[1, D_out, r_t]</c>.</summary>
    public const string B = "taskB";

    private static readonly TensorRole[] Tensors =
    [
        new(A, new() { Init = Init.KaimingUniform, Seed = SeedPolicy.PerTask })
        {
            Summary = "the task pair's down-projection", Shape = "[task rank, inputs]", ComesWith = "taskBranch",
        },
        new(B, new())
        {
            Summary = "the task pair's head", Shape = "[1, outputs, task rank]", Side = Side.Out, ComesWith = "taskBranch",
        },
    ];

    /// <summary>There is none.</summary>
    public static TaskBranch None { get; } = new(0, 1);

    /// <summary>Whether there is one.</summary>
    [JsonIgnore]
    public bool Exists => Rank > 0;

    /// <inheritdoc/>
    [JsonIgnore]
    public IReadOnlyList<TensorRole> Roles => Exists ? Tensors : [];

    /// <inheritdoc/>
    public IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
    {
        if (!Exists) yield break;
        if (spec.Start == Start.Exact && !spec.Tensor(A).Init.IsZero && !spec.Tensor(B).Init.IsZero)
        {
            yield return new(
                "an exact start needs initTaskA or initTaskB zero, or the fresh adapter changes the model; give initTaskB: zero.",
                [.. AdapterChecks.PathsOf(B, "init"), .. AdapterChecks.PathsOf(A, "init"), "adapter.start"]);
        }

        if (spec.Start == Start.Anchored)
        {
            yield return new(
                "a task pair begins exactly, its head at zero; give start: exact, or leave taskBranch out.",
                "adapter.start", "adapter.taskBranch");
        }
    }
}
