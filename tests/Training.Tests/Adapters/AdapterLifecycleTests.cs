using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Golden;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>What a lifecycle makes of a committed state before a round begins with it.</summary>
public sealed class AdapterLifecycleTests : IDisposable
{
    private const ulong Seed = 5;

    private static readonly LinearShape[] Layers = [new("layers.0.attn.q", 3, 2), new("layers.1.mlp.up", 4, 5)];
    private static readonly ClientSpec Client = TinyFederation.Client("one");

    private readonly TinyFederation _tiny = new();
    private readonly DisposeScope _scope = NewDisposeScope();

    public static TheoryData<string> Folders => Fixtures.Of("method/lori/extract_mask");

    public void Dispose()
    {
        _scope.Dispose();
        _tiny.Dispose();
    }

    /// <summary>
    /// COLA (arXiv 2401.04151): y = s (B1 A1 + B2 A2) x. With s = 2, A1 = (1, 2), B1 = (3, 4) merged after round 1 and A2 = (1, 0),
    /// B2 = (0, 5) trained in round 2, x = (1, 1) gives B1 A1 x = (9, 12) and B2 A2 x = (0, 5), so 2 (9, 17) = (18, 34).
    /// </summary>
    [Fact]
    public void A_chain_adds_its_frozen_link_and_its_live_one()
    {
        var chain = Chain("1", new() { Rank = 1, Alpha = 2, Dropout = Dropout.None });
        var shape = new LinearShape("layer", 2, 2);
        var before = AdapterLayout.For(chain.At(1, 4), [shape]);
        AdapterState trained = new([Of("layer.A", [1, 2], 1, 2), Of("layer.B", [1, 2, 1], 3, 4)]);
        var after = AdapterLayout.For(chain.At(2, 4), [shape]);

        var (state, begun) = AdapterLifecycle.Advance(after, trained, Scope.Job, Seed, client: null);

        Assert.Equal(2, before.Tensors.Count);
        Assert.Equal([1, 2], state["layer.linksA"].Data);
        Assert.Equal([3, 4], state["layer.linksB"].Data);
        Assert.Equal([0, 0], state["layer.B"].Data);
        Assert.Equal(["layer.A", "layer.B"], begun.Order());
        var layer = new OneLayer(chain.At(2, 4), shape, role => role switch
        {
            "A" => tensor(new float[,] { { 1, 0 } }),
            "B" => tensor(new float[,,] { { { 0 }, { 5 } } }),
            _ => TensorData.OnDevice(state["layer." + role], CPU),
        });
        Close.Assert([18, 34], TensorData.Values(layer.Forward(ones(1, 2), zeros(1, 2), null)), "dW x", 1e-6, 0);
    }

    [Fact]
    public void Merging_changes_no_output_and_a_second_time_it_changes_nothing()
    {
        var chain = Chain("all", new() { Rank = 2, Alpha = 3, Dropout = Dropout.None });
        var state = Moved(AdapterLayout.For(chain.At(1, 9), Layers), Scope.Job, client: null);
        for (var round = 2; round <= 4; round++)
        {
            var layout = AdapterLayout.For(chain.At(round, 9), Layers);
            var (next, _) = AdapterLifecycle.Advance(layout, state, Scope.Job, Seed, client: null);

            layout.Check(next, Scope.Job, "state");
            foreach (var (now, then) in layout.Targets.Zip(AdapterLayout.For(chain.At(round - 1, 9), Layers).Targets))
            {
                Close.Assert(
                    Delta(chain.At(round - 1, 9), state, then), Delta(chain.At(round, 9), next, now), $"round {round}", 1e-5, 0);
            }

            Assert.Same(next, AdapterLifecycle.Advance(layout, next, Scope.Job, Seed, client: null).State);
            Assert.NotEqual(state[Layers[0].Module + ".A"].Data, next[Layers[0].Module + ".A"].Data);
            state = Moved(layout, next);
        }
    }

