using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>
/// Control variates of tensors of scope Job (SCAFFOLD, arXiv 1910.06378, option II): a step goes along g + c - c_k, and after the round
/// c_k' = c_k - c + (x - y) / (K lr), x where the round began and y where it ended, so that c_k is the client's mean gradient. With a rate
/// that moves, K lr is the sum of the rates of the steps that moved the tensors. Clipping is of g alone: a correction that was clipped with
/// it would no longer cancel between clients. A plan with AdamW is refused, whose steps over their rates are no gradient. A client that has
/// no variate yet begins with 0.
/// </summary>
internal sealed class ControlVariatesTerm : ObjectiveTerm
{
    private const string Suffix = ".variate";

    private static readonly StatisticFamily Family = new Objective.ControlVariates().Statistics;

    private readonly TermRound _round;
    private readonly List<(StackBlock Block, Tensor Correction)> _corrected;
    private readonly double[] _lengths;

    /// <param name="round">Has c in its shared state, and each member's c_k beside its moments.</param>
    public ControlVariatesTerm(TermRound round)
    {
        using var inference = no_grad();
        (_round, _lengths) = (round, new double[round.Members.Count]);
        var moved = round.Stack.Blocks.Where(static block => block.Policy.Scope == Scope.Job).ToList();
        var common = new AdapterState(moved.SelectMany(static block => block.Tensors)
            .Select(info => KeyValuePair.Create(info.Name, round.Shared[Family.NameOf(info.Name)])));
        AdapterState[] own = [.. round.Members.Select(static member => member.Optimizer)];
        _corrected = [.. moved.Select(block =>
        {
            var (device, dtype) = (block.Value.device, block.Value.dtype);
            using var scope = NewDisposeScope();
            return (block, (block.Flat([common], "", device, dtype) - block.Flat(own, Suffix, device, dtype)).MoveToOuterDisposeScope());
        })];
    }

    /// <summary>One for each tensor of scope Job that trains in any round, in its shape.</summary>
    public static IEnumerable<KeyValuePair<string, IReadOnlyList<long>>> Vectors(FederationPlan plan, AdapterLayout layout) =>
        layout.Tensors.Where(info => plan.Adapter.Tensor(info.Role.Name) is { Scope: Scope.Job, Trains: true })
        .Select(static info => KeyValuePair.Create(Family.NameOf(info.Name), info.Shape));

    /// <summary>Refuses variates that are not in the shapes of their tensors.</summary>
    /// <exception cref="BadInputException">The variate is named.</exception>
    public static void Check(AdapterState optimizer, AdapterLayout layout)
    {
        foreach (var info in layout.Tensors)
        {
            if (optimizer.TryGetValue(info.Name + Suffix, out var variate) && !variate.Shape.SequenceEqual(info.Shape))
                throw new BadInputException($"optimizer state: {info.Name}{Suffix} has shape [{string.Join(", ", variate.Shape)}], "
                    + $"its tensor [{string.Join(", ", info.Shape)}]");
        }
    }

    /// <inheritdoc/>
    public override bool Corrects => true;

    /// <inheritdoc/>
    public override void Correct(int members)
    {
        foreach (var (block, correction) in _corrected)
            block.Gradient.narrow(0, 0, members).add_(correction.narrow(0, 0, members), Living.One);
    }

    /// <inheritdoc/>
    public override void Stepped(IReadOnlyList<double> learningRates, bool headsOnly)
    {
        for (var member = 0; member < learningRates.Count && !headsOnly; member++) _lengths[member] += learningRates[member];
    }

    /// <inheritdoc/>
    public override TermResult End(int member, AdapterState update)
    {
        var optimizer = _round.Members[member].Optimizer;
        var variates = optimizer.Where(static entry => entry.Key.EndsWith(Suffix, StringComparison.Ordinal))
            .ToDictionary(StringComparer.Ordinal); // of what does not move in this round too
        var statistics = new List<KeyValuePair<string, NamedArray>>();
        if (_lengths[member] == 0) return new(AdapterState.Empty, new(variates));
        foreach (var info in _corrected.SelectMany(static corrected => corrected.Block.Tensors))
        {
            var (moved, common) = (update[info.Name].Data, _round.Shared[Family.NameOf(info.Name)].Data);
            var before = variates.GetValueOrDefault(info.Name + Suffix)?.Data ?? new float[moved.Length];
            var (after, change) = (new float[moved.Length], new float[moved.Length]);
            for (var i = 0; i < moved.Length; i++)
            {
                after[i] = (float)((double)before[i] - common[i] - moved[i] / _lengths[member]);
                change[i] = after[i] - before[i];
            }

            variates[info.Name + Suffix] = new(info.Shape, after);
            statistics.Add(new(Family.NameOf(info.Name), new(info.Shape, change)));
        }

        return new(new(statistics), new(variates));
    }
}
