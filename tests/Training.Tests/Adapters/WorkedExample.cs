using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

// begin
/// <summary>NOLA (arXiv 2310.02556) on the B side: B is a sum of frozen random matrices, and only their coefficients train.</summary>
internal sealed class Nola(int count) : AdapterMethod
{
    private static readonly TensorPolicy Frozen = new() { Init = Init.KaimingUniform, Trains = false, Scope = Scope.Seed };

    public static IReadOnlyList<TensorRole> Roles { get; } =
    [
        new("A", Frozen) { Summary = "the down-projection", Shape = "[r, inputs]" },
        new("basis", Frozen) { Summary = "what B is a sum of", Shape = "[k, outputs, r]", Side = Side.Out, IsByHead = true },
        new("coefficients", new() { Scope = Scope.Job }) { Summary = "a number for each of them", Shape = "[k]", Side = Side.Out },
    ];

    public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) =>
        [("A", [target.Rank, target.InWidth]), ("basis", [count, target.OutWidth, target.Rank]), ("coefficients", [count])];

    public override Factors Factors(LayerTensors tensors) => new(
        [new("A", tensors["A"], IsDropped: true)],
        [(tensors["basis"] * tensors["coefficients"].view(-1, count, 1, 1)).sum([1]).unsqueeze(1)]);

    public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context) =>
        context.Drop(z["A"]).flatten(2).mul(Living.Of(context.Scaling));

    public override bool IsPlain => true;
}
// end