    [Theory, InlineData(Scope.Job), InlineData(Scope.Client), InlineData(Scope.Seed)]
    public void A_head_that_was_away_for_rounds_catches_up_with_the_chain(Scope scopeA)
    {
        var chain = Chain("all", new() { Rank = 2 }, static spec => spec with { Weighting = Weighting.Uniform })
            .With("A", a => a with { Scope = scopeA, Trains = scopeA != Scope.Seed })
            .With("B", static heads => heads with { Scope = Scope.Client });
        AdapterLayout At(int round) => AdapterLayout.For(chain.At(round, 9), Layers);
        var head = Moved(At(1), Scope.Client, Client);
        AdapterState Advanced(AdapterState state, int round) =>
            AdapterLifecycle.Advance(At(round), state, Scope.Client, Seed, Client).State;

        var late = Advanced(head, 4);

        At(4).Check(late, Scope.Client, "head");
        var step = Advanced(Advanced(Advanced(head, 2), 3), 4);
        Assert.Equal(step.Keys.Order(), late.Keys.Order());
        Assert.All(step, entry => Assert.Equal(entry.Value.Data, late[entry.Key].Data));
        // What it trained is the first link's; while it was away it trained nothing.
        var links = late[Layers[0].Module + ".linksB"];
        Assert.Equal([1, 2, 6], links.Shape);
        var trained = head[Layers[0].Module + ".B"].Data;
        Assert.Equal([.. trained[..2], 0, 0, 0, 0, .. trained[2..], 0, 0, 0, 0], links.Data);
        if (scopeA == Scope.Job) return;
        // The factor that it trained against stands beside it, and those of the links after it are not the first once more.
        var factors = late[Layers[0].Module + ".linksA"].Data;
        Assert.Equal(scopeA == Scope.Client ? head[Layers[0].Module + ".A"].Data
            : At(1).Initial(Seed, Client, static _ => true)[Layers[0].Module + ".A"].Data, factors[..6]);
        Assert.NotEqual(factors[..6], factors[6..12]);
        Assert.NotEqual(factors[6..12], factors[12..]);
    }

