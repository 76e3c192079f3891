using FedRLora.Training.Devices;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Kernels;

/// <summary>With libtorch's operations: any device and any type.</summary>
internal sealed class LibtorchKernels : IStepKernels
{
    private const long LogitsPerCacheful = 1 << 19;
    private const long ElementsPerCacheful = 1 << 15;

    public string Mark => "libtorch-steps-3";

    public HostAttention? Attention => null;

    public void RmsNorm(Tensor x, Tensor factor, double epsilon, Tensor inverse, Tensor y)
    {
        using var scope = NewDisposeScope();
        inverse.copy_(x.norm(1, keepdim: true, p: 2)).pow_(Living.Of(2)).div_(Living.Of(x.shape[1]))
            .add_(Living.Of(epsilon), Living.One).rsqrt_();
        y.copy_(x).mul_(inverse).mul_(factor);
    }

    public void RmsNormBackward(Tensor x, Tensor factor, Tensor inverse, Tensor gradient, Tensor? sum, Tensor result)
    {
        using var scope = NewDisposeScope();
        var inner = gradient * factor;
        var mean = (inner * x).sum([1], keepdim: true).mul_(inverse.pow(Living.Of(3))).div_(Living.Of(x.shape[1]));
        inner.mul_(inverse).addcmul_(x, mean, Living.Of(-1));
        if (sum is null) result.copy_(inner);
        else if (ReferenceEquals(sum, result)) result.add_(inner, Living.One);
        else result.copy_(sum).add_(inner, Living.One);
    }

    public void Gate(Tensor gate, Tensor up, Tensor y)
    {
        using var scope = NewDisposeScope();
        y.copy_(gate).silu_().mul_(up);
    }

    public void GateBackward(Tensor gate, Tensor up, Tensor gradient, Tensor gateGradient, Tensor upGradient)
    {
        // silu'(g) = p + silu(g) (1 - p), p = sigmoid(g)
        using var scope = NewDisposeScope();
        var sigmoid = gate.sigmoid();
        var silu = gate * sigmoid;
        gateGradient.copy_(sigmoid).neg_().add_(Living.One, Living.One).mul_(silu).add_(sigmoid, Living.One).mul_(up).mul_(gradient);
        upGradient.copy_(silu.mul_(gradient));
    }

    public void Turn(Tensor x, int heads, Tensor cos, Tensor sin, bool isBack)
    {
        using var scope = NewDisposeScope();
        var (split, half) = (x.view(x.shape[0], heads, -1), cos.shape[1]);
        var (first, second) = (split.narrow(2, 0, half), split.narrow(2, half, half));
        (cos, sin) = (cos.unsqueeze(1), sin.unsqueeze(1));
        var before = first.clone();
        first.mul_(cos).addcmul_(second, sin, Living.Of(isBack ? 1 : -1));
        second.mul_(cos).addcmul_(before, sin, Living.Of(isBack ? -1 : 1));
    }

    public void CrossEntropy(Tensor logits, Tensor targets, Tensor losses, Tensor factors)
    {
        // In place, some rows at a time: the library's softmax wants memory for its result, and so little of it stays in the cache.
        var step = logits.device_type == DeviceType.CPU ? Math.Max(1, LogitsPerCacheful / logits.shape[1]) : logits.shape[0];
        for (var first = 0L; first < logits.shape[0]; first += step)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(step, logits.shape[0] - first);
            var (part, target) = (logits.narrow(0, first, count), targets.narrow(0, first, count).unsqueeze(1));
            var distance = part.amax([1]) - part.gather(1, target).squeeze(1);
            part.copy_(part.softmax(1));
            losses.narrow(0, first, count).copy_(distance.sub_(part.amax([1]).log_()));
            part.scatter_(1, target, part.gather(1, target).sub_(Living.Of(1)));
        }

        factors.fill_(Living.Of(1));
    }

    public void AdamW(Tensor value, Tensor gradient, Tensor mean, Tensor square, AdamWStep step)
    {
        using var scope = NewDisposeScope();
        Tensor Each(double[] numbers) => value.device.To(tensor(numbers, value.dtype, CPU)).unsqueeze(1);
        var (lengths, roots, kept) = (Each(step.Lengths), Each(step.Roots), step.Kept is { } given ? Each(given) : null);
        // In columns that stay in the cache from the first operation to the last.
        var width = value.shape[1];
        var most = value.device_type == DeviceType.CPU ? Math.Max(1, ElementsPerCacheful / value.shape[0]) : width;
        for (var first = 0L; first < width; first += most)
        {
            using var part = NewDisposeScope();
            Tensor Columns(Tensor all) => all.narrow(1, first, Math.Min(most, width - first));
            var (g, m, v, x) = (Columns(gradient), Columns(mean), Columns(square), Columns(value));
            if (step.Clipping is not null) g.mul_(step.Clipping);
            m.mul_(Living.Of(step.Beta1)).add_(g, alpha: Living.Of(1 - step.Beta1));
            v.mul_(Living.Of(step.Beta2)).addcmul_(g, g, Living.Of(1 - step.Beta2));
            var denominator = v.sqrt().div_(roots).add_(Living.Of(step.Epsilon), Living.One);
            if (kept is not null) x.mul_(kept);
            x.add_(m.mul(lengths).div_(denominator), Living.One);
        }
    }
}
