using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary>What a plan can call by name, and every tensor that there can be: a new part is a line here.</summary>
public static class AdapterParts
{
    /// <summary>How each rule of <c>routing</c> is read.</summary>
    internal static IReadOnlyDictionary<string, RuleReader<Routing>> Routings { get; } =
        new Dictionary<string, RuleReader<Routing>>(StringComparer.OrdinalIgnoreCase)
        {
            ["byTask"] = new(static _ => new Routing.ByTask()),
            ["mean"] = new(static _ => new Routing.Mean()),
            ["sum"] = new(static _ => new Routing.Sum()),
            ["softmax"] = new(static _ => new Routing.Softmax()),
            ["taskSoftmax"] = new(static values => values is null ? new Routing.TaskSoftmax()
                : new Routing.TaskSoftmax(values.Number("tau", 0.1, Above(0, Bounds.Many))), "tau"),
            ["topK"] = new(static values => values is null ? new Routing.TopK()
                : new Routing.TopK(values.Integer("k", 2, 1, 64), values.Number("temperature", 1, Above(0, Bounds.Many))), "k"),
            ["rankTopK"] = new(static values => values is null ? new Routing.RankTopK()
                : new Routing.RankTopK(
                    values.Integer("k", 8, 1, 4096), values.Integer("partition", 1, 1, 4096), values.Number("rate", 1e-5, Closed(0, 1))),
                "k"),
            ["pool"] = new(static values => values is null ? new Routing.Pool()
                : new Routing.Pool(
                    values.Integer("k", 4, 1, 4096), values.Choice("choice", PoolChoice.Conditional), values.Flag("weighted", true),
                    values.Number("lambda", 1, Closed(0, Bounds.Many))), "k"),
        };

    /// <summary>The tensors of all parts.</summary>
    public static IReadOnlyList<TensorRole> Roles { get; } =
    [
        .. ((IAdapterPart[])
        [
            new LowRankFactors(), new Routing.Softmax(), new Decomposition(), new Core(CoreForm.Full), new HeadScale(HeadScaleForm.Scalar),
            new Routing.TaskSoftmax(), new Routing.TopK(), new Routing.RankTopK(), new Routing.Pool(), new TaskBranch(1, 1),
            new FrozenLinks(1), new HeadMask(),
        ]).SelectMany(static part => part.Roles),
    ];

    /// <summary>Those that a plan may give a policy.</summary>
    public static IEnumerable<TensorRole> Chosen => Roles.Where(static role => role.Follows is null);

    /// <summary>A role by its name.</summary>
    /// <exception cref="ArgumentException">No part has it.</exception>
    public static TensorRole Role(string name) => Roles.FirstOrDefault(role => role.Name == name)
        ?? throw new ArgumentException($"No part of a method has a tensor {name}.", nameof(name));
}
