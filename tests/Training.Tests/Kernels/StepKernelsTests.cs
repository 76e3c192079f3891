using FedRLora.Training.Kernels;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Kernels;

/// <summary>Every kernel beside libtorch's autograd over the plain operations in float64.</summary>
public sealed class StepKernelsTests : IDisposable
{
    private const string Libtorch = "libtorch";
    private const string Wide = "wide registers";
    private const string Paired = "pairs of registers";
    private static readonly (int Rows, int Width)[] Sizes =
        [(1, 1), (3, 1), (1, 16), (5, 17), (2, 15), (7, 64), (1, 100), (4, 288), (3, 771)];

    private static readonly Dictionary<string, IStepKernels> Kernels = new()
    {
        [Libtorch] = new LibtorchKernels(), [Wide] = new HostKernels<WideSixteen>(), [Paired] = new HostKernels<PairedSixteen>(),
    };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(7, CPU);

    public static TheoryData<string> Names => [.. Kernels.Keys];

    public void Dispose()
    {
        _generator.Dispose();
        _scope.Dispose();
    }

    [Theory, MemberData(nameof(Names))]
    public void The_root_mean_square_norm(string name)
    {
        foreach (var (rows, width) in Sizes)
        {
            Tensor x = Drawn(rows, width), factor = Drawn(width), gradient = Drawn(rows, width), before = Drawn(rows, width);
            var leaf = Leaf(x);
            var expected = Blocks.RmsNorm(leaf, factor.to(ScalarType.Float64), 1e-5);
            expected.backward([gradient.to(ScalarType.Float64)]);

            Tensor inverse = empty(rows, 1), y = empty_like(x), first = empty_like(x), added = empty_like(x), inPlace = before.clone();
            Kernels[name].RmsNorm(x, factor, 1e-5, inverse, y);
            Kernels[name].RmsNormBackward(x, factor, inverse, gradient, null, first);
            Kernels[name].RmsNormBackward(x, factor, inverse, gradient, before, added);
            Kernels[name].RmsNormBackward(x, factor, inverse, gradient, inPlace, inPlace);

            Near(expected, y);
            Near(leaf.grad!, first, slack: width == 1 ? 1 : 0); // of one number the norm is its sign, and the gradient nearly nothing
            Near(before.to(ScalarType.Float64).Plus(leaf.grad!), added, slack: 1);
            Assert.Equal(Bits(added), Bits(inPlace));
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void The_gate_of_an_MLP(string name)
    {
        foreach (var (rows, width) in Sizes)
        {
            Tensor gate = Drawn(rows, width) * Living.Of(20), up = Drawn(rows, width), gradient = Drawn(rows, width);
            Tensor gateLeaf = Leaf(gate), upLeaf = Leaf(up);
            var expected = nn.functional.silu(gateLeaf) * upLeaf;
            expected.backward([gradient.to(ScalarType.Float64)]);

            Tensor y = empty_like(gate), atGate = empty_like(gate), atUp = empty_like(gate);
            Kernels[name].Gate(gate, up, y);
            Kernels[name].GateBackward(gate, up, gradient, atGate, atUp);

            Near(expected, y);
            Near(gateLeaf.grad!, atGate);
            Near(upLeaf.grad!, atUp);
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Rotary_positions_there_and_back(string name)
    {
        (int, int, int, int)[] shapes = [(1, 1, 2, 1), (3, 2, 48, 24), (5, 3, 20, 9), (2, 1, 64, 32), (4, 2, 24, 4)];
        foreach (var (rows, heads, headDim, half) in shapes)
        {
            Tensor x = Drawn(rows, heads * headDim), angles = Drawn(rows, half);
            var (cos, sin) = (angles.cos(), angles.sin());
            var expected = Blocks.Rotate(x.view(rows, heads, headDim).transpose(0, 1), (cat([cos, cos], 1), cat([sin, sin], 1)));

            var turned = x.clone();
            Kernels[name].Turn(turned, heads, cos, sin, isBack: false);
            Near(expected.transpose(0, 1).reshape(rows, -1), turned);
            Kernels[name].Turn(turned, heads, cos, sin, isBack: true);
            Near(x, turned);
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Cross_entropy_and_its_gradient(string name)
    {
        foreach (var (rows, width) in Sizes)
        {
            Tensor logits = Drawn(rows, width) * Living.Of(8), targets = randint(width, [rows], ScalarType.Int64, generator: _generator);
            var leaf = Leaf(logits);
            var expected = nn.functional.cross_entropy(leaf, targets, reduction: nn.Reduction.None);
            expected.sum().backward();

            Tensor losses = empty(rows), factors = empty(rows), slopes = logits.clone();
            Kernels[name].CrossEntropy(slopes, targets, losses, factors);

            Near(expected, losses, slack: 1);
            Near(leaf.grad!, slopes * factors.unsqueeze(1), slack: 1);
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void A_loss_is_finite_even_where_the_probability_of_the_target_is_no_float(string name)
    {
        Tensor logits = tensor([0f, -200f, 5f], [1, 3]), losses = empty(1), factors = empty(1);
        Kernels[name].CrossEntropy(logits, tensor([1L]), losses, factors);
        Close.AssertRelative(205 + Math.Log(1 + Math.Exp(-5)), losses[0].item<float>(), "loss");
    }

    [Theory, MemberData(nameof(Names))]
    public void AdamW_clips_decays_and_steps_each_member(string name)
    {
        foreach (var (members, width) in Sizes)
        {
            foreach (var isPlain in (bool[])[true, false])
            {
                Tensor value = Drawn(members, width), gradient = Drawn(members, width), mean = Drawn(members, width);
                var square = Drawn(members, width).Squared();
                double[] Each(double from) => [.. Enumerable.Range(0, members).Select(member => from / (member + 2))];
                var (kept, clipping) = isPlain ? (null, null) : (Each(1.9), Drawn(members, 1).abs());
                var step = new AdamWStep(0.9, 0.999, 1e-8, Each(-0.1), Each(0.3), kept, clipping);
                Tensor Double(Tensor x) => x.to(ScalarType.Float64);
                Tensor Column(double[] numbers) => tensor(numbers, ScalarType.Float64).unsqueeze(1);
                var slope = clipping is null ? Double(gradient) : Double(gradient) * Double(clipping);
                var first = (Double(mean) * Living.Of(0.9)).Plus(slope * Living.Of(0.1));
                var second = (Double(square) * Living.Of(0.999)).Plus(slope.Squared() * Living.Of(0.001));
                var left = kept is null ? Double(value) : Double(value) * Column(kept);
                var expected = left.Plus(first * Column(step.Lengths) / (second.sqrt() / Column(step.Roots)).Plus(Living.Of(1e-8)));

                Kernels[name].AdamW(value, gradient, mean, square, step);

                Near(expected, value, slack: 1);
                Near(slope, gradient);
                Near(first, mean, slack: 1);
                Near(second, square, slack: 1);
            }
        }
    }

    [Theory]
    [InlineData(1, 1, 1, 1, 1, null)]
    [InlineData(2, 5, 2, 2, 3, null)]
    [InlineData(1, 16, 1, 1, 16, null)]
    [InlineData(3, 33, 4, 2, 8, null)]
    [InlineData(2, 130, 3, 1, 20, null)]
    [InlineData(1, 67, 2, 2, 48, 5)]
    [InlineData(2, 140, 4, 2, 17, 64)]
    [InlineData(1, 20, 1, 1, 4, 1)]
    [InlineData(1, 9, 2, 1, 4, 9)]
    public void Attention_of_any_length_width_grouping_and_window(
        int sequences, int length, int heads, int keyHeads, int headDim, int? window)
    {
        foreach (var attention in Kernels.Values.Select(static kernels => kernels.Attention).OfType<HostAttention>())
        {
            Tensor query = Drawn(sequences * length, heads * headDim), gradient = Drawn(sequences * length, heads * headDim);
            Tensor key = Drawn(sequences * length, keyHeads * headDim), value = Drawn(sequences * length, keyHeads * headDim);
            var (leaves, expected) = Plain(query, key, value, gradient, sequences, length, heads, keyHeads, window);

            var shape = new AttentionShape(sequences, length, heads, keyHeads, headDim, window);
            var (mixed, slopes) = Ours(attention, query, key, value, gradient, shape);

            Near(expected, mixed, slack: 1);
            foreach (var (leaf, slope) in leaves.Zip(slopes)) Near(leaf.grad!, slope, slack: 1);
        }
    }

    [Theory]
    [InlineData(1024, 128, true)]
    [InlineData(1025, 128, false)]
    [InlineData(2048, 64, true)]
    public void Attention_over_more_keys_than_the_cache_holds_is_the_library_s(int length, int headDim, bool fits) =>
        Assert.Equal(fits, new AttentionShape(1, length, 8, 8, headDim, null).FitsCache);

    [Fact]
    public void The_width_of_registers_and_the_number_of_threads_change_no_bit()
    {
        const int Rows = 70;
        const int Width = 1003;
        Tensor x = Drawn(Rows, Width), up = Drawn(Rows, Width), gradient = Drawn(Rows, Width);
        Tensor factor = Drawn(Width), angles = Drawn(Rows, Width / 2);
        var targets = randint(Width, [Rows], ScalarType.Int64, generator: _generator);
        Tensor query = Drawn(2 * 70, 4 * 40), key = Drawn(2 * 70, 2 * 40), value = Drawn(2 * 70, 2 * 40), atMixed = Drawn(2 * 70, 4 * 40);
        double[] Each(double number) => [.. Enumerable.Repeat(number, Rows)];
        var step = new AdamWStep(0.9, 0.999, 1e-8, Each(-0.1), Each(0.3), Each(0.9), Drawn(Rows, 1).abs());

        int[][] All(string name, int threads)
        {
            set_num_threads(threads);
            var kernels = Kernels[name];
            Tensor inverse = empty(Rows, 1), normed = empty_like(x), atNorm = empty_like(x);
            Tensor gated = empty_like(x), atGate = empty_like(x), atUp = empty_like(x);
            kernels.RmsNorm(x, factor, 1e-5, inverse, normed);
            kernels.RmsNormBackward(x, factor, inverse, gradient, up, atNorm);
            kernels.Gate(x, up, gated);
            kernels.GateBackward(x, up, gradient, atGate, atUp);
            Tensor turned = x.clone(), logits = x.clone(), losses = empty(Rows), factors = empty(Rows);
            kernels.Turn(turned, 1, angles.cos(), angles.sin(), isBack: true);
            kernels.CrossEntropy(logits, targets, losses, factors);
            Tensor stepped = x.clone(), slope = gradient.clone(), mean = up.clone(), square = up.Squared();
            kernels.AdamW(stepped, slope, mean, square, step);
            var (mixed, slopes) = Ours(kernels.Attention!, query, key, value, atMixed, new(2, 70, 4, 2, 40, null));
            Tensor[] results =
            [
                inverse, normed, atNorm, gated, atGate, atUp, turned, logits, losses, factors, stepped, slope, mean, square,
            ];
            return [.. results.Append(mixed).Concat(slopes).Select(Bits)];
        }

        var threads = get_num_threads();
        try
        {
            var expected = All(Wide, 1);
            foreach (var (name, count) in ((string, int)[])[(Wide, 3), (Paired, 1), (Paired, 2)]) Assert.Equal(expected, All(name, count));
        }
        finally
        {
            set_num_threads(threads);
        }
    }

    [Fact]
    public void A_row_has_the_bits_that_it_has_alone()
    {
        const int Width = 1003;
        Tensor x = Drawn(6, Width), up = Drawn(6, Width), factor = Drawn(Width);
        var targets = randint(Width, [6], ScalarType.Int64, generator: _generator);
        foreach (var kernels in Kernels.Values.Where(static kernels => kernels.Attention is not null))
        {
            (Tensor Normed, Tensor Gated, Tensor Slopes) Of(long first, long count)
            {
                Tensor part = x.narrow(0, first, count).clone(), normed = empty_like(part), gated = empty_like(part);
                kernels.RmsNorm(part, factor, 1e-5, empty(count, 1), normed);
                kernels.Gate(part, up.narrow(0, first, count), gated);
                kernels.CrossEntropy(part, targets.narrow(0, first, count), empty(count), empty(count));
                return (normed, gated, part);
            }

            var (all, alone) = (Of(0, 6), Of(4, 1));
            Assert.Equal(Bits(all.Normed[4]), Bits(alone.Normed));
            Assert.Equal(Bits(all.Gated[4]), Bits(alone.Gated));
            Assert.Equal(Bits(all.Slopes[4]), Bits(alone.Slopes));
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void What_is_not_finite_goes_where_libtorch_lets_it_go(float poison)
    {
        foreach (var width in (int[])[1, 7, 40, 200])
        {
            foreach (var place in new HashSet<int> { 0, width / 2, width - 1 })
            {
                Tensor x = Drawn(3, width), up = Drawn(3, width), factor = Drawn(width), targets = tensor([0L, width - 1, width / 2]);
                x[1, place] = poison;
                bool[][] Of(IStepKernels kernels)
                {
                    Tensor inverse = empty(3, 1), normed = empty_like(x), atNorm = empty_like(x);
                    Tensor gated = empty_like(x), atGate = empty_like(x), atUp = empty_like(x);
                    kernels.RmsNorm(x, factor, 1e-5, inverse, normed);
                    kernels.RmsNormBackward(x, factor, inverse, up, null, atNorm);
                    kernels.Gate(x, up, gated);
                    kernels.GateBackward(x, up, up, atGate, atUp);
                    Tensor logits = x.clone(), losses = empty(3), factors = empty(3);
                    kernels.CrossEntropy(logits, targets, losses, factors);
                    Tensor[] results = [normed, atNorm, gated, atGate, atUp, losses, logits * factors.unsqueeze(1)];
                    return [.. results.Select(static result => result.isfinite().data<bool>().ToArray())];
                }

                var expected = Of(Kernels[Libtorch]);
                Assert.Contains(expected, static result => result.Contains(false));
                foreach (var name in (string[])[Wide, Paired]) Assert.Equal(expected, Of(Kernels[name]));
            }
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void A_poisoned_key_reaches_every_query_that_sees_it_and_no_other_sequence(float poison)
    {
        const int Length = 37;
        const int Place = 18;
        Tensor query = Drawn(2 * Length, 8).abs(), key = Drawn(2 * Length, 8);
        Tensor value = Drawn(2 * Length, 8), gradient = Drawn(2 * Length, 8);
        key[Place, 3] = poison;
        foreach (var attention in Kernels.Values.Select(static kernels => kernels.Attention).OfType<HostAttention>())
        {
            var (mixed, slopes) = Ours(attention, query, key, value, gradient, new(2, Length, 2, 2, 4, null));
            var finite = mixed.isfinite().narrow(1, 0, 4).all(1).data<bool>().ToArray();
            Assert.All(finite[Place..Length], Assert.False);
            Assert.All(finite[..(Place / 4 * 4)], Assert.True);
            Assert.All(finite[Length..], Assert.True);
            Assert.All(slopes, static slope => Assert.False(slope.narrow(0, 0, Length).isfinite().all().item<bool>()));
            Assert.All(slopes, static slope => Assert.True(slope.narrow(0, Length, Length).isfinite().all().item<bool>()));
        }
    }

    [Fact]
    public void The_engine_says_whose_kernels_its_bits_come_from()
    {
        var kernels = StepKernels.For(CPU, ScalarType.Float32);
        var libtorch = StepKernels.For(CPU, ScalarType.Float64);
        Assert.IsType<LibtorchKernels>(libtorch);
        Assert.Equal(("libtorch-steps-3", kernels is LibtorchKernels ? libtorch.Mark : "steps-3"), (libtorch.Mark, kernels.Mark));
        Assert.Contains(kernels.Mark, Engine.Fingerprint(CPU, 1).Kernels.Split(' '));
    }

    [Fact]
    public void What_does_not_lie_in_one_piece_is_refused()
    {
        Tensor plain = Drawn(4, 4), turned = plain.t(), wide = plain.to(ScalarType.Float64);
        foreach (var wrong in (Tensor[])[turned, wide])
            Assert.Throws<ArgumentException>(() => Kernels[Wide].Gate(wrong, plain, empty(4, 4)));
    }

    private static (Tensor[] Leaves, Tensor Mixed) Plain(
        Tensor query, Tensor key, Tensor value, Tensor gradient, int sequences, int length, int heads, int keyHeads, int? window)
    {
        Tensor Split(Tensor x, int count) => x.view(sequences, length, count, -1).transpose(1, 2);
        Tensor[] leaves = [Leaf(query), Leaf(key), Leaf(value)];
        var mask = Blocks.CausalMask(0, length, window, CPU);
        var mixed = Blocks.Attention(Split(leaves[0], heads), Split(leaves[1], keyHeads), Split(leaves[2], keyHeads), mask)
            .reshape(query.shape);
        mixed.backward([gradient.to(ScalarType.Float64)]);
        return (leaves, mixed);
    }

    private static (Tensor Mixed, Tensor[] Slopes) Ours(
        HostAttention attention, Tensor query, Tensor key, Tensor value, Tensor gradient, AttentionShape shape)
    {
        Tensor mixed = empty_like(query), norms = empty(query.shape[0], 2 * shape.Heads);
        var scratch = full([shape.ScratchElements], Living.Of(float.NaN)); // what lies there is nobody's
        Tensor[] slopes = [empty_like(query), empty_like(key), empty_like(value)];
        attention.Forward(query, key, value, shape, scratch, mixed, norms);
        scratch.fill_(Living.Of(float.NaN));
        attention.Backward(query, key, value, norms, gradient, shape, scratch, slopes[0], slopes[1], slopes[2]);
        return (mixed, slopes);
    }

    private static Tensor Leaf(Tensor x) => x.to(ScalarType.Float64).detach().requires_grad_(true);

    private static int[] Bits(Tensor x) => [.. x.data<float>().Select(BitConverter.SingleToInt32Bits)];

    // Slack where terms of about that size cancel.
    private static void Near(Tensor expected, Tensor actual, double slack = 0)
    {
        const double Tolerance = 3e-6;
        using var scope = NewDisposeScope();
        var reference = expected.detach().to(ScalarType.Float64);
        var off = (actual.to(ScalarType.Float64) - reference).abs().max().item<double>();
        var size = reference.abs().max().item<double>() + slack;
        Assert.True(off <= Tolerance * size, $"off by {off:E2} of {size:E2}");
    }

    private Tensor Drawn(params long[] shape) => randn(shape, ScalarType.Float32, CPU, generator: _generator);
}
