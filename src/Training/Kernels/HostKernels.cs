using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Kernels;

/// <summary>Chooses how wide the registers are, which changes no bit.</summary>
internal static class HostKernels
{
    /// <summary>Null where the processor has no fused multiply-add: what the kernels rest on would be a call for each number.</summary>
    public static IStepKernels? Best() =>
        Vector512.IsHardwareAccelerated ? new HostKernels<WideSixteen>() : Fma.IsSupported || AdvSimd.IsSupported ? new HostKernels<PairedSixteen>() : null;
}

/// <summary>
/// For float32 in the host's memory: each row goes through the processor's cache once; one library operation after the other would
/// carry it there and back for each.
/// </summary>
internal sealed unsafe class HostKernels<T> : IStepKernels
    where T : struct, ISixteen<T>
{
    private const int Width = 16;

    public HostAttention? Attention { get; } = new HostAttention<T>();

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void RmsNorm(Tensor x, Tensor factor, double epsilon, Tensor inverse, Tensor y)
    {
        var (rows, width) = (x.shape[0], x.shape[1]);
        float* from = Memory.Of(x), times = Memory.Of(factor), scale = Memory.Of(inverse), to = Memory.Of(y);
        for (var row = 0L; row < rows; row++, from += width, to += width)
        {
            var r = 1 / MathF.Sqrt(Rows<T>.Dot(from, from, width) / width + (float)epsilon);
            scale[row] = r;
            var all = T.Of(r);
            var i = 0L;
            for (; i <= width - Width; i += Width) T.Store(T.Load(from + i) * all * T.Load(times + i), to + i);
            for (; i < width; i++) to[i] = from[i] * r * times[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void RmsNormBackward(Tensor x, Tensor factor, Tensor inverse, Tensor gradient, Tensor? sum, Tensor result)
    {
        var (rows, width) = (x.shape[0], x.shape[1]);
        float* input = Memory.Of(x), times = Memory.Of(factor), scale = Memory.Of(inverse), given = Memory.Of(gradient), to = Memory.Of(result);
        var before = sum is null ? null : Memory.Of(sum);
        for (var row = 0L; row < rows; row++, input += width, given += width, to += width)
        {
            var r = scale[row];
            var mean = Rows<T>.Dot(input, given, times, width) * (r * r * r) / width;
            T all = T.Of(r), back = T.Of(-mean);
            var i = 0L;
            for (; i <= width - Width; i += Width)
            {
                var change = T.FusedMultiplyAdd(T.Load(input + i), back, T.Load(given + i) * T.Load(times + i) * all);
                T.Store(before is null ? change : T.Load(before + i) + change, to + i);
            }

            for (; i < width; i++)
            {
                var change = MathF.FusedMultiplyAdd(input[i], -mean, given[i] * times[i] * r);
                to[i] = before is null ? change : before[i] + change;
            }

            if (before is not null) before += width;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Gate(Tensor gate, Tensor up, Tensor y)
    {
        var count = gate.numel();
        float* g = Memory.Of(gate), u = Memory.Of(up), to = Memory.Of(y);
        var i = 0L;
        for (; i <= count - Width; i += Width)
        {
            var x = T.Load(g + i);
            T.Store(x * Rows<T>.Sigmoid(x) * T.Load(u + i), to + i);
        }

        if (i == count) return;
        var rest = Rows<T>.LoadPart(g + i, count - i, 0);
        Rows<T>.StorePart(rest * Rows<T>.Sigmoid(rest) * Rows<T>.LoadPart(u + i, count - i, 0), to + i, count - i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void GateBackward(Tensor gate, Tensor up, Tensor gradient, Tensor gateGradient, Tensor upGradient)
    {
        var count = gate.numel();
        float* g = Memory.Of(gate), u = Memory.Of(up), given = Memory.Of(gradient), toGate = Memory.Of(gateGradient), toUp = Memory.Of(upGradient);
        var i = 0L;
        for (; i <= count - Width; i += Width)
        {
            var (atGate, atUp) = GateSlopes(T.Load(g + i), T.Load(u + i), T.Load(given + i));
            T.Store(atGate, toGate + i);
            T.Store(atUp, toUp + i);
        }

        if (i == count) return;
        var (lastGate, lastUp) = GateSlopes(Rows<T>.LoadPart(g + i, count - i, 0), Rows<T>.LoadPart(u + i, count - i, 0), Rows<T>.LoadPart(given + i, count - i, 0));
        Rows<T>.StorePart(lastGate, toGate + i, count - i);
        Rows<T>.StorePart(lastUp, toUp + i, count - i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Turn(Tensor x, int heads, Tensor cos, Tensor sin, bool isBack)
    {
        const int Eight = 8;
        var (rows, half, headDim) = (x.shape[0], cos.shape[1], x.shape[1] / heads);
        float* at = Memory.Of(x), c = Memory.Of(cos), s = Memory.Of(sin);
        var sign = isBack ? -1f : 1f;
        for (var row = 0L; row < rows; row++, c += half, s += half)
        {
            for (var head = 0; head < heads; head++, at += headDim)
            {
                float* first = at, second = at + half;
                var i = 0L;
                for (; i <= half - Eight; i += Eight)
                {
                    Vector256<float> a = Vector256.Load(first + i), b = Vector256.Load(second + i), angle = Vector256.Load(c + i), other = Vector256.Load(s + i) * sign;
                    Vector256.FusedMultiplyAdd(-b, other, a * angle).Store(first + i);
                    Vector256.FusedMultiplyAdd(a, other, b * angle).Store(second + i);
                }

                for (; i < half; i++)
                {
                    var (a, b, other) = (first[i], second[i], s[i] * sign);
                    first[i] = MathF.FusedMultiplyAdd(-b, other, a * c[i]);
                    second[i] = MathF.FusedMultiplyAdd(a, other, b * c[i]);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void CrossEntropy(Tensor logits, Tensor targets, Tensor losses, Tensor factors)
    {
        var (rows, width) = (logits.shape[0], logits.shape[1]);
        float* row = Memory.Of(logits), loss = Memory.Of(losses), factor = Memory.Of(factors);
        var target = Memory.LongsOf(targets);
        for (var i = 0L; i < rows; i++, row += width)
        {
            var highest = Rows<T>.Highest(row, width);
            var distance = highest - row[target[i]];
            var sum = Rows<T>.ToExponentials(row, width, 1, highest);
            loss[i] = distance + MathF.Log(sum);
            row[target[i]] -= sum;
            factor[i] = 1 / sum;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void AdamW(Tensor value, Tensor gradient, Tensor mean, Tensor square, AdamWStep step)
    {
        var (members, width) = (value.shape[0], value.shape[1]);
        float* x = Memory.Of(value), g = Memory.Of(gradient), m = Memory.Of(mean), v = Memory.Of(square);
        var clipping = step.Clipping is null ? null : Memory.Of(step.Clipping);
        float beta1 = (float)step.Beta1, rest1 = (float)(1 - step.Beta1), beta2 = (float)step.Beta2, rest2 = (float)(1 - step.Beta2), epsilon = (float)step.Epsilon;
        for (var member = 0; member < members; member++, x += width, g += width, m += width, v += width)
        {
            float clip = clipping is null ? 1 : clipping[member], length = (float)step.Lengths[member], root = (float)step.Roots[member], kept = step.Kept is null ? 1 : (float)step.Kept[member];
            T clips = T.Of(clip), lengths = T.Of(length), roots = T.Of(root), keeps = T.Of(kept), epsilons = T.Of(epsilon);
            var i = 0L;
            for (; i <= width - Width; i += Width)
            {
                var slope = T.Load(g + i) * clips;
                if (clipping is not null) T.Store(slope, g + i);
                var first = T.FusedMultiplyAdd(slope, T.Of(rest1), T.Load(m + i) * T.Of(beta1));
                var second = T.FusedMultiplyAdd(slope * slope, T.Of(rest2), T.Load(v + i) * T.Of(beta2));
                T.Store(first, m + i);
                T.Store(second, v + i);
                T.Store(T.Load(x + i) * keeps + first * lengths / (T.Sqrt(second) / roots + epsilons), x + i);
            }

            for (; i < width; i++)
            {
                var slope = g[i] *= clip;
                m[i] = MathF.FusedMultiplyAdd(slope, rest1, m[i] * beta1);
                v[i] = MathF.FusedMultiplyAdd(slope * slope, rest2, v[i] * beta2);
                x[i] = x[i] * kept + m[i] * length / (MathF.Sqrt(v[i]) / root + epsilon);
            }
        }
    }

    // silu'(g) = p + silu(g) (1 - p), p = sigmoid(g)
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (T AtGate, T AtUp) GateSlopes(T gate, T up, T gradient)
    {
        var sigmoid = Rows<T>.Sigmoid(gate);
        var silu = gate * sigmoid;
        var slope = T.FusedMultiplyAdd(silu, T.Of(1) - sigmoid, sigmoid);
        return (slope * up * gradient, silu * gradient);
    }
}
