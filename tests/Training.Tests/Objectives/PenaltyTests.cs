using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Objectives;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Objectives;

/// <summary>
/// A penalty of narrow features reaches the batched backward pass once, of every member its own: beside libtorch's autograd over plain
/// operations, one member at a time, with activation checkpoints and without.
/// </summary>
public sealed class PenaltyTests : IDisposable
{
    private static readonly string[] Tasks = ["blue", "red", "blue"];

    private readonly DisposeScope _scope = NewDisposeScope();

    public static TheoryData<string, string, bool> Cases
    {
        get
        {
            var all = new TheoryData<string, string, bool>();
            foreach (var method in (string[])["lora", "hydra-lora", "r-lora", "r-lora-federated", "dora"])
            {
                foreach (var term in (string[])["in the mix", "kl", "mmd", "kl under dropout"])
                {
                    all.Add(method, term, false);
                    all.Add(method, term, true);
                }
            }

            return all;
        }
    }

    public void Dispose() => _scope.Dispose();

    [Theory, MemberData(nameof(Cases))]
    public void Gradients_of_ragged_members_with_a_penalty_are_those_of_autograd_on_all_layers(string method, string term, bool checkpoints)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var batches = Autograd.Ragged;
        var (plan, seen, layout) = Given(method, term, model);
        var shared = Moments(plan, layout);
        using var members = Members(plan, layout, model, shared, [0, 1, 2]);
        using var again = Members(plan, layout, model, shared, [0, 1, 2]);
        using var without = new StackedMembers(layout, model, [0, 1, 2], ScalarType.Float64);
        using var workspace = new Workspace(CPU, ScalarType.Float64);

        PackedLoss.Gradients(model, Packing.Of(batches, CPU), members.Stack.Slice(0, 3), workspace, checkpoints);

        for (var member = 0; member < 3; member++)
        {
            var reference = StackLeaves.Of(again.Stack, member);
            using var pass = AdapterPass.Training(reference, model, again.Masks[member]);
            seen.Features = [];
            var loss = Autograd.Loss(model, batches[member], pass);
            var penalties = layout.Targets.Zip(InOrder(seen, layout, model), (target, features) =>
            {
                var rows = LossRows(features[0], target, model, batches[member]);
                return term == "in the mix"
                    ? Mixed(rows, TaskOf(member))
                    : Distance(plan, shared, target, rows.select(1, 0), Tasks[member]);
            });
            loss = term == "in the mix"
                ? loss.Plus(stack([.. penalties]).sum())
                : loss.Plus(stack([.. penalties]).mean().mul(Living.Of(0.7)));
            loss.backward();
            foreach (var info in layout.Tensors.Where(static info => info.Trains))
            {
                Autograd.AssertClose(
                    again.Stack.GradientOf(member, info.Name)!, members.Stack.GradientOf(member, info.Name)!,
                    $"{method}, {term}, {info.Name} of member {member}", 1e-10);
            }
        }

