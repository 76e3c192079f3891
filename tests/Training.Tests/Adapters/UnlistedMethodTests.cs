using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>The frame and the decorators around methods that take up what no method of the catalogue does.</summary>
public sealed class UnlistedMethodTests : IDisposable
{
    private const string Composed = "composed";
    private const string PerSequence = "per sequence";
    private const string Cored = "cored";
    private const string Module = "model.layers.0.mlp.down_proj";
    private readonly DisposeScope _scope = NewDisposeScope();

    /// <summary>Every method, drawn and anchored, decomposed where its mix is static, under each kind of dropout.</summary>
    public static TheoryData<string, Start, bool, DropoutSite> Variants
    {
        get
        {
            var all = new TheoryData<string, Start, bool, DropoutSite>();
            foreach (var name in UnlistedMethods.All.Keys)
            {
                foreach (var start in Enum.GetValues<Start>())
                {
                    foreach (var isDecomposed in name == PerSequence ? (bool[])[false] : [false, true])
                    {
                        foreach (var site in Enum.GetValues<DropoutSite>()) all.Add(name, start, isDecomposed, site);
                    }
                }
            }

            return all;
        }
    }

    /// <summary>Some of them, in which every start, decorator and kind of dropout occurs with every method.</summary>
    public static TheoryData<string, Start, bool, DropoutSite> SomeVariants
    {
        get
        {
            var some = new TheoryData<string, Start, bool, DropoutSite>();
            foreach (var name in UnlistedMethods.All.Keys)
            {
                some.Add(name, Start.Exact, false, DropoutSite.Input);
                some.Add(name, Start.Anchored, name != PerSequence, DropoutSite.Hidden);
            }

            return some;
        }
    }

    public void Dispose() => _scope.Dispose();

