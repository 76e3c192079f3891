using FedRLora.Abstractions.Plans;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>
/// Each row of A with its column of B is an expert (SMoRA, arXiv 2501.15103): of v = sigmoid(router x) + balance the K largest are kept, of
/// equal ones the lower, and weigh K v / (sum of the kept). The balance enters the weight as well as the choice, as in the released code;
/// it moves once a step, by the rate, towards experts that fewer rows have chosen than the mean.
/// </summary>
/// <param name="k">K.</param>
/// <param name="partition">Neighbouring rows of A that share a row of the router.</param>
/// <param name="rate">What the balance moves by.</param>
internal sealed class RankTopKGate(int k, int partition, double rate) : IGate
{
    private const string Router = Routing.RankTopK.Router;
    private const string Balance = Routing.RankTopK.Balance;

    public IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) =>
        [(Router, [target.Rank / partition, target.InWidth]), (Balance, [target.Rank])];

    public IEnumerable<Slot> Slots(LayerTensors tensors) => [new(Router, tensors[Router], IsContent: false)];

    public double? Weight => null;

    public bool IsStatic => false;

    public bool WeighsRows => true;

    public Tensor Weights(LayerTensors tensors, Narrow z, MixContext context)
    {
        var (logits, balance) = (z[Router].squeeze(2), tensors[Balance].unsqueeze(1)); // [G, m, R / partition], [G, 1, R]
        var rows = balance.shape[2];
        if (context.IsUniform) return full([1, 1, rows], Living.Of((double)k / rows), logits.dtype, logits.device);
        Tensor Values(Tensor of) => of.sigmoid().repeat_interleave(partition, -1).Plus(balance.to(of.dtype));
        var chosen = Choice.Largest(Values(context.Exact(Router, z)), k);
        context.Training?.Count(Balance, Counted(chosen, rows, context.Rows));
        if (k == 1) return Choice.Marked(chosen, rows, logits.dtype);
        var kept = Values(logits).gather(-1, chosen);
        return Choice.Scattered(chosen, kept.mul(Living.Of(k)) / kept.sum(-1, keepdim: true), rows);
    }

    public Tensor MovedByCounts(string role, Tensor value, Tensor counts) =>
        value.Plus((counts.mean([-1], keepdim: true) - counts).sign().mul(Living.Of(rate)));

    // How many of each member's real rows have chosen each row of A.
    private static Tensor Counted(Tensor chosen, long count, MemberRows rows) =>
        (Choice.Marked(chosen, count, ScalarType.Float32) * rows.Mask(ScalarType.Float32, chosen.device).unsqueeze(-1)).sum([1]);
}
