using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>
/// A method and a pair of factors beside it, whose products are added: a task's pair (MTLoRA, arXiv 2403.20320), or the frozen links of a
/// chain (COLA, arXiv 2401.04151), which no dropout reaches.
/// </summary>
/// <param name="inner">The method.</param>
/// <param name="a">The pair's down-projection.</param>
/// <param name="b">The pair's head.</param>
/// <param name="rank">Of a pair that trains; 0 for frozen links of the layer's own rank.</param>
/// <param name="scale">What the pair's product is multiplied with; frozen links have the layer's own scaling.</param>
/// <param name="links">How many frozen links there are.</param>
internal sealed class Beside(AdapterMethod inner, string a, string b, int rank = 0, double scale = 1, int links = 0) : AdapterMethod
{
    private readonly bool _isFrozen = links > 0;

    public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target)
    {
        var rows = _isFrozen ? links * target.Rank : rank;
        return [.. inner.Shapes(target), (a, [rows, target.InWidth]), (b, [1, target.OutWidth, rows])];
    }

    public override Factors Factors(LayerTensors tensors)
    {
        var own = inner.Factors(tensors);
        return new([.. own.Down, new(a, tensors[a], IsDropped: !_isFrozen)], [.. own.Up, tensors[b]]);
    }

    public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context)
    {
        var pair = z[a];
        // Under a mask for each head, the pair is under the first.
        if (!_isFrozen) pair = context.Drop(pair);
        if (pair.shape[2] > 1) pair = pair.narrow(2, 0, 1);
        return cat([inner.Mix(tensors, z, context), pair.flatten(2).mul(Living.Of(_isFrozen ? context.Scaling : scale))], -1);
    }

    public override bool IsFixed => inner.IsFixed;

    public override bool IsStatic => inner.IsStatic;

    public override bool SeesSequences => inner.SeesSequences;

    public override Tensor MovedByCounts(string role, Tensor value, Tensor counts) => inner.MovedByCounts(role, value, counts);

    public override bool IsScaledAlike => _isFrozen && inner.IsScaledAlike;
}
