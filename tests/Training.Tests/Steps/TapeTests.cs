using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Steps;

/// <summary>Values are known by their objects and written in place, so what a function hands on must become a value of its own.</summary>
public sealed class TapeTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Workspace _workspace = new(CPU, ScalarType.Float64);

    /// <summary>From one value to some, which may be the same, or the same memory.</summary>
    private static readonly Dictionary<string, Func<Tensor, Tensor[]>> Works = new(StringComparer.Ordinal)
    {
        ["itself"] = static x => [x],
        ["contiguous"] = static x => [x.contiguous()],
        ["to the same type"] = static x => [x.to(x.dtype)],
        ["a view"] = static x => [x.view(2, 6)],
        ["its rows turned"] = static x => [x.t()],
        ["a part"] = static x => [x.narrow(0, 1, 2)],
        ["one part twice"] = static x => [x.narrow(0, 1, 2), x.narrow(0, 1, 2)],
        ["parts that overlap"] = static x => [x.narrow(0, 0, 3), x.narrow(0, 1, 2)],
        ["all of its parts"] = static x => [x.narrow(1, 0, 1), x.narrow(1, 1, 2)],
        ["expanded"] = static x => [x.unsqueeze(0).expand(3, -1, -1)],
        ["twice"] = static x => [x, x],
        ["once as it is and once doubled"] = static x => [x, x.mul(Living.Of(2.0))],
        ["a result twice"] = static x =>
        {
            var y = x.Squared();
            return [y, y];
        },
        ["a result and a part of it"] = static x =>
        {
            var y = x.Squared();
            return [y, y.narrow(0, 1, 1)];
        },
        ["in the reverse order"] = static x => [x.mul(Living.Of(3.0)), x],
    };

    public static TheoryData<string> Names => [.. Works.Keys];

    public void Dispose()
    {
        _workspace.Dispose();
        _scope.Dispose();
    }

    [Theory, MemberData(nameof(Names))]
    public void Gradients_are_those_of_autograd_whatever_a_function_hands_on(string name)
    {
        var (work, x) = (Works[name], Given());
        using var tape = new Tape(_workspace);
        tape.Watch(x);

        var outputs = Run(tape, x, work);
        var sum = tape.Local(outputs, static values => [Weighed(values)])[0];
        tape.Backward(sum, ones(1, ScalarType.Float64));

        var leaf = Given().requires_grad_();
        Weighed(work(leaf)).sum().backward();
        Autograd.AssertClose(leaf.grad!, tape.GradientOf(x)!, name, 1e-13);
    }

    [Theory, MemberData(nameof(Names))]
    public void A_result_may_be_written_without_changing_the_input_another_result_or_a_gradient(string name)
    {
        foreach (var (isTracked, isDry) in ((bool, bool)[])[(true, false), (false, false), (true, true), (false, true)])
        {
            var (work, x) = (Works[name], Given());
            using var tape = new Tape(_workspace);
            if (isTracked) tape.Watch(x);
            tape.IsDry = isDry;

            var outputs = Run(tape, x, work);
            Tensor[] expected = [.. work(Given())];
            for (var i = 0; i < outputs.Length; i++)
            {
                Assert.Equal(expected[i].shape, outputs[i].shape);
                Assert.Equal(Numbers(expected[i]), Numbers(outputs[i]));
                Assert.Equal(isTracked, tape.Tracks(outputs[i]));
                using (no_grad()) outputs[i].contiguous().zero_();
                if (outputs[i].is_contiguous()) Assert.All(Numbers(outputs[i]), static value => Assert.Equal(0, value));
            }

            Assert.Equal(Numbers(Given()), Numbers(x));
            Assert.Equal(isTracked ? 1 : 0, tape.Count);
            if (!isTracked || isDry) continue;
            // The graph keeps values of its own: what is written into a result is not what was squared.
            Backward(tape, outputs);
            var leaf = Given().requires_grad_();
            autograd.backward([.. work(leaf).Select(static value => value.sum())]);
            Autograd.AssertClose(leaf.grad!, tape.GradientOf(x)!, name, 1e-13);
        }
    }

    [Fact]
    public void A_tensor_that_trains_and_is_handed_on_is_not_written_either()
    {
        foreach (var isDry in (bool[])[false, true])
        {
            var (value, gradient) = (Given(), zeros(3, 4, ScalarType.Float64));
            using var tape = new Tape(_workspace);
            tape.IsDry = isDry;
            Tensor[] outputs;
            using (no_grad())
            {
                outputs = tape.Derive([], _ => new(value, gradient), static (_, leaves) => [leaves["any"], leaves["any"].narrow(0, 1, 2)]);
                foreach (var output in outputs) output.add_(Living.Of(5.0), Living.One);
            }

            Assert.Equal(Numbers(Given()), Numbers(value));
            if (isDry) continue;
            Backward(tape, outputs);
            Assert.Equal([1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2], Numbers(gradient));
        }
    }

    [Fact]
    public void A_tensor_that_trains_gets_its_gradient_from_every_operation_that_asks_for_it()
    {
        var (x, value, gradient) = (Given(), Given().mul(Living.Of(0.5)), zeros(3, 4, ScalarType.Float64));
        using var tape = new Tape(_workspace);
        tape.Watch(x);
        Tensor Times(Tensor y) => tape.Derive([y], _ => new(value, gradient), static (given, leaves) => [given[0] * leaves["any"]])[0];

        using (no_grad())
        {
            var y = Times(Times(x));
            tape.Backward(y, ones_like(y));
        }

        Autograd.AssertClose(x * value * Living.Of(2), gradient, "the tensor", 1e-13);
        Autograd.AssertClose(value.Squared(), tape.GradientOf(x)!, "the input", 1e-13);
    }

    [Fact]
    public void A_number_for_each_column_of_each_member()
    {
        var (y, factor) = (Given().view(6, 2).repeat(1, 2).sin(), Given().narrow(0, 0, 2).cos());
        var (given, times, weights) = (y.clone().requires_grad_(), factor.clone().requires_grad_(), y.exp());
        using var tape = new Tape(_workspace);
        tape.Watch(y);
        tape.Watch(factor);

        Tensor result;
        using (no_grad())
        {
            var scaled = tape.Columns(y, factor);
            result = scaled.clone();
            tape.Backward(scaled, weights);
        }

        var expected = (given.view(2, 3, 4) * times.unsqueeze(1)).view(6, 4);
        (expected * weights).sum().backward();
        Autograd.AssertClose(expected.detach(), result, "result", 1e-13);
        Autograd.AssertClose(given.grad!, tape.GradientOf(y)!, "rows", 1e-13);
        Autograd.AssertClose(times.grad!, tape.GradientOf(factor)!, "factors", 1e-13);
    }

    private static Tensor Given() => arange(Living.Of(1.0), Living.Of(13.0), Living.Of(1.0), ScalarType.Float64).view(3, 4).contiguous();

    private static Tensor[] Run(Tape tape, Tensor x, Func<Tensor, Tensor[]> work)
    {
        using var inference = no_grad();
        return tape.Local([x], inputs => work(inputs[0]));
    }

    // Every element of every result counts by a number of its own.
    private static Tensor Weighed(Tensor[] values) => stack([.. values.Select(static (value, number) =>
    {
        var count = value.numel();
        var weights = arange(Living.Of(1.0), Living.Of(count + 1.0), Living.Of(1.0), ScalarType.Float64)
            .mul(Living.Of(1.0 + number)).view(value.shape);
        return (value.Squared() * weights).sum();
    })]).sum().unsqueeze(0);

    private static void Backward(Tape tape, Tensor[] outputs)
    {
        using var inference = no_grad();
        var sum = tape.Local(outputs, static values => [stack([.. values.Select(static value => value.sum())]).sum().unsqueeze(0)])[0];
        tape.Backward(sum, ones(1, ScalarType.Float64));
    }

    private static double[] Numbers(Tensor value) => value.detach().contiguous().data<double>().ToArray();
}
