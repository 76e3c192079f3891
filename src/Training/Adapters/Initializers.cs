using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>
/// The laws by which tensors are drawn. Drawn in float64 and rounded once, so that the numbers do not depend on the CPU's vector width.
/// </summary>
internal static class Initializers
{
    /// <summary>The initial value of a tensor; each head of B comes from a seed of its own.</summary>
    public static NamedArray Draw(AdapterTensor tensor, ulong planSeed, string owner)
    {
        var init = tensor.Policy.Init;
        var result = new float[NamedArray.Count(tensor.Shape)];
        if (init.Law == InitLaw.Zero) return new NamedArray(tensor.Shape, result);
        var parts = tensor.Role.IsByHead ? (int)tensor.Shape[0] : 1;
        var length = result.Length / parts;
        for (var part = 0; part < parts; part++)
        {
            var purpose = tensor.Role.IsByHead ? $"init/{tensor.Name}/head{part}" : $"init/{tensor.Name}";
            Fill(init, tensor, Seed.For(planSeed, 0, owner, purpose), result.AsSpan(part * length, length));
        }

        return new NamedArray(tensor.Shape, result);
    }

    /// <summary>
    /// Standard deviation of <see cref="InitLaw.Stable"/>: d_out^(1/4) / sqrt(gamma fan), fan = d_in before the bottleneck and d_out after
    /// it.
    /// </summary>
    public static double StableDeviation(double gamma, AdapterTensor tensor) =>
        Math.Pow(tensor.Target.OutWidth, 0.25)
        / Math.Sqrt(gamma * (tensor.Role.Side == Side.Out ? tensor.Target.OutWidth : tensor.Target.InWidth));

    private static void Fill(Init init, AdapterTensor tensor, ulong seed, Span<float> result)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(seed, CPU);
        var draw = empty(result.Length, ScalarType.Float64, CPU);
        switch (init.Law)
        {
            case InitLaw.KaimingUniform:
                var bound = 1 / Math.Sqrt(tensor.Shape[^1]);
                draw.uniform_(-bound, bound, generator);
                break;
            case InitLaw.Constant:
                result.Fill((float)init.Value);
                return;
            case InitLaw.Gaussian:
                draw.normal_(0, init.Value, generator);
                break;
            case InitLaw.Stable:
                draw.normal_(0, StableDeviation(init.Value, tensor), generator);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(init), init.Law, "not a law that draws");
        }

        draw.to(ScalarType.Float32).data<float>().CopyTo(result);
    }
}