    [Fact]
    public void Moments_of_what_began_again_are_dropped_and_others_are_kept()
    {
        var chain = Chain("2", new() { Rank = 2 }).WithEach(static tensor => tensor with { Scope = Scope.Client });
        AdapterLayout At(int round) => AdapterLayout.For(chain.At(round, 9), Layers);
        AdapterState Remembered(int round) => AdamW.AtRoundEnd(
            new(At(round).Tensors.Where(static tensor => tensor.Trains)
                .Select(static tensor => KeyValuePair.Create(tensor.Name + ".m",
                    new NamedArray(tensor.Shape, new float[NamedArray.Count(tensor.Shape)])))),
            At(round), isAlone: true);
        int Left(int from, int to) => AdamW.AtRoundStart(Remembered(from), At(to), Moments.KeepHeads, isAlone: true).Count;

        Assert.Equal(4, Left(from: 1, to: 2));
        Assert.Equal(0, Left(from: 2, to: 3));
        Assert.Equal(0, Left(from: 1, to: 5));
        Assert.Equal(4, Left(from: 3, to: 4));
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void Masks_of_every_span_are_the_reference_s(string folder)
    {
        using var numbers = new MethodNumbers(folder);
        var heads = LoriNumbers.Heads(numbers);
        var spans = numbers.Names.Where(static name => name.StartsWith("mask.", StringComparison.Ordinal))
            .Select(static name => name.Split('.')).Select(static parts => (Span: parts[1], Sparsity: $"{parts[2]}.{parts[3]}")).Distinct();
        foreach (var (span, sparsity) in spans)
        {
            var masked = LoriNumbers.Spec(numbers, Enum.Parse<MaskSpan>(span, ignoreCase: true), double.Parse(sparsity)).At(2, 3);
            var layout = AdapterLayout.For(masked, LoriNumbers.Layers(numbers));

            var (state, begun) = AdapterLifecycle.Advance(layout, heads, Scope.Client, Seed, Client);

            foreach (var mask in layout.Tensors.Where(static tensor => tensor.Role.Name == HeadMask.Role))
            {
                var expected = numbers.Bytes($"mask.{span}.{sparsity}.{LoriNumbers.Saved(mask.Target)}.lora_B.default.weight").ToArray();
                Assert.Equal(expected.Select(static kept => (float)kept), state[mask.Name].Data);
                Assert.All(state[$"{mask.Target.Module}.B"].Data, static value => Assert.Equal(0, value));
            }

            Assert.Equal(heads.Count, begun.Count);
            Assert.Same(state, AdapterLifecycle.Advance(layout, state, Scope.Client, Seed, Client).State);
        }
    }

    [Fact]
    public void Ties_at_the_threshold_are_kept_and_a_span_is_never_left_without_an_entry()
    {
        Assert.Equal(2, AdapterLifecycle.Threshold([1, -2, 2, 0], 0.75));
        Assert.Equal(3, AdapterLifecycle.Threshold([1, -3], 0.9));
    }

    [Theory, InlineData("chain-of-lora"), InlineData("lori-s"), InlineData("rolora")]
    public async Task A_method_with_a_lifecycle_trains_scores_and_exports_in_every_round(string method)
    {
        foreach (var spec in (AdapterSpec[])[TinyFederation.TinyCatalogue(method), TinyFederation.TinyCatalogue(method).Unshared()])
        {
            var plan = _tiny.Plan(spec) with { Clients = [TinyFederation.Client("one")], Strategy = new() { Rounds = 5 } };
            using var trainer = _tiny.Trainer();
            var (shared, member) = (await trainer.InitialSharedAsync(plan), new GroupMember { Client = plan.Clients[0] });
            for (var round = 1; round <= 5; round++)
            {
                // Clients are sent what was committed; the coordinator adds their updates to what the round begins with.
                var group = new TrainingGroup { Plan = plan, Round = round, Shared = shared, Members = [member] };
                shared = (await trainer.AdvanceAsync(plan, round, shared, task: null)).State;
                var result = (await trainer.TrainAsync(group))[0];
                Assert.Null(result.Failure);
                var now = plan.AdapterAt(round);
                Assert.Equal(shared.Keys.Where(name => now.Moves(name[(name.LastIndexOf('.') + 1)..])).Order(), result.Update.Keys.Order());
                shared = new(shared.Select(entry => result.Update.TryGetValue(entry.Key, out var moved)
                    ? KeyValuePair.Create(entry.Key,
                        entry.Value with { Data = [.. entry.Value.Data.Zip(moved.Data, static (a, b) => a + b)] })
                    : entry));
                member = member with { Head = result.Head, Optimizer = result.Optimizer };
                var scored = (await trainer.EvaluateAsync(group with { Shared = shared, Members = [member] }))[0];
                Assert.Null(scored.Failure);
                var exported = new Training.Adapters.Peft.PeftExporter(_tiny.Root).Export(plan, round, plan.Clients[0],
                    shared, member.Head);
                Assert.All(
                    exported.Tensors.Where(static entry => entry.Key.Contains("lora_A", StringComparison.Ordinal)),
                    entry => Assert.Equal(4 * (now.Links + 1), entry.Value.Shape[0]));
                Assert.Equal(method == "chain-of-lora" ? (round - 1) / 2 : 0, now.Links);
                if (!now.IsMasked) continue;
                var entries = member.Head!.Where(static entry => entry.Key.EndsWith(".mask", StringComparison.Ordinal))
                    .SelectMany(entry => entry.Value.Data.Zip(member.Head![entry.Key[..^".mask".Length] + ".B"].Data)).ToList();
                Assert.All(entries, static pair => Assert.True(pair.First == 1 || pair.Second == 0));
                Assert.Contains(entries, static pair => pair.Second != 0);
            }
        }
    }

    [Theory, InlineData("chain-of-lora", 5), InlineData("lori-s", 2), InlineData("rolora", 2)]
    public void Gradients_and_static_forms_in_a_later_round_are_those_of_autograd(string method, int round)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var layout = StackedMembers.LayoutOf(TinyFederation.TinyCatalogue(method).At(round, 9), model);
        using var members = new StackedMembers(layout, model, [0, 1], ScalarType.Float64);

        Autograd.AssertSame(model, layout, ScalarType.Float64, 1e-10);
        GroupProofs.AssertAlone(model, layout, ScalarType.Float64, 1e-9);
        foreach (var target in layout.Targets) GroupProofs.AssertStaticForms(layout, members.Stack.Member(0).Of(target), target, model);
    }

