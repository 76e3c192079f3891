using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Steps;

/// <summary>Token ids as a layer's input are one-hot rows, of which some are the same.</summary>
public sealed class LayerInputTests : IDisposable
{
    private const int Vocabulary = 7;
    private static readonly MemberRows Rows = new(5, [5, 3], [[(0, 5)], [(0, 3)]]);
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Workspace _workspace = new(CPU, ScalarType.Float64);
    private readonly Generator _generator = new(3, CPU);
    private readonly Tensor _ids = tensor(new long[] { 3, 1, 3, 3, 6, 2, 2, 0, 0, 0 });

    public void Dispose()
    {
        _workspace.Dispose();
        _generator.Dispose();
        _scope.Dispose();
    }

    [Theory, InlineData(1), InlineData(2)]
    public void A_product_with_token_ids_is_that_with_their_one_hot_rows(int members)
    {
        var down = Draw(members, 4, Vocabulary);

        var expected = new DenseInput(OneHot(), Rows).Times(down, null);

        Assert.Equal(expected.data<double>(), new OneHotInput(_ids, Rows).Times(down, null).contiguous().data<double>());
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Repeated_ids_add_up_in_the_gradient_of_the_rows(bool isComputed)
    {
        using var tape = new Tape(_workspace);
        var (gradient, first, second) = (Draw(2, 5, 6), Draw(2, 4, Vocabulary), Draw(2, 2, Vocabulary));
        Wide[] Sides() => [.. ((Tensor[])[first, second]).Select(value =>
            isComputed ? new Wide(value, null, IsOnTape: true) : new Wide(value, full_like(value, Living.Of(1.0))))];
        var (dense, picked) = (Sides(), Sides());

        var expected = Gradients(new DenseInput(OneHot(), Rows), OneHot(), dense);
        var actual = Gradients(new OneHotInput(_ids, Rows), _ids, picked);

        foreach (var (one, other) in expected.Zip(actual)) Autograd.AssertClose(one, other, "rows", 1e-13);
        // Token 3 is there three times.
        var third = gradient[0, 0, 0].Plus(gradient[0, 2, 0]).Plus(gradient[0, 3, 0]).Plus(Living.Of(isComputed ? 0 : 1));
        Assert.Equal(third.item<double>(), actual[0][0, 0, 3].item<double>(), 1e-13);

        Tensor[] Gradients(LayerInput input, Tensor value, Wide[] sides)
        {
            using var inference = no_grad();
            foreach (var side in sides) tape.Watch(side.Value);
            input.AddToRows(tape, value, null, gradient, sides);
            return [.. sides.Select(side => (isComputed ? tape.GradientOf(side.Value) : side.Gradient)!.clone())];
        }
    }

    private Tensor OneHot() => nn.functional.one_hot(_ids, Vocabulary).to(ScalarType.Float64);

    private Tensor Draw(params long[] shape) => empty(shape, ScalarType.Float64).normal_(0, 1, _generator);
}
