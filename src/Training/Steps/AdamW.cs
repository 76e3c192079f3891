using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// AdamW with decoupled decay and bias correction, as <c>torch.optim.AdamW</c> computes it (arXiv 1711.05101), for all members of a
/// stack at once: a step costs a few operations on <c>[G, P]</c> however many members and layers there are. Learning rates, step
/// counts and clipping are each member's own. Its buffers live in the dispose scope in which it is made.
/// </summary>
internal sealed class AdamW : IMemberOptimizer
{
    private readonly AdapterStack _stack;
    private readonly TrainingSpec _spec;
    private readonly List<RoleMoments> _moments;

    /// <param name="stack">Whose tensors are stepped.</param>
    /// <param name="spec">Betas, epsilon, decay and clip norm.</param>
    /// <param name="states">Each member's moments and step counts to go on from, checked; a role that is absent starts afresh.</param>
    public AdamW(AdapterStack stack, TrainingSpec spec, IReadOnlyList<AdapterState> states) =>
        (_stack, _spec, _moments) = (stack, spec, [.. stack.Blocks.Select(block => new RoleMoments(block, states))]);

    /// <summary>
    /// What is stored of an exported state: nothing of a head that others move too, which a fork could leave to this client alone.
    /// </summary>
    /// <inheritdoc cref="AtRoundStart" path="/param"/>
    public static AdapterState AtRoundEnd(AdapterState state, AdapterLayout layout, bool isAlone)
    {
        state = RestartedMoments.Marked(state, layout);
        if (isAlone) return state;
        var ofOthers = layout.Tensors.Where(static tensor => tensor.Scope == Scope.Task).SelectMany(static tensor => NamesOf(tensor.Name))
            .ToHashSet(StringComparer.Ordinal);
        return new AdapterState(state.Where(entry => !ofOthers.Contains(entry.Key)));
    }

    /// <summary>What is left of the exported state at the start of the next round.</summary>
    /// <param name="state">A client's.</param>
    /// <param name="layout">Of its adapter.</param>
    /// <param name="moments">The plan's.</param>
    /// <param name="isAlone">Its task has no other client, so that nobody else moves what belongs to the task.</param>
    public static AdapterState AtRoundStart(AdapterState state, AdapterLayout layout, Moments moments, bool isAlone)
    {
        if (moments == Moments.Reset) return AdapterState.Empty;
        var isBefore = RestartedMoments.AreFromBefore(state, layout);
        var kept = layout.Tensors.Where(tensor => !(isBefore && layout.BeginsAgain(tensor)))
            .Where(tensor => tensor.Scope == Scope.Client || (isAlone && tensor.Scope == Scope.Task))
            .SelectMany(static tensor => NamesOf(tensor.Name)).ToHashSet(StringComparer.Ordinal);
        return new AdapterState(state.Where(entry => kept.Contains(entry.Key)));
    }

    /// <summary>Refuses a state that <see cref="AdamW"/> cannot go on from.</summary>
    /// <exception cref="BadInputException">
    /// A moment does not have its tensor's shape, or tensors of one role have taken different numbers of steps.
    /// </exception>
    public static void Check(AdapterState state, AdapterLayout layout)
    {
        foreach (var info in layout.Tensors)
        {
            foreach (var name in (string[])[info.Name + ".m", info.Name + ".v"])
            {
                if (state.TryGetValue(name, out var array) && !array.Shape.SequenceEqual(info.Shape))
                    throw new BadInputException($"optimizer state: {name} has shape [{string.Join(", ", array.Shape)}], "
                        + $"its tensor [{string.Join(", ", info.Shape)}]");
            }
        }

        foreach (var role in layout.Tensors.Where(static info => info.Trains)
            .GroupBy(static info => info.Role.Name, StringComparer.Ordinal))
        {
            var counts = role.Select(info => StepsOf(state, info)).Distinct().ToList();
            if (counts.Count > 1)
                throw new BadInputException(
                    $"optimizer state: tensors {role.Key} have taken {string.Join(" and ", counts)} steps; they step together");
        }
    }

    /// <inheritdoc/>
    public void Step(
        IReadOnlyList<double> learningRates, bool headsOnly = false, Action<int>? correct = null, Tensor? norms = null)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        _stack.MoveByCounts(learningRates.Count);
        var stepping = _moments.Where(moments => !headsOnly || moments.Block.Policy.IsHead).ToList();
        if (stepping.Count == 0) return;
        var clipping = new Clipping([.. stepping.Select(static moments => moments.Block)], learningRates.Count, _spec.ClipNorm, norms);
        if (correct is not null)
        {
            clipping.Apply();
            correct(learningRates.Count);
        }

        foreach (var moments in stepping) moments.Step(_spec, learningRates, correct is null ? clipping.Factors : null);
    }

    /// <summary><c>{name}.m</c>, <c>{name}.v</c> and <c>{name}.step</c> (a scalar) of every tensor of a member.</summary>
    public AdapterState Export(int member) => new(_moments.SelectMany(moments => moments.Export(member)));

    private static long StepsOf(AdapterState state, AdapterTensor info) =>
        state.TryGetValue(info.Name + ".step", out var steps) ? (long)steps.Data[0] : 0;

    /// <summary>What is remembered of a tensor.</summary>
    public static IEnumerable<string> NamesOf(string name) => [name + ".m", name + ".v", name + ".step"];

    /// <summary>Of the tensors of one role.</summary>
    private sealed class RoleMoments
    {
        private readonly StackBlock _block;
        private readonly Tensor _mean;
        private readonly Tensor _square;
        private readonly long[] _steps;

        public RoleMoments(StackBlock block, IReadOnlyList<AdapterState> states)
        {
            _block = block;
            Tensor From(string suffix) => block.Flat(states, suffix, block.Value.device, block.Value.dtype);
            (_mean, _square) = (From(".m"), From(".v"));
            _steps = [.. states.Select(state => StepsOf(state, block.Tensors[0]))];
        }

        public StackBlock Block => _block;

        public void Step(TrainingSpec spec, IReadOnlyList<double> rates, Tensor? factors)
        {
            for (var member = 0; member < rates.Count; member++) _steps[member]++;
            double[] OfEach(Func<int, double> of) => [.. Enumerable.Range(0, rates.Count).Select(of)];
            var step = new AdamWStep(
                spec.Beta1, spec.Beta2, spec.Epsilon,
                OfEach(member => -rates[member] / (1 - Math.Pow(spec.Beta1, _steps[member]))),
                OfEach(member => Math.Sqrt(1 - Math.Pow(spec.Beta2, _steps[member]))),
                spec.WeightDecay == 0 ? null : OfEach(member => 1 - rates[member] * spec.WeightDecay),
                factors);
            Tensor Stepping(Tensor all) => all.narrow(0, 0, rates.Count);
            StepKernels.For(_mean.device, _mean.dtype)
                .AdamW(Stepping(_block.Value), Stepping(_block.Gradient), Stepping(_mean), Stepping(_square), step);
        }

        public IEnumerable<KeyValuePair<string, NamedArray>> Export(int member) => _block.Cut(_mean, member, ".m")
            .Concat(_block.Cut(_square, member, ".v"))
            .Concat(_block.Tensors.Select(info => KeyValuePair.Create(info.Name + ".step", new NamedArray([], [_steps[member]]))));
    }
}