    [Theory, MemberData(nameof(Variants))]
    public void Gradients_of_ragged_members_are_those_of_autograd(string name, Start start, bool isDecomposed, DropoutSite site)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        Autograd.AssertSame(model, UnlistedMethods.All[name](Spec(start, isDecomposed, site), model), ScalarType.Float64, 1e-10);
    }

    [Theory, InlineData(Composed), InlineData("composed, one side in common"), InlineData(Cored)]
    public void Gradients_on_the_embedding_and_the_LM_head_are_those_of_autograd(string name)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        foreach (var start in Enum.GetValues<Start>())
        {
            var spec = Spec(start, false, DropoutSite.None) with { TargetModules = ["embed_tokens", "v_proj", "lm_head"] };
            Autograd.AssertSame(model, UnlistedMethods.All[name](spec, model), ScalarType.Float64, 1e-10);
        }
    }

    [Theory, MemberData(nameof(SomeVariants))]
    public void Checkpoints_give_the_same_bits(string name, Start start, bool isDecomposed, DropoutSite site)
    {
        using var model = TinyLlama.Create();
        var layout = UnlistedMethods.All[name](Spec(start, isDecomposed, site), model);
        using var plain = new StackedMembers(layout, model, [0, 1, 2]);
        using var checkpointed = new StackedMembers(layout, model, [0, 1, 2]);
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        var packing = Packing.Of(Autograd.Ragged, CPU);
        for (var step = 0; step < 2; step++)
        {
            var losses = PackedLoss.Gradients(model, packing, plain.Stack.Slice(0, 3), workspace);
            Assert.Equal(
                losses.data<float>(),
                PackedLoss.Gradients(model, packing, checkpointed.Stack.Slice(0, 3), workspace, checkpoints: true).data<float>());
            Assert.Equal(GroupProofs.Gradients(plain.Stack), GroupProofs.Gradients(checkpointed.Stack));
        }
    }

    [Theory, MemberData(nameof(SomeVariants))]
    public void A_member_in_a_group_trains_as_it_does_alone(string name, Start start, bool isDecomposed, DropoutSite site)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        GroupProofs.AssertAlone(model, UnlistedMethods.All[name](Spec(start, isDecomposed, site), model), ScalarType.Float64, 1e-9);
    }

    [Theory, MemberData(nameof(SomeVariants))]
    public void Padding_has_no_influence(string name, Start start, bool isDecomposed, DropoutSite site)
    {
        using var model = TinyLlama.Create();
        var layout = UnlistedMethods.All[name](Spec(start, isDecomposed, site), model);
        GroupProofs.AssertPaddingIsUnseen(model, layout);
    }

    [Theory, InlineData(Composed, false), InlineData(Composed, true), InlineData(Cored, false), InlineData(Cored, true)]
    public void The_static_forms_are_those_of_the_formula(string name, bool isAnchored)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var start = isAnchored ? Start.Anchored : Start.Exact;
        var layout = UnlistedMethods.All[name](Spec(start, false, DropoutSite.None) with { Heads = name == Cored ? 2 : 1 }, model);
        using var members = new StackedMembers(layout, model, [0], ScalarType.Float64);
        var target = layout.Targets.Single(static target => target.Module == Module);
        var tensors = members.Stack.Member(0).Of(target);

        var expected = Formula(name, tensors);
        if (isAnchored) expected -= Formula(name, tensors.AtStart());
        expected *= Living.Of(target.Scaling);

        Autograd.AssertClose(expected, Bottleneck.Delta(layout.Method, tensors, target.Scaling)[0], "delta", 1e-12);
        GroupProofs.AssertStaticForms(layout, tensors, target, model);
    }

    [Theory, MemberData(nameof(SomeVariants))]
    public void A_mix_is_what_it_says_of_itself(string name, Start start, bool isDecomposed, DropoutSite site)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var layout = UnlistedMethods.All[name](Spec(start, isDecomposed, site), model);
        using var members = new StackedMembers(layout, model, [0, 1], ScalarType.Float64);
        LayerTensors Of(int member) => members.Stack.Member(member).Of(layout.Targets[0]);

        GroupProofs.AssertMixIsWhatItSays(layout, Of(0), Of(1), layout.Targets[0]);
    }

    [Fact]
    public void Sides_that_are_computed_are_those_of_the_formula_in_the_batched_frame()
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var layout = UnlistedMethods.All[Composed](Spec(Start.Anchored, false, DropoutSite.None) with { TargetModules = [Module] }, model);
        using var frame = new FramedLayer(
            [.. Enumerable.Range(0, 3).Select(member => StackedMembers.Adapter(layout, member))],
            model.Frozen(layout.Targets[0].Layer), dtype: ScalarType.Float64);
        var (inputs, cotangents) = GroupProofs.RaggedRows(layout.Targets[0], ScalarType.Float64);

        var trained = frame.Run(inputs, cotangents);

        for (var member = 0; member < 3; member++)
        {
            var adapter = frame.Stack.Member(member);
            var now = layout.Roles.ToDictionary(
                static role => role.Name, role => adapter.Of(layout.Targets[0])[role.Name].clone().requires_grad_(),
                StringComparer.Ordinal);
            var x = inputs[member].clone().requires_grad_();
            var delta = Formula(Composed, new(role => now[role], static _ => null))
                - Formula(Composed, adapter.Of(layout.Targets[0]).AtStart());
            var y = x.mm(model.WeightOf(layout.Targets[0].Layer).Plus(delta * Living.Of(layout.Targets[0].Scaling)).t());
            (y * cotangents[member]).sum().backward();
            Autograd.AssertClose(y.detach(), trained[member].Output, "output", 1e-12);
            Autograd.AssertClose(x.grad!, trained[member].InputGradient, "input", 1e-12);
            foreach (var (role, leaf) in now)
            {
                var gradient = frame.Stack.GradientOf(member, AdapterTensor.NameOf(Module, role))!;
                Autograd.AssertClose(leaf.grad![0], gradient, $"{role} of member {member}", 1e-10);
            }
        }
    }

    [Fact]
    public void A_core_learns_from_an_anchored_start_with_both_factors_frozen()
    {
        using var model = TinyLlama.Create();
        var layout = UnlistedMethods.All[Cored](Spec(Start.Anchored, false, DropoutSite.None) with { Heads = 2 }, model);
        using var members = new StackedMembers(layout, model, [0, 1, 2], away: 0);
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        var packing = Packing.Of(Autograd.Ragged, CPU);
        var optimizer = GroupProofs.Optimizer(members.Stack, 3);
        var before = GroupProofs.Values(members.Stack);
        var losses = new List<float[]>();
        for (var step = 0; step < 4; step++)
        {
            members.Stack.ZeroGradients();
            losses.Add(PackedLoss.Gradients(model, packing, members.Stack.Slice(0, 3), workspace).data<float>().ToArray());
            optimizer.Step([3e-2, 3e-2, 3e-2]);
        }

        Assert.All(layout.Tensors.Where(static tensor => tensor.Trains), static tensor => Assert.Equal("core", tensor.Role.Name));
        Assert.All(before.Zip(GroupProofs.Values(members.Stack)), static pair =>
        {
            var isCore = pair.First.Key.Name.EndsWith("core", StringComparison.Ordinal);
            Assert.Equal(!isCore, pair.First.Value.SequenceEqual(pair.Second.Value));
        });
        for (var member = 0; member < 3; member++)
            Assert.True(losses[^1][member] < losses[0][member], $"member {member}: {losses[0][member]} to {losses[^1][member]}");
    }

    [Fact]
    public void A_gate_is_no_part_of_the_anchored_start()
    {
        using var model = TinyLlama.Create();
        var layout = UnlistedMethods.All[PerSequence](Spec(Start.Anchored, false, DropoutSite.None), model);

        Assert.Equal(["A", "B"], layout.Roles.Where(role => layout.HasStart(role.Name)).Select(static role => role.Name));
    }

    // dW / s by the definition, in operations for one member.
    private static Tensor Formula(string name, LayerTensors tensors)
    {
        Tensor Of(string role) => tensors[role][0];
        if (name == Composed) return Of("C")[0].mm(Of("Q")).Plus(Of("U").mm(Of("V")).mm(Of("P").tanh()));
        return Of("B")[0].mm(Of("core")[0]).mm(Of("A")).Plus(Of("B")[1].mm(Of("core")[1]).mm(Of("A")));
    }

    private static AdapterSpec Spec(Start start, bool isDecomposed, DropoutSite site) => new()
    {
        Method = "unlisted", Rank = 4, Alpha = 6, Start = start, Decomposed = isDecomposed,
        Dropout = site == DropoutSite.None ? Dropout.None : new(site, MaskSharing.PerHead, 0.3),
    };
}
