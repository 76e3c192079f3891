using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

public sealed class BottleneckTests
{
    [Fact]
    public void Members_with_common_factors_and_mixes_of_their_own_have_each_their_own_product()
    {
        using var scope = NewDisposeScope();
        var (down, up, core) = (rand(1, 2, 5), rand(1, 1, 4, 2), rand(3, 2, 2));
        var tensors = new LayerTensors(role => role switch { "A" => down, "B" => up, _ => core }, static _ => null);

        var delta = Bottleneck.Delta(new Cored(), tensors, scaling: 2);

        for (var member = 0; member < 3; member++)
        {
            var expected = up[0][0].mm(core[member]).mm(down[0]).mul(Living.Of(2));
            Close.Assert(TensorData.Values(expected), TensorData.Values(delta[member]), "delta", 1e-6, 1e-6);
        }
    }

    // s B C A, C of each member.
    private sealed class Cored : AdapterMethod
    {
        public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => throw new NotSupportedException();

        public override Factors Factors(LayerTensors tensors) => new([new("A", tensors["A"])], [tensors["B"]]);

        public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context)
        {
            var core = tensors["core"].transpose(1, 2);
            return z["A"].flatten(2).expand(core.shape[0], -1, -1).bmm(core).mul(Living.Of(context.Scaling));
        }
    }
}
