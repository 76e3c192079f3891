using System.Numerics.Tensors;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>What the adaptive rules of Reddi et al. (ICLR 2021, arXiv 2003.00295, algorithm 2) have in common.</summary>
internal static class Adaptive
{
    /// <summary>v at the start: tau^2; Flower's is 0.</summary>
    public static double StartOf(ServerOptimizerSpec spec) => spec.Variant == ServerVariant.Flower ? 0 : TauOf(spec) * TauOf(spec);

    public static double TauOf(ServerOptimizerSpec spec) => spec.Tau ?? ServerOptimizerSpec.DefaultTau;

    /// <summary>x = x + eta m / (sqrt v + tau); overwrites <paramref name="spare"/>.</summary>
    public static void Move(Span<double> x, ReadOnlySpan<double> m, ReadOnlySpan<double> v, double rate, double tau, Span<double> spare)
    {
        TensorPrimitives.Sqrt(v, spare);
        TensorPrimitives.Add(spare, tau, spare);
        TensorPrimitives.Divide(m, spare, spare);
        TensorPrimitives.MultiplyAdd(spare, rate, x, x);
    }

    /// <summary>m = beta m + (1 - beta) D; overwrites <paramref name="spare"/>.</summary>
    public static void Average(Span<double> m, ReadOnlySpan<double> values, double beta, Span<double> spare)
    {
        TensorPrimitives.Multiply(values, 1 - beta, spare);
        TensorPrimitives.MultiplyAdd(m, beta, spare, m);
    }
}

/// <summary>FedAdagrad: v = v + D^2, x = x + eta D / (sqrt v + tau) (arXiv 2003.00295).</summary>
internal sealed class Adagrad(ServerOptimizerSpec spec) : RememberingOptimizer(spec, ("v", Adaptive.StartOf(spec)))
{
    private readonly double _tau = Adaptive.TauOf(spec);

    protected override void Step(Blocks block, int step)
    {
        var x = block[0];
        var aggregate = block[1];
        var v = block[2];
        var spare = block[3];
        TensorPrimitives.MultiplyAdd(aggregate, aggregate, v, v);
        Adaptive.Move(x, aggregate, v, Rate, _tau, spare);
    }
}

/// <summary>
/// FedAdam: m = b1 m + (1 - b1) D, v = b2 v + (1 - b2) D^2, x = x + eta m / (sqrt v + tau) (arXiv 2003.00295). In Flower's variant eta is
/// times sqrt(1 - b2^(t + 1)) / (1 - b1^(t + 1)) in step t, counted from 1.
/// </summary>
internal sealed class Adam(ServerOptimizerSpec spec) : RememberingOptimizer(spec, ("m", 0), ("v", Adaptive.StartOf(spec)))
{
    private readonly double _beta1 = spec.Beta1 ?? ServerOptimizerSpec.DefaultBeta1;
    private readonly double _beta2 = spec.Beta2 ?? ServerOptimizerSpec.DefaultBeta2;
    private readonly double _tau = Adaptive.TauOf(spec);

    protected override bool Counts { get; } = spec.Variant == ServerVariant.Flower;

    protected override void Step(Blocks block, int step)
    {
        var x = block[0];
        var aggregate = block[1];
        var m = block[2];
        var v = block[3];
        var spare = block[4];
        var correction = Counts ? Math.Sqrt(1 - Math.Pow(_beta2, step + 1)) / (1 - Math.Pow(_beta1, step + 1)) : 1;
        Adaptive.Average(m, aggregate, _beta1, spare);
        TensorPrimitives.Multiply(aggregate, aggregate, aggregate);
        Adaptive.Average(v, aggregate, _beta2, spare);
        Adaptive.Move(x, m, v, Rate * correction, _tau, spare);
    }
}

/// <summary>
/// FedYogi: m as in FedAdam, v = v - (1 - b2) D^2 sign(v - D^2), x = x + eta m / (sqrt v + tau) (arXiv 2003.00295).
/// </summary>
internal sealed class Yogi(ServerOptimizerSpec spec) : RememberingOptimizer(spec, ("m", 0), ("v", Adaptive.StartOf(spec)))
{
    private readonly double _beta1 = spec.Beta1 ?? ServerOptimizerSpec.DefaultBeta1;
    private readonly double _beta2 = spec.Beta2 ?? ServerOptimizerSpec.DefaultBeta2;
    private readonly double _tau = Adaptive.TauOf(spec);

    protected override void Step(Blocks block, int step)
    {
        var x = block[0];
        var aggregate = block[1];
        var m = block[2];
        var v = block[3];
        var spare = block[4];
        Adaptive.Average(m, aggregate, _beta1, spare);
        TensorPrimitives.Multiply(aggregate, aggregate, aggregate);
        for (var i = 0; i < v.Length; i++)
            v[i] -= (1 - _beta2) * aggregate[i] * Math.Sign(v[i] - aggregate[i]);
        Adaptive.Move(x, m, v, Rate, _tau, spare);
    }
}
