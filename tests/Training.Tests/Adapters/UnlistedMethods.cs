using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Adapters.Algebra.Gates;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>Methods that no plan can name, for what the layer offers and no method of the catalogue takes up yet.</summary>
internal static class UnlistedMethods
{
    private static readonly TensorPolicy Drawn = new() { Init = Init.Gaussian(0.3), Seed = SeedPolicy.PerClient };

    public static IReadOnlyDictionary<string, Func<AdapterSpec, CausalLanguageModel, AdapterLayout>> All { get; } =
        new Dictionary<string, Func<AdapterSpec, CausalLanguageModel, AdapterLayout>>(StringComparer.Ordinal)
        {
            ["composed"] = (spec, model) => Of(new Composed(), spec, Composed.Roles, model),
            ["composed, one factor frozen"] = (spec, model) => Of(new Composed(), spec, Frozen(Composed.Roles, "V"), model),
            ["composed, one factor in common"] = (spec, model) => Of(new Composed(), spec, Common(Composed.Roles, "V"), model),
            ["composed, one side frozen"] = (spec, model) => Of(new Composed(), spec, Frozen(Composed.Roles, "U", "V"), model),
            ["composed, one side in common"] = (spec, model) => Of(new Composed(), spec, Common(Composed.Roles, "Q", "P"), model),
            ["per sequence"] = (spec, model) => Of(
                new LowRank(LowRankForm.Of(spec with { Heads = 3 }), new PerSequenceGate(3)),
                spec with { Heads = 3, Routing = new PerSequence() },
                [Role("A"), Role("B", isByHead: true), .. new PerSequence().Roles], model),
            ["worked example"] = (spec, model) => Of(new Nola(5), spec, Nola.Roles, model),
            ["cored"] = (spec, model) => Of(
                new Cored(spec.Heads), spec, Frozen([Role("A"), Role("B", isByHead: true), Role("core", isByHead: true)], "A", "B"), model),
        };

    /// <summary>A method's layout, decorated as its spec says.</summary>
    public static AdapterLayout Of(AdapterMethod method, AdapterSpec spec, IReadOnlyList<TensorRole> roles, CausalLanguageModel model)
    {
        if (spec.Start == Start.Anchored) method = new Anchored(method);
        if (spec.Decomposed) (method, roles) = (new Decomposed(method), [.. roles, .. new Decomposition().Roles]);
        return AdapterLayout.Of(method, spec, roles, model.AdaptableLayers, new AdapterStart(null, () => model));
    }

    private static TensorRole Role(string name, bool isByHead = false) =>
        new(name, Drawn) { Summary = name, Shape = "as the method says", IsByHead = isByHead };

    private static TensorRole[] Frozen(IReadOnlyList<TensorRole> roles, params string[] names) => [.. roles.Select(role =>
        names.Contains(role.Name) ? role with { Default = role.Default with { Trains = false, Scope = Scope.Seed } } : role)];

    private static TensorRole[] Common(IReadOnlyList<TensorRole> roles, params string[] names) => [.. Frozen(roles, names).Select(role =>
        names.Contains(role.Name) ? role with { Default = role.Default with { Seed = SeedPolicy.Common } } : role)];

    /// <summary>
    /// Wide sides that are computed of other tensors, beside some that are handed on: s (C Q + (U V) D(tanh P)) with C the heads of Q.
    /// Only what is computed takes dropout.
    /// </summary>
    public sealed class Composed : AdapterMethod
    {
        private const int Inner = 3;
        private const int Beside = 2;

        public static IReadOnlyList<TensorRole> Roles { get; } = [Role("Q"), Role("P"), Role("C"), Role("U"), Role("V")];

        public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) =>
        [
            ("Q", [Beside, target.InWidth]), ("P", [target.Rank, target.InWidth]), ("C", [1, target.OutWidth, Beside]),
            ("U", [target.OutWidth, Inner]), ("V", [Inner, target.Rank]),
        ];

        public override Factors Factors(LayerTensors tensors)
        {
            var (u, v) = (tensors["U"], tensors["V"]);
            var members = Math.Max(u.shape[0], v.shape[0]); // what all members have in common lies there once
            return new(
                [new("Q", tensors["Q"]), new("P", tensors["P"].tanh(), IsDropped: true)],
                [tensors["C"], u.expand(members, -1, -1).bmm(v.expand(members, -1, -1)).unsqueeze(1)]);
        }

        public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context) =>
            cat([z["Q"].flatten(2), context.Drop(z["P"]).flatten(2)], -1).mul(Living.Of(context.Scaling));

        public override bool IsFixed => true;
    }

    /// <summary>A core of each head between the factors: s sum_i B_i core_i D_i(A x).</summary>
    public sealed class Cored(int heads) : AdapterMethod
    {
        public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) =>
        [
            ("A", [target.Rank, target.InWidth]), ("B", [heads, target.OutWidth, target.Rank]), ("core", [heads, target.Rank, target.Rank]),
        ];

        public override Factors Factors(LayerTensors tensors) => new([new("A", tensors["A"], IsDropped: true)], [tensors["B"]]);

        public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context)
        {
            var (down, core) = (context.Drop(z["A"]), tensors["core"]); // [G, m, 1 or N, R], [G, N, R, R]
            var (members, rows, rank) = (Math.Max(down.shape[0], core.shape[0]), down.shape[1], down.shape[3]);
            var byHead = down.expand(members, -1, heads, -1).transpose(1, 2).reshape(-1, rows, rank);
            var turned = core.expand(members, -1, -1, -1).transpose(2, 3).reshape(-1, rank, rank);
            return byHead.bmm(turned).view(members, heads, rows, rank).transpose(1, 2).flatten(2).mul(Living.Of(context.Scaling));
        }
    }

    /// <summary>A plan's name for <see cref="PerSequenceGate"/>.</summary>
    public sealed record PerSequence : Routing
    {
        public override string Rule => "perSequence";

        public override IReadOnlyList<TensorRole> Roles => [Role("gate")];

        public override bool IsStatic => false;
    }

    /// <summary>Softmax of the mean of a linear router over a sequence: every token of it has the same weights.</summary>
    public sealed class PerSequenceGate(int heads) : IGate
    {
        public IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => [("gate", [heads, target.InWidth])];

        public IEnumerable<Slot> Slots(LayerTensors tensors) => [new("gate", tensors["gate"], IsContent: false)];

        public double? Weight => null;

        public bool IsStatic => false;

        public Tensor Weights(LayerTensors tensors, Narrow z, MixContext context)
        {
            var logits = z["gate"].squeeze(2); // [G, m, N]
            if (context.IsUniform) return full_like(logits, Living.Of(1.0 / heads));
            return stack([.. context.Rows.Sequences.Select((sequences, member) => OfMember(logits[member], sequences))]);
        }

        // Padding at the end belongs to no sequence and weighs nothing.
        private static Tensor OfMember(Tensor logits, IReadOnlyList<(int Start, int Length)> sequences)
        {
            var weights = sequences.Select(sequence =>
                logits.narrow(0, sequence.Start, sequence.Length).mean([0]).softmax(0).unsqueeze(0).expand(sequence.Length, -1)).ToList();
            var padding = logits.shape[0] - sequences.Sum(static sequence => sequence.Length);
            if (padding > 0) weights.Add(zeros([padding, logits.shape[1]], logits.dtype, logits.device));
            return cat([.. weights], 0);
        }
    }
}
