using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>
/// A method minus itself at its frozen start, so that any start leaves the base as it is (the published R-LoRA, arXiv 2502.15455, takes
/// the start out of the weight instead). The start takes no dropout and shares the gate, and nothing else, with what is trained.
/// </summary>
internal sealed class Anchored(AdapterMethod inner) : AdapterMethod
{
    /// <summary>The name of a slot's frozen start.</summary>
    public static string AtStart(string slot) => slot + "0";

    public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => inner.Shapes(target);

    public override Factors Factors(LayerTensors tensors)
    {
        var (now, start) = (inner.Factors(tensors), inner.Factors(tensors.AtStart()));
        var down = start.Down.Where(static slot => slot.IsContent)
            .Select(static slot => slot with { Name = AtStart(slot.Name), IsDropped = false });
        // A mix that never changes is multiplied in, so that the start is as narrow as its rows.
        IEnumerable<Tensor> up = inner.IsFixed ? [Bottleneck.Up(inner, tensors.AtStart(), start, scaling: 1).unsqueeze(1)] : start.Up;
        return new([.. now.Down, .. down], [.. now.Up, .. up.Select(static heads => heads.neg())]);
    }

    public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context)
    {
        var now = inner.Mix(tensors, z, context);
        return cat([now, inner.IsFixed ? StartOf(z, context) : inner.Mix(tensors.AtStart(), z.AtStart(), context.Undropped)], -1);
    }

    public override bool IsPlain => inner.IsPlain;

    public override bool IsFixed => inner.IsFixed;

    public override bool IsStatic => inner.IsStatic;

    public override bool SeesSequences => inner.SeesSequences;

    public override Tensor MovedByCounts(string role, Tensor value, Tensor counts) => inner.MovedByCounts(role, value, counts);

    public override bool IsScaledAlike => inner.IsScaledAlike;

    // What came down by the rows of the start, scaled: the mix lies in its heads.
    private static Tensor StartOf(Narrow z, MixContext context)
    {
        Tensor[] starts = [.. z.Starts.Select(static rows => rows.flatten(2))];
        return (starts is [var only] ? only : cat(starts, -1)).mul(Living.Of(context.Scaling));
    }
}
