using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>
/// lambda times the distance between phi = A x over a member's own rows of a batch and the other tasks' phi, the mean over those tasks and
/// over layers (Align-LoRA, arXiv 2508.05078). Rows never leave a site: another task is known by the moments of its phi in the round
/// before, which are constant, and taken for a Gaussian without covariances. A task that sent none, as all have in the first round, has no
/// part. As in the published code, dropout in front of A is in phi; of masks for several heads it is the first.
/// </summary>
/// <remarks>
/// A client sends for each layer a 1, and then the mean and the mean square of phi over all its rows of the round, <c>[1 + 2R]</c>, shrunk
/// together so that the whole vector's norm is at most the objective's clip. The sum over clients, divided by its first element, is
/// then the mean over the task's clients.
/// </remarks>
internal sealed class AlignmentTerm : ObjectiveTerm
{
    private readonly Objective.Alignment _term;
    private readonly IReadOnlyList<string> _tasks;
    private readonly Dictionary<string, Layer> _layers;

    /// <param name="term">Its values.</param>
    /// <param name="round">Has the other tasks' moments in its shared state.</param>
    public AlignmentTerm(Objective.Alignment term, TermRound round)
    {
        (_term, _tasks) = (term, [.. round.Members.Select(static member => member.Client.Task)]);
        var device = round.Stack.Blocks[0].Value.device;
        var weight = term.Lambda / round.Stack.Layout.Targets.Count;
        _layers = round.Stack.Layout.Targets.ToDictionary(static target => target.Module, target =>
        {
            var vectors = TasksOf(round.Plan)
                .Select(task => (Task: task, round.Shared[NameOf(task, target.Module)].Data))
                .Where(static known => known.Data[0] > 0).ToList();
            var others = Others(vectors, _tasks, weight, round.Stack.Blocks[0].Value.dtype, device);
            var width = RowsOfA(round.Stack.Layout, target);
            return new Layer(term.Kind, others, zeros([_tasks.Count, 1 + (2 * width)], ScalarType.Float64, device));
        }, StringComparer.Ordinal);
    }

    /// <summary>One for each task of the plan and each layer.</summary>
    public static IEnumerable<KeyValuePair<string, IReadOnlyList<long>>> Vectors(FederationPlan plan, AdapterLayout layout) =>
        from task in TasksOf(plan)
        from target in layout.Targets
        select KeyValuePair.Create<string, IReadOnlyList<long>>(NameOf(task, target.Module), [1 + (2 * RowsOfA(layout, target))]);

    /// <inheritdoc/>
    public override IFeatureTerm On(AdapterTarget target, int first, int count) => _layers[target.Module].Of(first, count);

    /// <inheritdoc/>
    public override TermResult End(int member, AdapterState update) => new(new(_layers.Select(layer =>
        KeyValuePair.Create(NameOf(_tasks[member], layer.Key), Clipped(layer.Value.SumsOf(member), _term.Clip)))), AdapterState.Empty);

    /// <summary>A client's vector of a layer.</summary>
    /// <param name="sums">How many rows, their sum and the sum of their squares.</param>
    /// <param name="clip">The largest norm of the vector; more than 1.</param>
    public static NamedArray Clipped(double[] sums, double clip)
    {
        if (sums[0] == 0) return new([sums.Length], new float[sums.Length]);
        double[] moments = [.. sums.Skip(1).Select(sum => sum / sums[0])];
        var norm = Math.Sqrt(moments.Sum(static moment => moment * moment));
        // A little less, for rounding to float32.
        var most = Math.Sqrt((clip * clip) - 1) * (1 - 1e-6);
        var factor = norm > most ? most / norm : 1;
        return new([sums.Length], [1, .. moments.Select(moment => (float)(moment * factor))]);
    }

    private static IReadOnlyList<string> TasksOf(FederationPlan plan) =>
        [.. plan.Clients.Select(static client => client.Task).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];

    private static string NameOf(string task, string module) =>
        new StatisticFamily("alignment", null, false).NameOf($"{Identifiers.Of(task)}/{module}");

    private static long RowsOfA(AdapterLayout layout, AdapterTarget target) =>
        layout.MethodOf(target).Shapes(target).First(static tensor => tensor.Role == LowRankFactors.A).Shape[0];

