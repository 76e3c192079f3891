using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>The law that a tensor begins by.</summary>
public enum InitLaw
{
    /// <summary>All zero.</summary>
    Zero,

    /// <summary>Uniform on (-1/sqrt(d_in), +1/sqrt(d_in)): Kaiming with a = sqrt 5, PEFT's default for A.</summary>
    KaimingUniform,

    /// <summary>Normal with the given standard deviation.</summary>
    Gaussian,

    /// <summary>d_out^(1/4) / sqrt(gamma) times Normal(0, 1/fan), fan = d_in for A and d_out for B (R-LoRA, table 1).</summary>
    Stable,

    /// <summary>One number everywhere.</summary>
    Constant,

    /// <summary>1 on the diagonal, else 0; 1 everywhere for the diagonal of a core.</summary>
    Identity,

    /// <summary>
    /// One matrix for all layers, uniform on (-sqrt(6/width), +sqrt(6/width)) of its own width, of which each layer takes the first rows
    /// and columns (VeRA, arXiv 2310.11454).
    /// </summary>
    SharedKaimingUniform,

    /// <summary>
    /// The leading singular triples of the weight, W = U S V^T: A = sqrt(S/s) V^T, B = U sqrt(S/s) (PiSSA, arXiv 2404.02948).
    /// </summary>
    Pissa,

    /// <summary>The QR decomposition of the weight: B the first columns of Q, A the first rows of R (OLoRA, arXiv 2406.01775).</summary>
    Olora,

    /// <summary>The leading singular triples of the weight: A = S V^T, B = U (LoRA-XS, arXiv 2405.17604).</summary>
    Svd,

    /// <summary>
    /// The leading left singular vectors of related adapters' changes side by side, or of the weight (CoRA, arXiv 2409.02119); for B alone.
    /// </summary>
    Subspace,
}

/// <summary>An initialization: a law with its parameter.</summary>
/// <param name="Law">The law.</param>
/// <param name="Value">
/// Standard deviation for <see cref="InitLaw.Gaussian"/>, gamma for <see cref="InitLaw.Stable"/>, the number for
/// <see cref="InitLaw.Constant"/>, else unused.
/// </param>
public sealed record Init(InitLaw Law, double Value = 0)
{
    /// <summary>All zero.</summary>
    public static Init Zero { get; } = new(InitLaw.Zero);

    /// <summary>PEFT's default for A.</summary>
    public static Init KaimingUniform { get; } = new(InitLaw.KaimingUniform);

    /// <summary>1 on the diagonal.</summary>
    public static Init Identity { get; } = new(InitLaw.Identity);

    /// <summary>R-LoRA's random start.</summary>
    public static Init Stable(double gamma) => new(InitLaw.Stable, gamma);

    /// <summary>Normal(0, std^2).</summary>
    public static Init Gaussian(double std) => new(InitLaw.Gaussian, std);

    /// <summary>One number everywhere.</summary>
    public static Init Constant(double value) => new(InitLaw.Constant, value);

    /// <summary>
    /// Whether it is computed from the frozen weight: once, when a run begins, as a decomposition differs between machines.
    /// </summary>
    [JsonIgnore]
    public bool IsFromWeight => Law is InitLaw.Pissa or InitLaw.Olora or InitLaw.Svd or InitLaw.Subspace;

    /// <summary>Whether the law has a value.</summary>
    [JsonIgnore]
    public bool HasValue => Law is InitLaw.Gaussian or InitLaw.Stable or InitLaw.Constant;

    /// <summary>Whether all of it is zero.</summary>
    [JsonIgnore]
    public bool IsZero => Law == InitLaw.Zero || (Law == InitLaw.Constant && Value == 0);
}
