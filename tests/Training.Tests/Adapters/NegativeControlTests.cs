using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>
/// A method's own values do something: each of them set back changes numbers. A method that is added to the catalogue needs a line in
/// the table.
/// </summary>
public sealed class NegativeControlTests : IDisposable
{
    private static readonly Dictionary<string, Control[]> Table = new(StringComparer.Ordinal)
    {
        ["fedsa-lora"] =
        [
            new("B is averaged", Numbers.Shared, static spec => Averages(spec, "B")),
            new("B is averaged over its task", Numbers.Shared, TinyFederation.OfTasks),
        ],
        ["lora"] =
        [
            new("B stays with its client", Numbers.Shared, static spec => Keeps(spec, "B")),
            new("B is averaged over its task", Numbers.Shared, static spec => TinyFederation.OfTasks(Keeps(spec, "B"))),
        ],
        ["rslora"] = [new("scaling alpha/r", Numbers.Logits | Numbers.Gradients, static spec => OverRank(spec))],
        ["dora"] =
        [
            new("not decomposed", Numbers.Logits | Numbers.Gradients | Numbers.Shared, static spec => spec with { Decomposed = false }),
            new("magnitudes stay with their client", Numbers.Shared, static spec => Keeps(spec, Decomposition.Magnitude)),
        ],
        ["fedsa-lora-task-heads"] = HeadsByTask,
        ["ffa-lora"] =
        [
            new("A trains and is averaged", Numbers.Gradients | Numbers.Shared,
                static spec => spec.With("A", static a => a with { Trains = true, Scope = Scope.Job })),
        ],
        ["lora-fa"] =
        [
            new("one draw of A for all clients", Numbers.Logits,
                static spec => spec.With("A", static a => a with { Seed = SeedPolicy.Common })),
            new("A trains and is averaged", Numbers.Gradients | Numbers.Shared,
                static spec => spec.With("A", static a => a with { Trains = true, Scope = Scope.Job, Seed = SeedPolicy.Common })),
        ],
        ["pissa"] =
        [
            new("an exact start", Numbers.Logits | Numbers.Gradients, static spec => AsLora(spec)),
            new("the QR decomposition", Numbers.Logits | Numbers.Gradients, static spec => From(spec, InitLaw.Olora)),
            new("B stays with its client", Numbers.Shared, static spec => Keeps(spec, "B")),
        ],
        ["olora"] =
        [
            new("an exact start", Numbers.Logits | Numbers.Gradients, static spec => AsLora(spec)),
            new("the singular triples", Numbers.Logits | Numbers.Gradients, static spec => From(spec, InitLaw.Pissa)),
            new("B stays with its client", Numbers.Shared, static spec => Keeps(spec, "B")),
        ],
        ["lora-xs"] =
        [
            new("the square roots of the singular values on both sides", Numbers.Logits | Numbers.Gradients,
                static spec => From(spec, InitLaw.Pissa)),
            new("a diagonal core", Numbers.Logits | Numbers.Gradients, static spec => spec with { Core = new(CoreForm.Diagonal) }),
            new("A trains", Numbers.Gradients, static spec => spec.With("A", static a => a with { Trains = true })),
            new("the core stays with its client", Numbers.Shared, static spec => Keeps(spec, Core.Role)),
        ],
        ["cora"] =
        [
            new("B drawn", Numbers.Logits | Numbers.Gradients,
                static spec => spec.With("B", static heads => heads with { Init = Init.KaimingUniform, Scope = Scope.Seed })),
            new("B trains", Numbers.Gradients, static spec => spec.With("B", static heads => heads with { Trains = true })),
            new("A is averaged", Numbers.Shared, static spec => Averages(spec, "A")),
        ],
        ["vera"] =
        [
            new("a pair for each layer", Numbers.Logits, static spec => spec
                .With("A", static a => a with { Init = Init.KaimingUniform })
                .With("B", static heads => heads with { Init = Init.KaimingUniform })),
            new("a first vector of ones", Numbers.Logits,
                static spec => spec.With(Core.Role, static core => core with { Init = Init.Identity })),
            new("no second vector", Numbers.Logits | Numbers.Gradients | Numbers.Shared,
                static spec => spec with { HeadScale = HeadScaleForm.None }),
            new("scaling alpha/r", Numbers.Logits | Numbers.Gradients, static spec => OverRank(spec)),
            new("the vectors stay with their client", Numbers.Shared, static spec => Keeps(Keeps(spec, Core.Role), HeadScale.Role)),
        ],
        ["rolora"] =
        [
            new("A trains in odd rounds too", Numbers.Gradients, static spec => spec with { Lifecycle = [] }, Round: 1),
            new("B trains in even rounds too", Numbers.Gradients, static spec => spec with { Lifecycle = [] }, Round: 2),
            new("B stays with its client", Numbers.Shared, static spec => Keeps(spec, "B"), Round: 1),
        ],
        ["chain-of-lora"] =
        [
            new("no links", Numbers.Logits | Numbers.Shared, static spec => spec with { Lifecycle = [] }, Round: 3),
            new("a link after every round", Numbers.Logits | Numbers.Gradients, static spec => After(spec, "all"), Round: 3),
            new("B stays with its client", Numbers.Shared, static spec => Keeps(spec, "B"), Round: 3),
        ],
        ["lori-d"] =
        [
            new("one draw of A for all tasks", Numbers.Logits,
                static spec => spec.With("A", static a => a with { Seed = SeedPolicy.Common })),
            new("A trains and is averaged", Numbers.Gradients | Numbers.Shared,
                static spec => spec.With("A", static a => a with { Trains = true, Scope = Scope.Job, Seed = SeedPolicy.Common })),
        ],
        ["lori-s"] =
        [
            new("a mask that is not there yet", Numbers.Logits | Numbers.Gradients, static spec => After(spec, "3"), Round: 3),
            new("one draw of A for all tasks", Numbers.Logits,
                static spec => spec.With("A", static a => a with { Seed = SeedPolicy.Common }),
                Round: 3),
        ],
        ["hydra-lora"] =
        [
            new("one head", Numbers.Logits, static spec => spec with { Heads = 1, Routing = new Routing.ByTask() }),
            new("the mean of the heads", Numbers.Logits, static spec => spec with { Routing = new Routing.Mean() }),
            new("a router that begins at zero", Numbers.Logits,
                static spec => spec.With(Routing.Softmax.Router, static router => router with { Init = Init.Zero })),
            new("dropout between the factors", Numbers.Gradients, static spec => At(spec, DropoutSite.Hidden)),
            new("one mask for all heads", Numbers.Gradients, static spec => OneMask(spec)),
        ],
        ["r-lora"] =
        [
            .. RandomHeads,
            new("the mean of the heads", Numbers.Logits | Numbers.Gradients, static spec => spec with { Routing = new Routing.Mean() }),
        ],
        ["m-lora"] =
        [
            .. RandomHeads,
            new("the sum of the heads", Numbers.Logits | Numbers.Gradients, static spec => spec with { Routing = new Routing.Sum() }),
            new("a router", Numbers.Logits | Numbers.Gradients, static spec => spec with { Routing = new Routing.Softmax() }),
        ],
        ["align-lora"] =
        [
            // What the term does to the gradient, given others' moments, is shown by the tests of terms.
            new("no alignment", Numbers.Shared, static spec => spec with { Objectives = [] }),
            new("B stays with its client", Numbers.Shared, static spec => Keeps(spec, "B")),
        ],
        ["multilora"] =
        [
            new("one down-projection", Numbers.Logits | Numbers.Gradients, static spec => spec with { Downs = Downs.One }),
            new("no scales", Numbers.Logits | Numbers.Gradients,
                static spec => (spec with { HeadScale = HeadScaleForm.None }).With("B", static heads => heads with { Init = Init.Zero })),
            new("a scale for each head", Numbers.Logits | Numbers.Gradients, static spec => spec with { HeadScale = HeadScaleForm.Scalar }),
            new("the mean of the heads", Numbers.Logits | Numbers.Gradients, static spec => spec with { Routing = new Routing.Mean() }),
            new("scales are averaged", Numbers.Shared, static spec => Averages(spec, HeadScale.Role)),
        ],
        ["mtl-lora"] =
        [
            new("no core", Numbers.Logits | Numbers.Gradients, static spec => spec with { Core = Core.None }),
            new("a diagonal core", Numbers.Logits | Numbers.Gradients, static spec => spec with { Core = new(CoreForm.Diagonal) }),
            new("the mean of the heads", Numbers.Logits | Numbers.Gradients, static spec => spec with { Routing = new Routing.Mean() }),
            new("a higher temperature", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Routing = new Routing.TaskSoftmax(1) }),
            new("heads stay with their client", Numbers.Shared, static spec => Keeps(spec, "B")),
            new("cores are averaged", Numbers.Shared, static spec => Averages(spec, Core.Role)),
        ],
        ["mtlora"] =
        [
            new("no task pair", Numbers.Logits | Numbers.Gradients, static spec => spec with { TaskBranch = TaskBranch.None }),
            new("a task pair on all blocks", Numbers.Gradients,
                static spec => spec with { TaskBranch = spec.TaskBranch with { Blocks = 99 } }),
            new("another scale of the pair", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { TaskBranch = spec.TaskBranch with { Scale = 1 } }),
            new("scaling alpha/r", Numbers.Logits | Numbers.Gradients, static spec => OverRank(spec)),
            new("task pairs are averaged", Numbers.Shared, static spec => Averages(spec, TaskBranch.B)),
        ],
        ["r-lora-federated-task-heads"] =
        [
            .. HeadsByTask,
            new("an exact start", Numbers.Logits | Numbers.Gradients, static spec => FromZero(spec)),
            new("one draw of B for all tasks", Numbers.Logits, static spec => OneDraw(spec)),
        ],
        ["r-lora-federated"] =
        [
            new("an exact start", Numbers.Logits | Numbers.Gradients, static spec => FromZero(spec)),
            new("the paper's deviation", Numbers.Logits | Numbers.Gradients,
                static spec => spec.With("B", static heads => heads with { Init = Init.Stable(64) })),
            new("one draw of B for all clients", Numbers.Logits, static spec => OneDraw(spec)),
            new("B is averaged", Numbers.Shared, static spec => Averages(OneDraw(spec), "B")),
            new("B is averaged over its task", Numbers.Shared, TinyFederation.OfTasks),
        ],
        ["meteora"] =
        [
            new("one adapter for each token", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Routing = new Routing.TopK(1) }),
            new("all adapters for each token", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Routing = new Routing.TopK(spec.Heads) }),
            new("another temperature", Numbers.Logits,
                static spec => spec with { Routing = new Routing.TopK(2, Temperature: 20) }),
            new("no gate loss", Numbers.Gradients, static spec => spec with { Objectives = [] }),
            new("one A for all adapters", Numbers.Logits | Numbers.Gradients, static spec => spec with { Downs = Downs.One }),
            new("adapters scaled by 2", Numbers.Logits | Numbers.Gradients,
                static spec => spec.With(HeadScale.Role, static scale => scale with { Init = Init.Constant(2) })),
            new("the gate stays with its client", Numbers.Shared, static spec => Keeps(spec, Routing.TopK.Gate)),
        ],
        ["malora"] =
        [
            new("no core", Numbers.Logits | Numbers.Gradients, static spec => spec with { Core = Core.None }),
            new("one core for all experts", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Core = spec.Core with { PerHead = false } }),
            new("experts of the subspace's rank", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Core = spec.Core with { Rank = null } }),
            new("all experts for each token", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Routing = new Routing.TopK(spec.Heads) }),
            new("cores are averaged", Numbers.Shared, static spec => Averages(spec, Core.Role)),
        ],
        ["smora"] =
        [
            new("all ranks for each token", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Routing = new Routing.RankTopK(spec.Rank) }),
            new("pairs of ranks", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Routing = new Routing.RankTopK(2, Partition: 2) }),
            new("no experts", Numbers.Logits | Numbers.Gradients, static spec => spec with { Routing = new Routing.ByTask() }),
            new("the router stays with its client", Numbers.Shared, static spec => Keeps(spec, Routing.RankTopK.Router)),
        ],
        ["mixlora"] =
        [
            new("factors of B by a router alone", Numbers.Logits | Numbers.Gradients, static spec => Pooled(spec, PoolChoice.Independent)),
            new("factors of B by the places of A", Numbers.Logits | Numbers.Gradients, static spec => Pooled(spec, PoolChoice.SharedIndex)),
            new("no weights", Numbers.Logits | Numbers.Gradients,
                static spec => spec with { Routing = new Routing.Pool(2, Weighted: false) }),
            new("all factors", Numbers.Logits | Numbers.Gradients, static spec => spec with { Routing = new Routing.Pool(spec.Rank) }),
            new("factors of A say nothing of B", Numbers.Logits, static spec => spec with { Routing = new Routing.Pool(2, Lambda: 0) }),
            new("factors of B stay with their client", Numbers.Shared, static spec => Keeps(spec, "B")),
        ],
    };

    // What R-LoRA's two forms have in common.
    private static Control[] RandomHeads =>
    [
        new("an exact start", Numbers.Logits | Numbers.Gradients, static spec => FromZero(spec)),
        new("A as in LoRA", Numbers.Logits, static spec => spec.With("A", static a => a with { Init = Init.KaimingUniform })),
        new("one draw of B for all clients", Numbers.Logits, static spec => OneDraw(spec)),
        new("dropout in front of A", Numbers.Gradients, static spec => At(spec, DropoutSite.Input)),
        new("one mask for all heads", Numbers.Gradients, static spec => OneMask(spec)),
        new("no dropout", Numbers.Gradients, static spec => spec with { Dropout = Dropout.None }),
        new("scaling alpha/r", Numbers.Logits | Numbers.Gradients, static spec => OverRank(spec)),
    ];

    private static Control[] HeadsByTask =>
    [
        new("B stays with its client", Numbers.Shared, static spec => Keeps(spec, "B")),
        new("B is averaged over all clients", Numbers.Shared, static spec => Averages(OneDraw(spec), "B")),
    ];

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly CausalLanguageModel _model = TinyLlama.Create();

    public static TheoryData<string, string> Controls
    {
        get
        {
            var all = new TheoryData<string, string>();
            foreach (var (method, controls) in Table)
                foreach (var control in controls) all.Add(method, control.Name);
            return all;
        }
    }

    public void Dispose()
    {
        _model.Dispose();
        _scope.Dispose();
    }

    [Fact]
    public void Every_method_of_the_catalogue_has_a_control() => Assert.Equal(
        AdapterCatalog.Methods.Keys.Order(StringComparer.Ordinal),
        Table.Where(static line => line.Value.Length > 0).Select(static line => line.Key).Order(StringComparer.Ordinal));

    [Theory, MemberData(nameof(Controls))]
    public void A_value_of_a_method_set_back_changes_numbers(string method, string name)
    {
        var control = Table[method].Single(control => control.Name == name);
        var spec = TinyFederation.TinyCatalogue(method);

        Dictionary<Numbers, Dictionary<string, float[]>> In(AdapterSpec method) => Measured(method.At(control.Round, 9));
        var (before, after) = (In(spec), In(control.Back(spec)));

        foreach (var kind in Enum.GetValues<Numbers>().Where(kind => control.Changes.HasFlag(kind)))
            Assert.True(Differ(before[kind], after[kind]), $"{method}, {name}: {kind} are what they were");
        Assert.False(Differ(before[Numbers.Logits], In(spec)[Numbers.Logits]), "the same values give other logits");
    }

    private static AdapterSpec Averages(AdapterSpec spec, string role) =>
        spec.With(role, static tensor => tensor with { Scope = Scope.Job });

    private static AdapterSpec Keeps(AdapterSpec spec, string role) =>
        spec.With(role, static tensor => tensor with { Scope = Scope.Client });

    private static AdapterSpec After(AdapterSpec spec, string rounds) =>
        spec with { Lifecycle = [.. spec.Lifecycle.Select(step => step with { Rounds = RoundSet.Parse(rounds)! })] };

    private static AdapterSpec From(AdapterSpec spec, InitLaw law) => new[] { "A", "B" }
        .Aggregate(spec, (spec, role) => spec.With(role, tensor => tensor with { Init = new(law) }));

    private static AdapterSpec AsLora(AdapterSpec spec) => FromZero(spec).With("A", static a => a with { Init = Init.KaimingUniform });

    private static AdapterSpec OverRank(AdapterSpec spec) => spec with { Scaling = Scaling.AlphaOverRank };

    private static AdapterSpec At(AdapterSpec spec, DropoutSite site) => spec with { Dropout = spec.Dropout with { Site = site } };

    private static AdapterSpec OneMask(AdapterSpec spec) =>
        spec with { Dropout = spec.Dropout with { Masks = MaskSharing.AllHeads } };

    private static AdapterSpec Pooled(AdapterSpec spec, PoolChoice choice) => spec with { Routing = new Routing.Pool(2, choice) };

    private static AdapterSpec OneDraw(AdapterSpec spec) => spec.With("B", static heads => heads with { Seed = SeedPolicy.Common });

    private static AdapterSpec FromZero(AdapterSpec spec) =>
        (spec with { Start = Start.Exact }).With("B", static heads => heads with { Init = Init.Zero });

    // Of a member some way from its start.
    private Dictionary<Numbers, Dictionary<string, float[]>> Measured(AdapterSpec spec)
    {
        var layout = StackedMembers.LayoutOf(spec, _model);
        using var members = new StackedMembers(layout, _model, [0, 1]);
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        PackedLoss.Gradients(
            _model, Packing.Of([[StackedMembers.Row(6)], [StackedMembers.Row(9)]], CPU), members.Stack.Slice(0, 2), workspace);
        var trained = layout.Tensors.Where(static info => info.Trains).ToList();
        using var inference = no_grad();
        using var pass = AdapterPass.Evaluating(members.Stack.Member(0), _model);
        var logits = _model.LogitsOf(_model.Hidden(TinyLlama.Ids(1, 5, 9, 30, 17, 4, 4, 28), null, pass), pass);
        return new()
        {
            [Numbers.Logits] = new() { ["logits"] = TensorData.Values(logits) },
            [Numbers.Gradients] = trained.ToDictionary(
                static info => info.Name, info => TensorData.Values(members.Stack.GradientOf(0, info.Name)!), StringComparer.Ordinal),
            [Numbers.Shared] = layout.Tensors.Where(static info => info.Policy.IsAggregated)
                .Select(static info => $"{info.Scope} {info.Name}")
                .Concat(layout.Spec.Statistics.Select(static family => $"statistics {family.Name}"))
                .ToDictionary(static name => name, static _ => Array.Empty<float>(), StringComparer.Ordinal),
        };
    }

    // By more than rounding.
    private static bool Differ(Dictionary<string, float[]> one, Dictionary<string, float[]> other) =>
        !one.Keys.Order(StringComparer.Ordinal).SequenceEqual(other.Keys.Order(StringComparer.Ordinal)) || one.Any(entry =>
        {
            var (expected, actual) = (entry.Value, other[entry.Key]);
            if (expected.Length != actual.Length) return true;
            var difference = Math.Sqrt(expected.Zip(actual, static (a, b) => ((double)a - b) * ((double)a - b)).Sum());
            return difference > 1e-3 * Math.Sqrt(expected.Sum(static value => (double)value * value));
        });

    /// <summary>What a control looks at.</summary>
    [Flags]
    private enum Numbers
    {
        /// <summary>In evaluation.</summary>
        Logits = 1,

        /// <summary>Of what trains, and which tensors that are.</summary>
        Gradients = 2,

        /// <summary>Which tensors are averaged, and over whom, and which statistics are summed.</summary>
        Shared = 4,
    }

    /// <summary>A value of a method set back.</summary>
    /// <param name="Name">To what.</param>
    /// <param name="Changes">What must not be as it was.</param>
    /// <param name="Back">The method without its value.</param>
    /// <param name="Round">Which the method is looked at in.</param>
    private sealed record Control(string Name, Numbers Changes, Func<AdapterSpec, AdapterSpec> Back, int Round = 1);
}
