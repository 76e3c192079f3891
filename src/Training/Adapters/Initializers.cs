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
    /// <param name="tensor">The tensor.</param>
    /// <param name="planSeed">The plan's seed.</param>
    /// <param name="owner">Who shares the draw.</param>
    /// <param name="whole">The smallest shape that holds the tensor of every layer; of it one draw may serve all of them.</param>
    /// <param name="link">Of a chain, how many links were merged before.</param>
    public static NamedArray Draw(AdapterTensor tensor, ulong planSeed, string owner, IReadOnlyList<long> whole, int link = 0)
    {
        var init = tensor.Policy.Init;
        var result = new float[NamedArray.Count(tensor.Shape)];
        if (init.IsZero) return new NamedArray(tensor.Shape, result);
        var isShared = init.Law == InitLaw.SharedKaimingUniform;
        var parts = tensor.Role.IsByHead ? (int)tensor.Shape[0] : 1;
        var (length, skipped) = (result.Length / parts, tensor.Role.IsByHead ? 1 : 0);
        for (var part = 0; part < parts; part++)
        {
            var of = isShared ? $"shared/{tensor.Role.Name}" : tensor.Name;
            var purpose = (tensor.Role.IsByHead ? $"init/{of}/head{part}" : $"init/{of}") + (link > 0 ? $"/link{link}" : "");
            var seed = Seed.For(planSeed, 0, owner, purpose);
            var values = result.AsSpan(part * length, length);
            if (isShared) FillShared(seed, [.. tensor.Shape.Skip(skipped)], [.. whole.Skip(skipped)], values);
            else if (init.Law == InitLaw.Constant) values.Fill((float)init.Value);
            else if (init.Law == InitLaw.Identity) FillIdentity(tensor.Shape.Count - skipped, (int)tensor.Shape[^1], values);
            else Fill(init, tensor, seed, values);
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

    /// <summary>
    /// Half the width of <see cref="InitLaw.SharedKaimingUniform"/>: sqrt(6 / width) of the whole matrix, Kaiming with gain sqrt 2.
    /// </summary>
    public static double SharedBound(IReadOnlyList<long> whole) => Math.Sqrt(6.0 / whole[^1]);

    // The first rows and columns of one matrix.
    private static void FillShared(ulong seed, long[] shape, long[] whole, Span<float> result)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(seed, CPU);
        var bound = SharedBound(whole);
        var draw = empty(whole, ScalarType.Float64, CPU).uniform_(-bound, bound, generator);
        for (var dimension = 0; dimension < shape.Length; dimension++) draw = draw.narrow(dimension, 0, shape[dimension]);
        draw.to(ScalarType.Float32).contiguous().data<float>().CopyTo(result);
    }

    // A diagonal alone is all ones.
    private static void FillIdentity(int dimensions, int columns, Span<float> result)
    {
        if (dimensions == 1) result.Fill(1);
        else
            for (var at = 0; at < result.Length && at / columns < columns; at += columns + 1) result[at] = 1;
    }

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