        // The penalty is felt on the first layer and on the last.
        if (term is "in the mix" or "kl under dropout") return;
        PackedLoss.Gradients(model, Packing.Of(batches, CPU), without.Stack.Slice(0, 3), workspace, checkpoints);
        foreach (var module in (string[])[layout.Targets[0].Module, layout.Targets[^1].Module])
        {
            var difference = (members.Stack.GradientOf(0, module + ".A")! - without.Stack.GradientOf(0, module + ".A")!).norm();
            Assert.True(difference.item<double>() > 1e-6, $"{module}.A has the gradient of the loss alone");
        }
    }

    [Theory]
    [InlineData("kl")]
    [InlineData("mmd")]
    public void A_member_s_penalty_and_statistics_are_those_it_has_alone(string kind)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var (plan, _, layout) = Given("r-lora", kind, model);
        var shared = Moments(plan, layout);
        using var workspace = new Workspace(CPU, ScalarType.Float64);
        var batches = Autograd.Ragged;
        foreach (var checkpoints in (bool[])[false, true])
        {
            using var together = Members(plan, layout, model, shared, [0, 1, 2]);
            using var inPasses = Members(plan, layout, model, shared, [0, 1, 2]);
            PackedLoss.Gradients(model, Packing.Of(batches, CPU), together.Stack.Slice(0, 3), workspace, checkpoints);
            PackedLoss.Gradients(model, Packing.Of([batches[0]], CPU), inPasses.Stack.Slice(0, 1), workspace, checkpoints);
            PackedLoss.Gradients(model, Packing.Of([batches[1], batches[2]], CPU), inPasses.Stack.Slice(1, 2), workspace, checkpoints);
            for (var member = 0; member < 3; member++)
            {
                using var alone = Members(plan, layout, model, shared, [member]);
                PackedLoss.Gradients(model, Packing.Of([batches[member]], CPU), alone.Stack.Slice(0, 1), workspace);
                var expected = Statistics(alone.Stack, 0);
                foreach (var group in (AdapterStack[])[together.Stack, inPasses.Stack])
                {
                    foreach (var info in layout.Tensors.Where(static info => info.Trains))
                        Autograd.AssertClose(alone.Stack.GradientOf(0, info.Name)!, group.GradientOf(member, info.Name)!, info.Name, 1e-9);
                    var actual = Statistics(group, member);
                    Assert.Equal(expected.Keys, actual.Keys);
                    foreach (var (name, vector) in expected)
                    {
                        Assert.StartsWith($"statistics/alignment/{Tasks[member]}/", name, StringComparison.Ordinal);
                        Close.Assert(vector.Data, actual[name].Data, name, 1e-6, 1e-6);
                    }
                }
            }
        }

        static AdapterState Statistics(AdapterStack stack, int member) => stack.Terms.Single().End(member, AdapterState.Empty).Statistics;
    }

    [Theory]
    [InlineData("in the mix")]
    [InlineData("kl")]
    [InlineData("mmd")]
    public void What_stands_in_padded_rows_has_no_part_in_a_penalty(string term)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float32);
        var (plan, _, layout) = Given("r-lora", term, model);
        var shared = Moments(plan, layout);
        float[] Run(long token)
        {
            var packing = Packing.Of(Autograd.Ragged, CPU);
            foreach (var (member, real) in packing.Rows.Real.Index())
            {
                for (var row = real; row < packing.RowsPerMember; row++)
                    packing.Ids.data<long>()[(long)member * packing.RowsPerMember + row] = token;
            }

            using var members = Members(plan, layout, model, shared, [0, 1, 2], ScalarType.Float32);
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            PackedLoss.Gradients(model, packing, members.Stack.Slice(0, 3), workspace);
            return
            [
                .. GroupProofs.Gradients(members.Stack),
                .. members.Stack.Terms.SelectMany(one => one.End(1, AdapterState.Empty).Statistics.Values).SelectMany(static v => v.Data),
            ];
        }

        var expected = Run(0);

        Assert.Equal(expected, Run(1));
        Assert.Equal(expected, Run(31));
        Assert.All(expected, static value => Assert.True(float.IsFinite(value)));
    }

    private static int TaskOf(int member) => Tasks[member] == "blue" ? 0 : 1;

    private static (FederationPlan Plan, SeenFeatures Seen, AdapterLayout Layout) Given(
        string method, string term, CausalLanguageModel model)
    {
        var spec = TinyFederation.TinyCatalogue(method);
        var layers = model.AdaptableLayers.Where(layer => !spec.Decomposed || layer.Kind != LayerKind.Embedding);
        spec = spec with
        {
            TargetModules = [.. layers.Select(static layer => layer.Module)],
            // Training gives the LM head the rows with loss alone, so its masks are not those of the plain operations.
            Dropout = term == "kl under dropout" ? spec.Dropout : Dropout.None,
            ExcludeModules = term == "kl under dropout" ? [model.LmHead.Module] : [],
            Objectives = [term switch
            {
                "kl" or "kl under dropout" => new Objective.Alignment(AlignmentKind.Kl, 0.7),
                "mmd" => new Objective.Alignment(AlignmentKind.Mmd, 0.7),
                _ => new Objective.GateLoss(),
            }],
        };
        var (seen, layout) = SeenFeatures.On(spec, model, term != "in the mix" ? null : static (features, context, training) =>
        {
            var real = context.Rows.Mask(features.dtype, features.device); // [G, m]
            var each = features.Squared().mean([2, 3]) * real;
            var tasks = tensor(training.Tasks.Select(static task => 0.5 + task).ToArray(), features.dtype, features.device);
            return each.sum([1]) / real.sum([1]) * tasks;
        });
        string[] tasks = ["blue", "red", "green"]; // and none of a fourth
        var plan = new FederationPlan
        {
            Name = "penalty", Model = new() { Path = "model" }, Adapter = spec,
            Clients = [.. tasks.Append("silent").Select(static task => TinyFederation.Client(task))],
        };
        return (plan, seen, layout);
    }

    // The penalty that the mix adds, of one member.
    private static Tensor Mixed(Tensor features, int task) => features.Squared().mean().mul(Living.Of(0.5 + task));

    private static StackedMembers Members(
        FederationPlan plan, AdapterLayout layout, CausalLanguageModel model, AdapterState shared, int[] numbers,
        ScalarType dtype = ScalarType.Float64)
    {
        var members = new StackedMembers(layout, model, numbers, dtype, tasks: [.. numbers.Select(TaskOf)]);
        members.Stack.Terms = ObjectiveTerms.Of(new(plan, shared, members.Stack,
            [.. numbers.Select(number => (TinyFederation.Client(Tasks[number]), AdapterState.Empty))]));
        return members;
    }

    // Every task has sent moments, of two or three clients, but for the last.
    private static AdapterState Moments(FederationPlan plan, AdapterLayout layout) =>
        new(ObjectiveTerms.Vectors(plan, layout).Select(vector =>
        {
            var (width, isSilent) = (((int)vector.Value[0] - 1) / 2, vector.Key.Contains("/silent/", StringComparison.Ordinal));
            if (isSilent) return KeyValuePair.Create(vector.Key, new NamedArray(vector.Value, new float[vector.Value[0]]));
            using var generator = new Generator((ulong)vector.Key.Sum(static letter => letter), CPU);
            var means = TensorData.Values(randn([width], ScalarType.Float32, CPU, generator: generator));
            var clients = vector.Key.Contains("/red/", StringComparison.Ordinal) ? 3 : 2;
            float[] sums = [1, .. means, .. means.Select(static mean => (1.1f * mean * mean) + 0.3f)];
            return KeyValuePair.Create(vector.Key, new NamedArray(vector.Value, [.. sums.Select(each => clients * each)]));
        }));

    // As the paper has them, with logarithms and one width after the other.
    private static Tensor Distance(FederationPlan plan, AdapterState shared, AdapterTarget target, Tensor phi, string task)
    {
        var alignment = (Objective.Alignment)plan.Adapter.Objectives[0];
        var distances = plan.Clients.Select(static client => client.Task).Where(other => other != task && other != "silent").Select(other =>
        {
            var data = shared[$"statistics/alignment/{other}/{target.Module}"].Data;
            var width = (data.Length - 1) / 2;
            Tensor Of(IEnumerable<float> sums) => tensor(sums.Select(sum => (double)sum / data[0]).ToArray());
            var mean = Of(data.Skip(1).Take(width));
            var variance = Of(data.Skip(1 + width)) - mean.Squared();
            return alignment.Kind == AlignmentKind.Kl ? Kl(phi, mean, variance.Plus(Living.Of(1e-8))) : Mmd(phi, mean, variance);
        });
        return stack([.. distances]).mean();
    }

    private static Tensor Kl(Tensor phi, Tensor mean, Tensor variance)
    {
        var (own, spread) = (phi.mean([0]), phi.var(0).Plus(Living.Of(1e-8)));
        Tensor From(Tensor m, Tensor v, Tensor n, Tensor w) =>
            (w.log() - v.log()).Plus(v.Plus((m - n).Squared()) / w).sub(Living.One).sum().mul(Living.Of(0.5));
        return From(own, spread, mean, variance).Plus(From(mean, variance, own, spread)).mul(Living.Of(0.5));
    }

    private static Tensor Mmd(Tensor phi, Tensor mean, Tensor variance)
    {
        var among = (phi.unsqueeze(0) - phi.unsqueeze(1)).Squared().sum([2]);
        var sum = zeros([], ScalarType.Float64);
        foreach (var sigma in KernelMeans.Widths)
        {
            var beta = 0.5 / sigma;
            var spread = variance.mul(Living.Of(2 * beta)).Plus(Living.One);
            var across = ((phi - mean).Squared() / spread).sum([1]).mul(Living.Of(-beta)).exp() / spread.prod().sqrt();
            sum = sum.Plus(among.mul(Living.Of(-beta)).exp().mean()) - across.mean().mul(Living.Of(2));
        }

        return sum;
    }

    // A call for each layer, in the order of the model: that of the targets.
    private static List<Tensor> InOrder(SeenFeatures seen, AdapterLayout layout, CausalLanguageModel model)
    {
        Assert.Equal(layout.Targets.Count, seen.Features!.Count);
        Assert.DoesNotContain(layout.Targets.SkipLast(1), target => target.Module == model.LmHead.Module);
        return seen.Features;
    }

    private static Tensor LossRows(Tensor features, AdapterTarget target, CausalLanguageModel model, IReadOnlyList<EncodedRow> rows)
    {
        if (target.Module != model.LmHead.Module) return features;
        var places = new List<long>();
        foreach (var (number, row) in rows.Index())
            places.AddRange(row.LossPlaces.Select(place => (long)(number * row.Ids.Length) + place - 1));
        return features.index_select(0, tensor(places.ToArray()));
    }
}