    // What each member knows of other tasks: those of one fewer are filled up with what has no weight.
    private static (Gaussians Moments, Tensor Weights)? Others(
        List<(string Task, float[] Data)> vectors, IReadOnlyList<string> tasks, double weight, ScalarType dtype, Device device)
    {
        var byMember = tasks.Select(task => vectors.Where(known => known.Task != task).ToList()).ToList();
        var most = byMember.Max(static others => others.Count);
        if (most == 0) return null;
        var width = (vectors[0].Data.Length - 1) / 2;
        var (means, variances) = (new double[tasks.Count, most, width], new double[tasks.Count, most, width]);
        var weights = new double[tasks.Count, most];
        foreach (var (member, others) in byMember.Index())
        {
            for (var i = 0; i < most; i++)
            {
                var data = i < others.Count ? others[i].Data : null;
                weights[member, i] = data is null ? 0 : weight / others.Count;
                for (var d = 0; d < width; d++)
                {
                    var mean = data is null ? 0 : (double)data[1 + d] / data[0];
                    means[member, i, d] = mean;
                    // Rounding may leave less than nothing.
                    variances[member, i, d] = data is null ? 1 : Math.Max(0, ((double)data[1 + width + d] / data[0]) - (mean * mean));
                }
            }
        }

        return (new(tensor(means, dtype, device), tensor(variances, dtype, device)), tensor(weights, dtype, device));
    }

    /// <summary>A layer for all members of the stack.</summary>
    private sealed class Layer(AlignmentKind kind, (Gaussians Moments, Tensor Weights)? others, Tensor sums)
    {
        public IFeatureTerm Of(int first, int count) => new Part(this, first, count);

        /// <summary>Of a member: how many rows, their sum and the sum of their squares.</summary>
        public double[] SumsOf(int member)
        {
            using var scope = NewDisposeScope();
            return sums[member].cpu().data<double>().ToArray();
        }

        private void See(int first, int count, Tensor features, MemberRows rows)
        {
            using var scope = NewDisposeScope();
            using var inference = no_grad();
            var phi = features.to(ScalarType.Float64);
            var real = rows.Mask(ScalarType.Float64, phi.device).unsqueeze(-1);
            phi = phi * real;
            sums.narrow(0, first, count).add_(cat([real.sum([1]), phi.sum([1]), phi.Squared().sum([1])], 1), Living.One);
        }

        private IEnumerable<Tensor> Penalties(int first, int count, Tensor features, MemberRows rows)
        {
            if (others is null) yield break;
            var weights = others.Value.Weights.narrow(0, first, count);
            var moments = new Gaussians(
                others.Value.Moments.Mean.narrow(0, first, count), others.Value.Moments.Variance.narrow(0, first, count)); // [G, T, R]
            var phi = features.to(weights.dtype);
            var real = rows.Mask(weights.dtype, phi.device);
            if (kind == AlignmentKind.Kl)
            {
                // A single row has no variance to compare.
                var enough = real.sum([1]).gt(Living.One).to(weights.dtype);
                var own = Gaussians.Of(phi, real);
                var spread = moments with { Variance = moments.Variance.Plus(Living.Of(Gaussians.Epsilon)) };
                var apart = new Gaussians(own.Mean.unsqueeze(1), own.Variance.unsqueeze(1)).Divergence(spread);
                yield return (apart * weights).sum([1]) * enough;
                yield break;
            }

            // What two draws of another task have in common is constant.
            foreach (var part in KernelMeans.Within(phi, real)) yield return part * weights.sum([1]);
            var mixtures = new Gaussians(moments.Mean.unsqueeze(2), moments.Variance.unsqueeze(2)); // of one component, [G, T, 1, R]
            foreach (var part in KernelMeans.Across(phi.unsqueeze(1), real.unsqueeze(1), mixtures))
                yield return (part * weights).sum([1]).mul(Living.Of(-2));
        }

        private sealed class Part(Layer layer, int first, int count) : IFeatureTerm
        {
            public void See(Tensor features, MemberRows rows) => layer.See(first, count, features, rows);

            public IEnumerable<Tensor> Penalties(Tensor features, MemberRows rows) => layer.Penalties(first, count, features, rows);
        }
    }
}
