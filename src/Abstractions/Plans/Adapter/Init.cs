namespace FedRLora.Abstractions.Plans;

/// <summary>The law a tensor is drawn from.</summary>
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
}

/// <summary>An initialization: a law with its parameter.</summary>
/// <param name="Law">The law.</param>
/// <param name="Value">Standard deviation for <see cref="InitLaw.Gaussian"/>, gamma for <see cref="InitLaw.Stable"/>, else unused.</param>
public sealed record Init(InitLaw Law, double Value = 0)
{
    /// <summary>All zero.</summary>
    public static Init Zero { get; } = new(InitLaw.Zero);

    /// <summary>PEFT's default for A.</summary>
    public static Init KaimingUniform { get; } = new(InitLaw.KaimingUniform);

    /// <summary>R-LoRA's random start.</summary>
    public static Init Stable(double gamma) => new(InitLaw.Stable, gamma);

    /// <summary>Normal(0, std^2).</summary>
    public static Init Gaussian(double std) => new(InitLaw.Gaussian, std);
}