    /// <summary>The closing phase of a run: what clients share is left as it is, and their heads train on.</summary>
    [Fact]
    public async Task In_a_closing_phase_heads_alone_train_and_nothing_leaves_a_client()
    {
        var closing = new LifecycleStep(RoundSet.Parse("last 1")!, new LifecycleAction.Train([LifecycleAction.Train.Heads]));
        var spec = TinyFederation.TinyCatalogue("fedsa-lora") with { Lifecycle = [closing] };
        foreach (var plan in (FederationPlan[])[_tiny.Plan(spec), _tiny.Plan(spec.Unshared())])
        {
            using var trainer = _tiny.Trainer();
            var group = await TinyFederation.GroupAsync(trainer, plan, "one");
            var before = (await trainer.TrainAsync(group))[0];
            group = group with { Round = 3, Members = [group.Members[0] with { Head = before.Head, Optimizer = before.Optimizer }] };

            var result = (await trainer.TrainAsync(group))[0];

            Assert.Null(result.Failure);
            Assert.Empty(result.Update);
            Assert.Equal(before.Head.Keys.Order(), result.Head.Keys.Order());
            Assert.All(result.Head, entry => Assert.Equal(
                entry.Key.EndsWith(".B", StringComparison.Ordinal), !entry.Value.Data.SequenceEqual(before.Head[entry.Key].Data)));
        }
    }

    private static AdapterSpec Chain(string after, AdapterSpec spec, Func<AdapterSpec, AdapterSpec>? change = null)
    {
        var chain = spec with { Lifecycle = [new(RoundSet.Parse(after)!, new LifecycleAction.MergeAndRedraw())] };
        return (change ?? (static same => same))(chain.WithEach(static tensor => tensor with { Scope = Scope.Job }));
    }

    private static KeyValuePair<string, NamedArray> Of(string name, long[] shape, params float[] values) => new(name, new(shape, values));

    private static AdapterState Moved(AdapterLayout layout, Scope scope, ClientSpec? client) =>
        Moved(layout, layout.Initial(Seed, client, tensor => tensor.Scope == scope));

    private static AdapterState Moved(AdapterLayout layout, AdapterState state)
    {
        using var generator = new Generator(9, CPU);
        var trains = layout.Tensors.Where(static tensor => tensor.Trains).Select(static tensor => tensor.Name).ToHashSet();
        return new(state.Select(entry => !trains.Contains(entry.Key) ? entry : KeyValuePair.Create(entry.Key, new NamedArray(
            entry.Value.Shape,
            [.. entry.Value.Data.Zip(TensorData.Values(randn(entry.Value.Data.Length, generator: generator)), static (a, b) => a + b)]))));
    }

    private static float[] Delta(AdapterSpec spec, AdapterState state, AdapterTarget target) => TensorData.Values(
        new OneLayer(spec, target.Layer, role => TensorData.OnDevice(state[$"{target.Module}.{role}"], CPU)).Delta());
}
