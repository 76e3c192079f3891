using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>What each head is multiplied with.</summary>
public enum HeadScaleForm
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>A number for each head.</summary>
    Scalar,

    /// <summary>A number for each output of each head.</summary>
    PerOutput,
}

/// <summary>
/// Factors of heads: MultiLoRA's number for each output (arXiv 2311.11501), VeRA's b (arXiv 2310.11454), the scaling that each of
/// MeteoRA's adapters brings (arXiv 2405.13053).
/// </summary>
/// <param name="Form">For each head, or each output of each.</param>
public sealed record HeadScale(HeadScaleForm Form) : IAdapterPart
{
    /// <summary><c>[N]</c> or <c>[N, D_out]</c>.</summary>
    public const string Role = "headScale";

    private static readonly TensorRole[] Tensors =
    [
        new(Role, new())
        {
            Summary = "what heads are multiplied with", Shape = "[heads] or [heads, outputs]", Side = Side.Out, IsByHead = true,
            IsFactor = true, ComesWith = "headScale: scalar or perOutput",
        },
    ];

    /// <inheritdoc/>
    [JsonIgnore]
    public IReadOnlyList<TensorRole> Roles => Form == HeadScaleForm.None ? [] : Tensors;
}
