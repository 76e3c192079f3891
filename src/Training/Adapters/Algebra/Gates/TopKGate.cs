using FedRLora.Abstractions.Plans;
using FedRLora.Training.Devices;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>
/// Softmax over the K largest logits of a linear gate, for each token, all other heads exactly 0 (MeteoRA, arXiv 2405.13053; MALoRA, arXiv
/// 2410.22782). With K = 1 the weight is 1 whatever the logit, so that the gate has a gradient by the gate loss alone, as published.
/// </summary>
/// <remarks>
/// The two methods differ in what a head is. MeteoRA: c_i B_i A_i, adapters of their own with a frozen scale c_i each. MALoRA: B_t P_t S,
/// where S = A <c>[R, D_in]</c> is a subspace in common, P_t <c>[K, R]</c> the expert's core and B_t <c>[D_out, K]</c>, K above R; as no
/// code of it is published, y = W0 x + s sum_t g_t(x) B_t P_t S x with s = alpha / R is derived from the text. An example: x = (1, 2), S =
/// I, P_0 = (1 1), P_1 = (2 0), B_0 = (1, 4), B_1 = (2, 1), logits 0, ln 3 and a third far below, of which 2 are kept, s = 2. Then g =
/// (1/4, 3/4), P_0 S x = 3, P_1 S x = 2, and the experts add 2 (1/4 3 (1, 4) + 3/4 2 (2, 1)) = (7.5, 9).
/// </remarks>
/// <param name="heads">N.</param>
/// <param name="k">K.</param>
/// <param name="temperature">
/// The kept logits are divided by it in evaluation, as published: training, and the gate loss, have them as they are.
/// </param>
/// <param name="lossWeight">beta; 0 asks for no gate loss.</param>
internal sealed class TopKGate(int heads, int k, double temperature, double lossWeight) : IGate
{
    public IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => [(Routing.TopK.Gate, [heads, target.InWidth])];

    public IEnumerable<Slot> Slots(LayerTensors tensors) =>
        [new(Routing.TopK.Gate, tensors[Routing.TopK.Gate], IsContent: false)];

    public double? Weight => null;

    public bool IsStatic => false;

    public Tensor Weights(LayerTensors tensors, Narrow z, MixContext context)
    {
        var logits = z[Routing.TopK.Gate].squeeze(2); // [G, m, N]
        if (context.IsUniform) return full_like(logits, Living.Of(1.0 / heads));
        if (lossWeight > 0 && context.Training is { } training)
            training.Penalize(Loss(logits, training.Tasks, context.Rows).mul(Living.Of(lossWeight / training.Layers)));
        var chosen = Choice.Largest(context.Exact(Routing.TopK.Gate, z), k);
        context.Training?.Count(MixTraining.FirstChoices, Choice.FirstChoices(chosen, heads, context.Rows));
        if (k == 1) return Choice.Marked(chosen, heads, logits.dtype);
        return Choice.Scattered(chosen, Kept(logits.gather(-1, chosen)).softmax(-1), heads);

        Tensor Kept(Tensor largest) => context.Training is null ? largest.div(Living.Of(temperature)) : largest;
    }

    /// <summary>
    /// Cross-entropy of a layer's logits against the head of each member's task, the mean over its rows but the last of each sequence. The
    /// gate loss is beta times its mean over layers: layers are not joined, so that each has to tell the tasks apart.
    /// </summary>
    /// <param name="logits"><c>[G, m, N]</c>.</param>
    /// <param name="labels">The head of each member.</param>
    /// <param name="rows">Padding has no part in it.</param>
    /// <returns><c>[G]</c>; 0 for a member all of whose sequences are one row long.</returns>
    internal static Tensor Loss(Tensor logits, IReadOnlyList<int> labels, MemberRows rows)
    {
        var counted = rows.ButLast(logits.dtype, logits.device);
        var label = logits.device.To(tensor([.. labels.Select(static label => (long)label)], [labels.Count, 1, 1], ScalarType.Int64, CPU));
        var losses = logits.log_softmax(-1).gather(-1, label.expand(-1, rows.Count, -1)).squeeze(-1).neg();
        return (losses * counted).sum([1]) / counted.sum([1]).clamp_min(Living.Of(1));
    }
}
