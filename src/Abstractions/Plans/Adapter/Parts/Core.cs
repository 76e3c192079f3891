using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>The form of a core between the factors.</summary>
public enum CoreForm
{
    /// <summary>There is none.</summary>
    None,

    /// <summary>A number for each row of A.</summary>
    Diagonal,

    /// <summary>A matrix.</summary>
    Full,
}

/// <summary>
/// A core between the factors, B Lambda A: MTL-LoRA's task matrix (arXiv 2410.09437), VeRA's diagonal (arXiv 2310.11454), LoRA-XS's square
/// (arXiv 2405.17604), MALoRA's private turn of a shared subspace (arXiv 2410.22782).
/// </summary>
/// <param name="Form">Its form.</param>
/// <param name="PerHead">Each head has its own; else one serves all.</param>
/// <param name="Rank">K, its rows and the columns of B, of a full one; null for the rank of A.</param>
public sealed record Core(CoreForm Form, bool PerHead = false, int? Rank = null) : IAdapterPart
{
    /// <summary><c>[1 or N, R]</c> of a diagonal, <c>[1 or N, K, R]</c> of a full one.</summary>
    public const string Role = "core";

    private static readonly TensorRole[] Tensors =
    [
        new(Role, new() { Init = Init.Identity })
        {
            Summary = "the core between A and the heads", Shape = "[1 or heads, r] or [1 or heads, k, r]", IsByHead = true, IsFactor = true,
            ComesWith = "core: diagonal or full",
        },
    ];

    /// <summary>There is none.</summary>
    public static Core None { get; } = new(CoreForm.None);

    /// <inheritdoc/>
    [JsonIgnore]
    public IReadOnlyList<TensorRole> Roles => Form == CoreForm.None ? [] : Tensors;

    /// <inheritdoc/>
    public IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
    {
        if (Rank is not null && Form != CoreForm.Full)
        {
            yield return new(
                "only a full core has a rank of its own; give core: {form: full, rank: ..}, or leave the rank out.",
                "adapter.core.rank", "adapter.core.form");
        }

        if (PerHead && Form == CoreForm.None)
        {
            yield return new(
                "there is no core, so no head has its own; give core: {form: full, perHead: true}, or leave perHead out.",
                "adapter.core.perHead", "adapter.core.form");
        }
    }
}
