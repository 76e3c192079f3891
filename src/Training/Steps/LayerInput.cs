using FedRLora.Training.Adapters.Algebra;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>The wide input of a layer, of members side by side.</summary>
/// <param name="value">What the tape knows it by; its rows are those of <paramref name="rows"/>, member after member.</param>
/// <param name="rows">m, and which rows are real.</param>
internal abstract class LayerInput(Tensor value, MemberRows rows)
{
    /// <summary>What the tape knows it by.</summary>
    public Tensor Value => value;

    /// <summary>m, and which rows are real.</summary>
    public MemberRows Rows => rows;

    /// <summary>G.</summary>
    public int Members => rows.Real.Count;

    /// <summary>Times rows <c>[G or 1, K, D_in]</c>: <c>[G, m, K]</c>.</summary>
    /// <param name="down">The rows.</param>
    /// <param name="mask">Of the input, in its shape; null hides nothing.</param>
    public abstract Tensor Times(Tensor down, Tensor? mask);

    /// <summary>The same in float64, for what decides; no gradient.</summary>
    public abstract Tensor Exactly(Tensor down);

    /// <summary>Adds the product's gradient to those of the rows.</summary>
    /// <param name="tape">Has the gradients of those that are computed.</param>
    /// <param name="value">As it was.</param>
    /// <param name="mask">As it was.</param>
    /// <param name="gradient">Of the product, <c>[G, m, K]</c>.</param>
    /// <param name="sides">The rows, <c>[G or 1, k, D_in]</c> each.</param>
    public abstract void AddToRows(Tape tape, Tensor value, Tensor? mask, Tensor gradient, IReadOnlyList<Wide> sides);
}

/// <summary>Rows of numbers, <c>[G m, D_in]</c>.</summary>
internal sealed class DenseInput(Tensor x, MemberRows rows) : LayerInput(x, rows)
{
    public override Tensor Times(Tensor down, Tensor? mask) => Product(mask is null ? Value : Value * mask, down);

    public override Tensor Exactly(Tensor down) =>
        Product(Value.detach().to(ScalarType.Float64), down.detach().to(ScalarType.Float64));

    public override void AddToRows(Tape tape, Tensor value, Tensor? mask, Tensor gradient, IReadOnlyList<Wide> sides)
    {
        // Of what lies behind the last rows that train, a frozen start or a router, no gradient is asked for.
        var last = sides.Index().Last(static side => side.Item.Trains).Index;
        var (asked, given) = (sides.Take(last + 1).ToList(), mask is null ? value : value * mask);
        var all = gradient.narrow(2, 0, asked.Sum(static side => side.Value.shape[1])).transpose(1, 2)
            .bmm(given.view(Members, Rows.Count, -1));
        var offset = 0L;
        foreach (var side in asked)
        {
            var count = side.Value.shape[1];
            if (side.Trains) side.Add(tape, all.narrow(1, offset, count));
            offset += count;
        }
    }

    private Tensor Product(Tensor given, Tensor down) => down.shape[0] == 1
        ? given.mm(down[0].t()).view(Members, Rows.Count, -1)
        : given.view(Members, Rows.Count, -1).bmm(down.transpose(1, 2));
}

/// <summary>Token ids, int64 <c>[G m]</c>: one-hot rows, whose products pick columns.</summary>
internal sealed class OneHotInput(Tensor ids, MemberRows rows) : LayerInput(ids, rows)
{
    public override Tensor Times(Tensor down, Tensor? mask) => down.shape[0] == 1
        ? down[0].t().index_select(0, Value).view(Members, Rows.Count, -1)
        : down.gather(2, Places(Value, down.shape[1])).transpose(1, 2);

    public override Tensor Exactly(Tensor down) => Times(down.detach().to(ScalarType.Float64), null);

    public override void AddToRows(Tape tape, Tensor value, Tensor? mask, Tensor gradient, IReadOnlyList<Wide> sides)
    {
        var offset = 0L;
        foreach (var side in sides)
        {
            var count = side.Value.shape[1];
            var part = gradient.narrow(2, offset, count).transpose(1, 2);
            offset += count;
            if (side.Gradient is { } sum) sum.scatter_add_(2, Places(value, count), part);
            else if (side.Trains) side.Add(tape, zeros_like(side.Value).scatter_add_(2, Places(value, count), part));
        }
    }

    // [G, k, m].
    private Tensor Places(Tensor value, long width) => value.view(Members, 1, Rows.Count).expand(-1, width, -1);
}
