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
        Vector512.IsHardwareAccelerated ? new HostKernels<WideSixteen>()
        : Fma.IsSupported || AdvSimd.IsSupported ? new HostKernels<PairedSixteen>()
        : null;
}

/// <summary>
/// For float32 in the host's memory: each row goes through the processor's cache once; one library operation after the other would
/// carry it there and back for each.
/// </summary>
internal sealed unsafe class HostKernels<T> : IStepKernels
    where T : struct, ISixteen<T>
{
    private const int Width = 16;
    private const long Columns = 1 << 14;

    public string Mark => "steps-3";

    public HostAttention? Attention { get; } = new HostAttention<T>();

    public void RmsNorm(Tensor x, Tensor factor, double epsilon, Tensor inverse, Tensor y)
    {
        var width = x.shape[1];
        float* from = Memory.Of(x), times = Memory.Of(factor), scales = Memory.Of(inverse), to = Memory.Of(y);
        Shares.Do(x.shape[0], x.numel(), (first, end, _) =>
            Norms(from + first * width, times, (float)epsilon, scales + first, to + first * width, end - first, width));
    }

    public void RmsNormBackward(Tensor x, Tensor factor, Tensor inverse, Tensor gradient, Tensor? sum, Tensor result)
    {
        var width = x.shape[1];
        float* from = Memory.Of(x), times = Memory.Of(factor), scales = Memory.Of(inverse);
        float* given = Memory.Of(gradient), to = Memory.Of(result);
        var before = sum is null ? null : Memory.Of(sum);
        Shares.Do(x.shape[0], x.numel(), (first, end, _) =>
        {
            var start = first * width;
            var sums = before is null ? null : before + start;
            NormSlopes(from + start, times, scales + first, given + start, sums, to + start, end - first, width);
        });
    }

    public void Gate(Tensor gate, Tensor up, Tensor y)
    {
        var width = gate.shape[1];
        float* g = Memory.Of(gate), u = Memory.Of(up), to = Memory.Of(y);
        Shares.Do(gate.shape[0], gate.numel(), (first, end, _) =>
            Gates(g + first * width, u + first * width, to + first * width, (end - first) * width));
    }

    public void GateBackward(Tensor gate, Tensor up, Tensor gradient, Tensor gateGradient, Tensor upGradient)
    {
        var width = gate.shape[1];
        float* g = Memory.Of(gate), u = Memory.Of(up), given = Memory.Of(gradient);
        float* toGate = Memory.Of(gateGradient), toUp = Memory.Of(upGradient);
        Shares.Do(gate.shape[0], gate.numel(), (first, end, _) =>
        {
            var start = first * width;
            GateSlopes(g + start, u + start, given + start, toGate + start, toUp + start, (end - first) * width);
        });
    }

    public void Turn(Tensor x, int heads, Tensor cos, Tensor sin, bool isBack)
    {
        var (width, half, sign) = (x.shape[1], cos.shape[1], isBack ? -1f : 1f);
        float* at = Memory.Of(x), c = Memory.Of(cos), s = Memory.Of(sin);
        Shares.Do(x.shape[0], x.numel(), (first, end, _) =>
            Turns(at + first * width, heads, width / heads, c + first * half, s + first * half, half, sign, end - first));
    }

    public void CrossEntropy(Tensor logits, Tensor targets, Tensor losses, Tensor factors)
    {
        var width = logits.shape[1];
        float* row = Memory.Of(logits), loss = Memory.Of(losses), factor = Memory.Of(factors);
        var target = Memory.LongsOf(targets);
        Shares.Do(logits.shape[0], logits.numel(), (first, end, _) =>
            CrossEntropies(row + first * width, target + first, loss + first, factor + first, end - first, width));
    }

    public void AdamW(Tensor value, Tensor gradient, Tensor mean, Tensor square, AdamWStep step)
    {
        var width = value.shape[1];
        var pieces = (width + Columns - 1) / Columns;
        float* x = Memory.Of(value), g = Memory.Of(gradient), m = Memory.Of(mean), v = Memory.Of(square);
        var clipping = step.Clipping is null ? null : Memory.Of(step.Clipping);
        Shares.Do(value.shape[0] * pieces, value.numel(), (first, end, _) =>
        {
            for (var piece = first; piece < end; piece++)
            {
                var (member, column) = ((int)(piece / pieces), piece % pieces * Columns);
                var (start, count) = (member * width + column, Math.Min(Columns, width - column));
                Steps(x + start, g + start, m + start, v + start, count, step, member, clipping is null ? null : clipping + member);
            }
        });
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Norms(float* from, float* times, float epsilon, float* scales, float* to, long rows, long width)
    {
        for (var row = 0L; row < rows; row++, from += width, to += width)
        {
            var r = 1 / MathF.Sqrt(Rows<T>.Dot(from, from, width) / width + epsilon);
            scales[row] = r;
            var all = T.Of(r);
            var i = 0L;
            for (; i <= width - Width; i += Width) T.Store(T.Load(from + i) * all * T.Load(times + i), to + i);
            for (; i < width; i++) to[i] = from[i] * r * times[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void NormSlopes(float* from, float* times, float* scales, float* given, float* before, float* to, long rows, long width)
    {
        for (var row = 0L; row < rows; row++, from += width, given += width, to += width)
        {
            var r = scales[row];
            var mean = Rows<T>.Dot(from, given, times, width) * (r * r * r) / width;
            T all = T.Of(r), back = T.Of(-mean);
            var i = 0L;
            for (; i <= width - Width; i += Width)
            {
                var change = T.FusedMultiplyAdd(T.Load(from + i), back, T.Load(given + i) * T.Load(times + i) * all);
                T.Store(before is null ? change : T.Load(before + i) + change, to + i);
            }

            for (; i < width; i++)
            {
                var change = MathF.FusedMultiplyAdd(from[i], -mean, given[i] * times[i] * r);
                to[i] = before is null ? change : before[i] + change;
            }

            if (before is not null) before += width;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Gates(float* gate, float* up, float* to, long count)
    {
        var i = 0L;
        for (; i <= count - Width; i += Width)
        {
            var x = T.Load(gate + i);
            T.Store(x * Rows<T>.Sigmoid(x) * T.Load(up + i), to + i);
        }

        if (i == count) return;
        var last = Rows<T>.LoadPart(gate + i, count - i, 0);
        Rows<T>.StorePart(last * Rows<T>.Sigmoid(last) * Rows<T>.LoadPart(up + i, count - i, 0), to + i, count - i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GateSlopes(float* gate, float* up, float* given, float* toGate, float* toUp, long count)
    {
        var i = 0L;
        for (; i <= count - Width; i += Width)
        {
            var (atGate, atUp) = GateSlopes(T.Load(gate + i), T.Load(up + i), T.Load(given + i));
            T.Store(atGate, toGate + i);
            T.Store(atUp, toUp + i);
        }

        if (i == count) return;
        var (lastGate, lastUp) = GateSlopes(Last(gate), Last(up), Last(given));
        Rows<T>.StorePart(lastGate, toGate + i, count - i);
        Rows<T>.StorePart(lastUp, toUp + i, count - i);

        T Last(float* from) => Rows<T>.LoadPart(from + i, count - i, 0);
    }

    // Halves of an attention head are seldom a multiple of sixteen wide.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Turns(float* at, int heads, long headDim, float* cos, float* sin, long half, float sign, long rows)
    {
        const int Eight = 8;
        for (var row = 0L; row < rows; row++, cos += half, sin += half)
        {
            for (var head = 0; head < heads; head++, at += headDim)
            {
                float* first = at, second = at + half;
                var i = 0L;
                for (; i <= half - Eight; i += Eight)
                {
                    Vector256<float> a = Vector256.Load(first + i), b = Vector256.Load(second + i);
                    Vector256<float> c = Vector256.Load(cos + i), s = Vector256.Load(sin + i) * sign;
                    Vector256.FusedMultiplyAdd(-b, s, a * c).Store(first + i);
                    Vector256.FusedMultiplyAdd(a, s, b * c).Store(second + i);
                }

                for (; i < half; i++)
                {
                    var (a, b, s) = (first[i], second[i], sin[i] * sign);
                    first[i] = MathF.FusedMultiplyAdd(-b, s, a * cos[i]);
                    second[i] = MathF.FusedMultiplyAdd(a, s, b * cos[i]);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CrossEntropies(float* row, long* targets, float* losses, float* factors, long rows, long width)
    {
        for (var i = 0L; i < rows; i++, row += width)
        {
            var highest = Rows<T>.Highest(row, width);
            var distance = highest - row[targets[i]];
            var sum = Rows<T>.ToExponentials(row, width, 1, highest);
            losses[i] = distance + MathF.Log(sum);
            row[targets[i]] -= sum;
            factors[i] = 1 / sum;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Steps(float* x, float* g, float* m, float* v, long count, AdamWStep step, int member, float* clipping)
    {
        float beta1 = (float)step.Beta1, rest1 = (float)(1 - step.Beta1), beta2 = (float)step.Beta2, rest2 = (float)(1 - step.Beta2);
        float clip = clipping is null ? 1 : *clipping, kept = step.Kept is null ? 1 : (float)step.Kept[member];
        float length = (float)step.Lengths[member], root = (float)step.Roots[member], epsilon = (float)step.Epsilon;
        T clips = T.Of(clip), lengths = T.Of(length), roots = T.Of(root), keeps = T.Of(kept), epsilons = T.Of(epsilon);
        var i = 0L;
        for (; i <= count - Width; i += Width)
        {
            var slope = T.Load(g + i) * clips;
            if (clipping is not null) T.Store(slope, g + i);
            var mean = T.FusedMultiplyAdd(slope, T.Of(rest1), T.Load(m + i) * T.Of(beta1));
            var square = T.FusedMultiplyAdd(slope * slope, T.Of(rest2), T.Load(v + i) * T.Of(beta2));
            T.Store(mean, m + i);
            T.Store(square, v + i);
            T.Store(T.Load(x + i) * keeps + mean * lengths / (T.Sqrt(square) / roots + epsilons), x + i);
        }

        for (; i < count; i++)
        {
            var slope = g[i] *= clip;
            m[i] = MathF.FusedMultiplyAdd(slope, rest1, m[i] * beta1);
            v[i] = MathF.FusedMultiplyAdd(slope * slope, rest2, v[i] * beta2);
            x[i] = x[i] * kept + m[i] * length / (MathF.Sqrt(v[i]) / root + epsilon);
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
