using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Adapters.Combination;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>
/// What holds for every method of the catalogue, on models whose layers are not square. A method that is added there is tested here at
/// once; what a method's own values do is shown by <see cref="NegativeControlTests"/>.
/// </summary>
public sealed class ConformanceTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly TemporaryFolder _folder = new();
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly CausalLanguageModel _model = TinyLlama.Create();
    private readonly Tensor _ids = TinyLlama.Ids(1, 5, 9, 30, 17, 4, 4, 28);

    public static TheoryData<string> Methods => [.. AdapterCatalog.Methods.Keys];

    public static TheoryData<string> StaticMethods => Those(static spec => spec.IsStatic);

    /// <summary>Those that combine with others: a decomposed weight is refused, and tested where combining is.</summary>
    public static TheoryData<string> PlainMethods => Those(static spec => !spec.Decomposed);

    public static TheoryData<string> MethodsWithDropout => Those(static spec => spec.Dropout.Site != DropoutSite.None);

    public static TheoryData<string> PerHeadMethods => Those(static spec => spec is { Heads: > 1, Dropout.Masks: MaskSharing.PerHead });

    public static TheoryData<string> HiddenDropoutMethods => Those(static spec => spec.Dropout.Site == DropoutSite.Hidden);

    public void Dispose()
    {
        _model.Dispose();
        _scope.Dispose();
        _tiny.Dispose();
        _folder.Dispose();
    }

    [Theory, MemberData(nameof(Methods))]
    public void A_fresh_adapter_changes_nothing(string method)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));

        var (expected, actual) = (Logits(_model, null), Logits(_model, AdapterPass.Evaluating(Fresh(plan), _model)));

        if (plan.Adapter.Start == Start.Exact) Assert.Equal(expected, actual);
        else Close.Assert(expected, actual, method, 1e-5, 0);
    }

    [Theory, MemberData(nameof(Methods))]
    public void Gradients_of_ragged_members_are_those_of_autograd_on_all_layers_that_the_method_can_be_on(string method)
    {
        foreach (var family in (string[])["llama", "gpt_neox"])
        {
            using var model = TinyLlama.Create(TinyModels.Configs[family], ScalarType.Float64);
            var everywhere = Everywhere(method, model);
            void AssertSame(AdapterSpec spec) =>
                Autograd.AssertSame(model, StackedMembers.LayoutOf(spec, model), ScalarType.Float64, 1e-10);
            AssertSame(everywhere with { Dropout = Dropout.None, Objectives = [] });
            // Training gives the LM head the rows with loss alone, so its masks, and what is asked of its rows, are not those of the plain
            // operations.
            AssertSame(everywhere with
            {
                ExcludeModules = everywhere.Routing.SeesSequences ? [] : [model.LmHead.Module],
            });
        }
    }

    [Theory, MemberData(nameof(Methods))]
    public void A_member_in_a_group_trains_as_it_does_alone(string method)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var spec = Everywhere(method, model);
        GroupProofs.AssertAlone(model, StackedMembers.LayoutOf(spec, model), ScalarType.Float64, 1e-9);
        GroupProofs.AssertAlone(_model, StackedMembers.LayoutOf(spec, _model), ScalarType.Float32, 1e-3);
    }

    [Theory, MemberData(nameof(Methods))]
    public void Padding_has_no_influence(string method) =>
        GroupProofs.AssertPaddingIsUnseen(_model, StackedMembers.LayoutOf(Everywhere(method, _model), _model));

    [Theory, MemberData(nameof(MethodsWithDropout))]
    public void Masks_of_clients_layers_rounds_and_plans_are_independent_and_repeat(string method)
    {
        var spec = WithDropout(method);
        float[] Drawn(string module, ulong seed, int round, string client)
        {
            using var masks = new LayerMasks(spec, module, seed, round, client);
            return [.. masks.Draw([1000, 4], CPU).SelectMany(TensorData.Values)];
        }

        var one = Drawn("layer", 1, 1, "one");

        Assert.Equal(one, Drawn("layer", 1, 1, "one"));
        foreach (var other in (float[][])
            [Drawn("other", 1, 1, "one"), Drawn("layer", 2, 1, "one"), Drawn("layer", 1, 2, "one"), Drawn("layer", 1, 1, "two")])
            AssertIndependent(spec, one, other);
    }

    [Theory, MemberData(nameof(MethodsWithDropout))]
    public void The_next_step_s_masks_are_others_and_a_retry_of_the_round_repeats_them(string method)
    {
        var layout = StackedMembers.LayoutOf(WithDropout(method), _model);
        List<float[]> Round()
        {
            using var members = new StackedMembers(layout, _model, [0]);
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            var (packing, gradients) = (Packing.Of([[StackedMembers.Row(9)]], CPU), new List<float[]>());
            for (var step = 0; step < 2; step++)
            {
                members.Stack.ZeroGradients();
                PackedLoss.Gradients(_model, packing, members.Stack.Slice(0, 1), workspace);
                gradients.Add(GroupProofs.Gradients(members.Stack));
            }

            return gradients;
        }

        var first = Round();

        Assert.NotEqual(first[0], first[1]);
        Assert.Equal(first, Round());
    }

    [Theory, MemberData(nameof(PerHeadMethods))]
    public void Heads_draw_independent_masks(string method)
    {
        var spec = TinyFederation.TinyCatalogue(method);
        using var masks = new LayerMasks(spec, "layer", 1, 1, "one");
        var drawn = masks.Draw([1000, 4], CPU).Select(TensorData.Values).ToList();

        Assert.Equal(spec.Heads, drawn.Count);
        for (var i = 0; i < drawn.Count; i++)
        {
            Assert.Equal(1 - spec.Dropout.P, drawn[i].Count(static value => value != 0) / 4000.0, 0.03);
            for (var j = 0; j < i; j++) AssertIndependent(spec, drawn[i], drawn[j]);
        }
    }

    [Theory, MemberData(nameof(HiddenDropoutMethods))]
    public void A_masked_slot_gives_no_gradient_to_its_row_of_A_through_that_head(string method)
    {
        var spec = TinyFederation.TinyCatalogue(method) with { Heads = 1, Dropout = Dropout.Hidden(MaskSharing.PerHead, 0.5) };
        using var masks = new LayerMasks(spec, "layer", 3, 1, "one");
        using var same = new LayerMasks(spec, "layer", 3, 1, "one");
        using var generator = new Generator(1, CPU);
        Tensor Draw(params long[] shape) => empty(shape).normal_(0, 1, generator);
        var mask = TensorData.Values(Assert.Single(same.Draw([1, 4], CPU)));
        var layer = new OneLayer(
            spec, new("layer", 12, 7), role => Draw([.. OneLayer.ShapeOf(spec, new("layer", 12, 7), role)]));
        var a = layer["A"].requires_grad_();

        layer.Forward(Draw(1, 12), zeros(1, 7), masks).Squared().sum().backward();

        var rows = TensorData.Values(a.grad!.abs().sum([1]));
        Assert.Contains(0f, mask);
        Assert.Equal(mask.Select(static value => value == 0), rows.Select(static value => value == 0));
    }

    [Theory, MemberData(nameof(StaticMethods))]
    public void A_merged_weight_gives_the_logits_of_the_adapter_beside_it(string method)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));
        var adapter = Moved(plan);
        var weights = TinyLlama.Arrays(TinyLlama.Config).ToDictionary(
            static entry => entry.Key, static entry => TensorData.OnDevice(entry.Value, CPU), StringComparer.Ordinal);
        using var inference = no_grad();
        foreach (var target in adapter.Layout.Targets)
        {
            var tensors = adapter.Of(target);
            var moved = weights[target.Module + ".weight"].Plus(
                Bottleneck.Delta(adapter.Layout.MethodOf(target), tensors, target.Scaling)[0]);
            weights[target.Module + ".weight"] = adapter.Layout.Method.HasColumns
                ? moved * adapter.Layout.Method.Columns(tensors, Decomposed.Norms(moved))[0].unsqueeze(1)
                : moved;
        }

        using var merged = ModelRegistry.Create(
            TinyLlama.Config,
            weights.ToDictionary(static entry => entry.Key, static entry => entry.Value.DetachFromDisposeScope(), StringComparer.Ordinal));
        var expected = Logits(_model, AdapterPass.Evaluating(adapter, _model));
        Close.Assert(expected, Logits(merged, null), method, 1e-5, 1e-5);
        Assert.NotEqual(Logits(_model, null), expected);
    }

    [Theory, MemberData(nameof(Methods))]
    public void The_static_forms_are_those_of_the_matrices(string method)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var layout = StackedMembers.LayoutOf(TinyFederation.TinyCatalogue(method), model);
        using var members = new StackedMembers(layout, model, [0], ScalarType.Float64);
        var adapter = members.Stack.Member(0);

        foreach (var target in layout.Targets) GroupProofs.AssertStaticForms(layout, adapter.Of(target), target, model);
    }

    [Theory, MemberData(nameof(Methods))]
    public void A_mix_is_what_it_says_of_itself(string method)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var layout = StackedMembers.LayoutOf(TinyFederation.TinyCatalogue(method), model);
        using var members = new StackedMembers(layout, model, [0, 1], ScalarType.Float64);
        LayerTensors Of(int member) => members.Stack.Member(member).Of(layout.Targets[0]);

        GroupProofs.AssertMixIsWhatItSays(layout, Of(0), Of(1), layout.Targets[0]);
        Assert.Equal(layout.Spec.IsStatic, layout.Method.IsStatic);
    }

    [Theory, MemberData(nameof(Methods))]
    public void An_adapter_saved_and_loaded_gives_the_same_bits(string method)
    {
        foreach (var spec in Owned(method))
        {
            var plan = _tiny.Plan(spec);
            var adapter = Moved(plan);
            var (shared, head) = (Saved(Aggregated(plan, adapter)), Saved(adapter.State(Scope.Client)));

            var loaded = PlacedAdapter.Create(AdapterFactory.Of(plan, Layout(plan.Adapter), plan.Clients[0], shared, head), CPU);

            var logits = Logits(_model, AdapterPass.Evaluating(loaded, _model));
            Assert.Equal(Logits(_model, AdapterPass.Evaluating(adapter, _model)), logits);
            Assert.NotEqual(Logits(_model, null), logits);
        }
    }

    [Theory, MemberData(nameof(StaticMethods))]
    public void The_exported_adapter_gives_the_same_logits(string method)
    {
        foreach (var spec in Owned(method))
        {
            var plan = _tiny.Plan(spec);
            var adapter = Moved(plan);

            var peft = PeftAdapter.Read(Exported(plan, adapter));

            var layout = peft.On(_model.AdaptableLayers);
            var plain = PlacedAdapter.Create(new(layout, peft.Tensors, null), CPU);
            var expected = Logits(_model, AdapterPass.Evaluating(adapter, _model));
            Close.Assert(expected, Logits(_model, AdapterPass.Evaluating(plain, _model)), method, 1e-5, 1e-5);
            Assert.Equal(_model.Linears, layout.Targets.Select(static target => target.Layer));
        }
    }

    [Theory, MemberData(nameof(PlainMethods))]
    public void A_single_exported_adapter_combined_with_weight_1_is_itself(string method)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));
        var exported = Exported(plan, Moved(plan));
        var expected = Logits(exported);

        foreach (var combination in AdapterCombination.Methods)
        {
            var (combined, _) = AdapterCombination.Combine([(exported, 1)], new() { Method = combination, Density = 1, Seed = 5 });
            Close.Assert(expected, Logits(Save(combined, combination)), $"{method} by {combination}", 1e-4, 1e-4);
        }
    }

    [Theory, MemberData(nameof(Methods))]
    public void Every_tensor_that_trains_moves_unless_its_formula_gives_it_no_gradient(string method) => AssertMoves(method, _model, false);

    [Theory, MemberData(nameof(Methods))]
    public void So_it_does_over_a_quantized_base_with_and_without_checkpoints(string method)
    {
        using var model = StoredModel.Tiny(WeightStorage.Nf4);
        foreach (var checkpoints in (bool[])[false, true]) AssertMoves(method, model, checkpoints);
    }

    private static void AssertMoves(string method, CausalLanguageModel model, bool checkpoints)
    {
        foreach (var spec in (AdapterSpec[])
            [TinyFederation.TinyCatalogue(method), TinyFederation.TinyCatalogue(method) with { Dropout = Dropout.None }])
        {
            var layout = StackedMembers.LayoutOf(spec, model);
            using var members = new StackedMembers(layout, model, [0, 1, 2], away: 0);
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            var (packing, optimizer) = (Packing.Of(Autograd.Ragged, CPU), GroupProofs.Optimizer(members.Stack, 3));
            var start = GroupProofs.Values(members.Stack);
            // Heads that begin alike are alike after one step of Adam too, and a gate between them waits for the next.
            var learning = new HashSet<(int Member, string Name)>();
            for (var step = 1; step <= 3; step++)
            {
                members.Stack.ZeroGradients();
                PackedLoss.Gradients(model, packing, members.Stack.Slice(0, 3), workspace, checkpoints);
                var reached = Enumerable.Range(0, 3).SelectMany(member => Reached(members.Stack, member)).ToList();
                foreach (var (member, info) in reached) learning.Add((member, info.Name));
                if (step == 1)
                {
                    var expected = layout.Tensors.Where(info => info.Trains && !IsFlatAtStart(spec, info)).Select(static info => info.Name);
                    Assert.Equal(
                        expected.Order(StringComparer.Ordinal),
                        reached.Select(static tensor => tensor.Info.Name).Distinct().Order(StringComparer.Ordinal));
                }

                optimizer.Step([1e-2, 1e-2, 1e-2]);
            }

            Assert.Equal(3 * layout.Tensors.Count(static info => info.Trains), learning.Count);
            AssertMoved(layout, start, GroupProofs.Values(members.Stack));
        }
    }

    [Theory, MemberData(nameof(Methods))]
    public void What_does_not_train_stays_as_it_is_under_weight_decay(string method)
    {
        // Each of the method's tensors in turn beside those that the method itself freezes.
        foreach (var role in TinyFederation.TinyCatalogue(method).Roles)
        {
            var spec = TinyFederation.TinyCatalogue(method)
                .With(role.Name, static tensor => tensor with { Trains = false, Scope = Scope.Client });
            if (!spec.Tensors.Values.Any(static tensor => tensor is { Trains: true, Scope: not Scope.Seed })) continue;
            var layout = StackedMembers.LayoutOf(spec, _model);
            using var members = new StackedMembers(layout, _model, [0, 1, 2]);
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            var optimizer = GroupProofs.Optimizer(members.Stack, 3, decay: 0.1);
            var start = GroupProofs.Values(members.Stack);

            PackedLoss.Gradients(_model, Packing.Of(Autograd.Ragged, CPU), members.Stack.Slice(0, 3), workspace);
            optimizer.Step([1e-2, 1e-2, 1e-2]);

            AssertMoved(layout, start, GroupProofs.Values(members.Stack));
        }
    }

    // Tensors that a gradient has come to; where a start is subtracted, what cancels leaves rounding.
    private static IEnumerable<(int Member, AdapterTensor Info)> Reached(AdapterStack stack, int member)
    {
        foreach (var layer in stack.Layout.Tensors.Where(static info => info.Trains).GroupBy(static info => info.Target))
        {
            var norms = layer.ToDictionary(static info => info, info => stack.GradientOf(member, info.Name)!.norm().item<float>());
            var least = stack.Layout.Spec.Start == Start.Anchored ? 1e-6 * norms.Values.Max() : 0;
            foreach (var (info, norm) in norms.Where(entry => entry.Value > least)) yield return (member, info);
        }
    }

    // Heads of zero hide everything else that is multiplied by them; live heads that are as they began are hidden from a gate, unless
    // dropout tells them from their start.
    private static bool IsFlatAtStart(AdapterSpec spec, AdapterTensor tensor)
    {
        var isGate = spec.Routing.Roles.Any(role => role.Name == tensor.Role.Name);
        if (isGate && spec.Objectives.OfType<Objective.GateLoss>().Any()) return false; // it needs no head
        if (spec.Start == Start.Anchored) return isGate && spec.Dropout.P == 0;
        var zero = spec.Tensors.Where(static entry => entry.Value.Init.Law == InitLaw.Zero).Select(static entry => entry.Key).ToList();
        return tensor.Role.IsDrawn && (isGate || !zero.Contains(tensor.Role.Name));
    }

    private static void AssertMoved(
        AdapterLayout layout, IReadOnlyList<KeyValuePair<(int Member, string Name), float[]>> start,
        IReadOnlyList<KeyValuePair<(int Member, string Name), float[]>> end)
    {
        var moves = layout.Tensors.ToDictionary(
            static info => info.Name, static info => info.Trains || info.Role.IsCounted, StringComparer.Ordinal);
        Assert.All(start.Zip(end), pair =>
        {
            var ((_, name), before) = pair.First;
            Assert.Equal((name, moves[name]), (pair.Second.Key.Name, !before.SequenceEqual(pair.Second.Value)));
        });
    }

    // A zero here says nothing of a zero there.
    private static void AssertIndependent(AdapterSpec spec, float[] one, float[] other)
    {
        var keep = 1 - spec.Dropout.P;
        Assert.Equal(one.Length, other.Length);
        Assert.Equal(keep * keep, one.Zip(other).Count(static pair => pair.First != 0 && pair.Second != 0) / (double)one.Length, 0.04);
    }

    private static AdapterSpec WithDropout(string method)
    {
        var spec = TinyFederation.TinyCatalogue(method);
        return spec with { Dropout = spec.Dropout with { P = 0.3 } };
    }

    // On every layer, with embedding and LM head where the method's parts can be there.
    private static AdapterSpec Everywhere(string method, CausalLanguageModel model)
    {
        var spec = TinyFederation.TinyCatalogue(method);
        var keepsOff = spec.Parts.Any(static part => part.KeepsOffEmbeddings is not null);
        var layers = model.AdaptableLayers.Where(layer => layer.Kind switch
        {
            LayerKind.Embedding => !keepsOff,
            LayerKind.LmHead => !spec.Routing.SeesSequences,
            _ => true,
        });
        return spec with { TargetModules = [.. layers.Select(static layer => layer.Module)] };
    }

    private static TheoryData<string> Those(Predicate<AdapterSpec> which) =>
        [.. AdapterCatalog.Methods.Where(entry => which(entry.Value.Spec)).Select(static entry => entry.Key)];

    private PlacedAdapter Fresh(FederationPlan plan)
    {
        var layout = Layout(plan.Adapter);
        AdapterState shared = new(
        [
            .. layout.InitialShared(plan.Seed),
            .. layout.Initial(plan.Seed, client: null, static tensor => tensor.Scope == Scope.Task, plan.Clients[0].Task),
        ]);
        return PlacedAdapter.Create(AdapterFactory.Of(plan, layout, plan.Clients[0], shared, null), CPU);
    }

    private AdapterLayout Layout(AdapterSpec spec) => StackedMembers.LayoutOf(spec, _model);

    // Every tensor that moves, some way from its start.
    private PlacedAdapter Moved(FederationPlan plan)
    {
        var adapter = Fresh(plan);
        using var generator = new Generator(11, CPU);
        foreach (var parameter in adapter.Parameters.Where(static parameter => parameter.Info.Trains || parameter.Info.Role.IsCounted))
            parameter.Value.detach().add_(empty(parameter.Value.shape).normal_(0, 0.3, generator), Living.One);
        return adapter;
    }

    // With heads that stay with their client, and with heads of its task.
    private static AdapterSpec[] Owned(string method) =>
        [TinyFederation.TinyCatalogue(method), TinyFederation.OfTasks(TinyFederation.TinyCatalogue(method))];

    private static AdapterState Aggregated(FederationPlan plan, PlacedAdapter adapter)
    {
        var constants = adapter.Layout.Constants.Select(static constant => constant.Name).ToHashSet(StringComparer.Ordinal);
        var kept = adapter.Layout.InitialShared(plan.Seed).Where(entry => constants.Contains(entry.Key));
        return new([.. adapter.State(Scope.Job), .. adapter.State(Scope.Task), .. kept]);
    }

    private string Exported(FederationPlan plan, PlacedAdapter adapter) => Save(
        PeftExporter.Export(
            plan, Layout, given: null, plan.Clients[0], Aggregated(plan, adapter), adapter.State(Scope.Client), new() { Nearest = true }),
        "exported");

    private string Save(ExportedAdapter adapter, string name)
    {
        var folder = Directory.CreateDirectory(_folder.File(name)).FullName;
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), adapter.ConfigJson);
        using var stream = File.Create(Path.Combine(folder, "adapter_model.safetensors"));
        SafetensorsCodec.Write(adapter.Tensors, new Dictionary<string, string>(), stream);
        return folder;
    }

    private static AdapterState Saved(AdapterState state)
    {
        using var stream = new MemoryStream();
        SafetensorsCodec.Write(state, new Dictionary<string, string>(), stream);
        return SafetensorsCodec.Read(stream.ToArray(), "state");
    }

    private float[] Logits(string folder)
    {
        var peft = PeftAdapter.Read(folder);
        return Logits(
            _model, AdapterPass.Evaluating(PlacedAdapter.Create(new(peft.On(_model.AdaptableLayers), peft.Tensors, null), CPU), _model));
    }

    private float[] Logits(CausalLanguageModel model, ILayerAdapters? adapters)
    {
        using var inference = no_grad();
        return TensorData.Values(model.LogitsOf(model.Hidden(_ids, null, adapters), adapters));
    }
}
