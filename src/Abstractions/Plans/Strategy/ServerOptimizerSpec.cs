namespace FedRLora.Abstractions.Plans;

/// <summary>
/// The coordinator's step on the aggregate update. A parameter that is null was not given, and the rule's default holds.
/// </summary>
public sealed record ServerOptimizerSpec
{
    /// <summary>
    /// Server learning rate of the adaptive rules by default. Their step is about the rate in each coordinate whatever the length of the
    /// aggregate, and entries of low-rank factors are of the order of 1e-2 to 1e-3: the rates of papers that train whole models, 1e-1 and
    /// 1e-2, are larger than what they move.
    /// </summary>
    public const double DefaultAdaptiveRate = 1e-3;

    /// <summary>What <c>momentum</c> keeps of its velocity by default.</summary>
    public const double DefaultMomentum = 0.9;

    /// <summary>What the mean of aggregates keeps by default.</summary>
    public const double DefaultBeta1 = 0.9;

    /// <summary>What the mean of squares keeps by default.</summary>
    public const double DefaultBeta2 = 0.99;

    /// <summary>The degree of adaptivity by default.</summary>
    public const double DefaultTau = 1e-3;

    /// <summary>Name of the rule in the strategy registry; one of <see cref="StrategyNames.ServerOptimizers"/>.</summary>
    public string Rule { get; init; } = "sgd";

    /// <summary>Server learning rate, eta; 1 for <c>sgd</c> and <c>momentum</c> where it is not given.</summary>
    public double? LearningRate { get; init; }

    /// <summary>What <c>momentum</c> keeps of its velocity from step to step, in [0, 1).</summary>
    public double? Momentum { get; init; }

    /// <summary>What the mean of aggregates keeps from step to step, in [0, 1).</summary>
    public double? Beta1 { get; init; }

    /// <summary>What the mean of their squares keeps from step to step, in [0, 1).</summary>
    public double? Beta2 { get; init; }

    /// <summary>Added to the root of the mean of squares, in units of the aggregate; its square is where that mean begins.</summary>
    public double? Tau { get; init; }

    /// <summary>Whose numbers a rule gives; those of Reddi et al. where it is not given.</summary>
    public ServerVariant? Variant { get; init; }

    /// <summary><see cref="LearningRate"/>, or the rule's default.</summary>
    public double Rate => LearningRate ?? (Rule is "sgd" or "momentum" ? 1 : DefaultAdaptiveRate);
}

/// <summary>Whose numbers a server optimizer gives.</summary>
public enum ServerVariant
{
    /// <summary>Reddi et al. (ICLR 2021, arXiv 2003.00295): squares begin at tau^2, and nothing is corrected for its start.</summary>
    Reddi,

    /// <summary>
    /// Flower's: squares begin at 0, and <c>adam</c> corrects its rate for the start as Adam does in its step after, in the first by the
    /// exponent 2.
    /// </summary>
    Flower,
}
