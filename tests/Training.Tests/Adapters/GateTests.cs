using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Adapters.Algebra.Gates;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>Gates that keep the largest: what they choose, what teaches them, and what balances them.</summary>
public sealed class GateTests : IDisposable
{
    private const string Module = "model.layers.1.mlp.down_proj";
    private readonly DisposeScope _scope = NewDisposeScope();

    public void Dispose() => _scope.Dispose();

    // x = (1, 2), A = I, cores P0 = (1 1), P1 = (2 0), P2 = (0 1), heads B0 = (1, 4), B1 = (2, 1), B2 = (9, 9), gate logits 0, ln 3, -5.
    // The two largest are those of heads 1 and 0, with the weights 3/4 and 1/4; P0 x = 3, P1 x = 2; s = 4 / 2. So y0 = 2 (3/4 2 2 + 1/4 1
    // 3) = 7.5 and y1 = 2 (3/4 1 2 + 1/4 4 3) = 9.
    [Fact]
    public void Experts_on_a_shared_subspace_give_the_numbers_worked_out_by_hand()
    {
        var spec = AdapterCatalog.Methods["malora"].Spec with
        {
            Rank = 2, Alpha = 4, Heads = 3, Core = new(CoreForm.Full, PerHead: true, Rank: 1), Dropout = Dropout.None,
        };
        var layer = new OneLayer(spec, new("layer", 2, 2), role => role switch
        {
            Roles.A => eye(2),
            Core.Role => tensor(new float[] { 1, 1, 2, 0, 0, 1 }, [3, 1, 2]),
            Roles.B => tensor(new float[] { 1, 4, 2, 1, 9, 9 }, [3, 2, 1]),
            _ => tensor(new[] { 0, 0, MathF.Log(3), 0, -5, 0 }, [3, 2]),
        });

        var y = layer.Forward(tensor(new float[] { 1, 2 }, [1, 2]), zeros(1, 2), null);

        Close.Assert([7.5f, 9], TensorData.Values(y), "y", 1e-6, 0);
    }

    [Fact]
    public void Of_equal_numbers_the_lower_place_is_chosen()
    {
        var numbers = tensor(new float[] { 1, 3, 3, 2, 3, 0, 0, 0, 0, 0, -1, -1, -2, -1, -1 }, [3, 5]);
        Assert.Equal([1, 2, 0, 1, 0, 1], Choice.Largest(numbers, 2).data<long>().ToArray().Select(static place => (int)place));
    }

    [Fact]
    public void All_heads_kept_are_a_softmax_router_and_one_that_is_kept_weighs_1_without_a_gradient_for_the_gate()
    {
        using var generator = new Generator(3, CPU);
        var logits = empty([1, 6, 4]).normal_(0, 1, generator).requires_grad_();
        Tensor Weights(int k, double temperature = 1) => new TopKGate(4, k, temperature, 0).Weights(
            None, new([KeyValuePair.Create(Routing.TopK.Gate, logits.unsqueeze(2))]), new(1, MemberRows.Whole(2, 3)));

        Close.Assert(TensorData.Values(logits.softmax(-1)), TensorData.Values(Weights(4)), "all kept", 1e-6, 0);
        Close.Assert(
            TensorData.Values(logits.div(Living.Of(20.0)).softmax(-1)), TensorData.Values(Weights(4, 20)), "at temperature 20", 1e-6, 0);
        Assert.All(TensorData.Values(Weights(1)), static weight => Assert.True(weight is 0 or 1));
        Assert.Equal((false, true), (Weights(1).requires_grad, Weights(2).requires_grad));
    }

    [Fact]
    public void The_gate_loss_of_a_batch_padded_to_twice_its_length_is_the_same_number()
    {
        using var generator = new Generator(3, CPU);
        var logits = empty([2, 6, 4]).normal_(0, 1, generator);
        IReadOnlyList<(int, int)>[] sequences = [[(0, 2), (2, 4)], [(0, 3)]];
        int[] labels = [3, 0], real = [6, 3];

        var padded = TopKGate.Loss(cat([logits, full([2, 6, 4], Living.Of(1e4))], 1), labels, new(12, real, sequences));

        var alone = TopKGate.Loss(logits, labels, new(6, real, sequences));
        Close.Assert(TensorData.Values(alone), TensorData.Values(padded), "padded", 1e-6, 0);
        var losses = logits.log_softmax(-1).neg();
        float Of(int member, params int[] rows) => rows.Average(row => losses[member, row, labels[member]].item<float>());
        Close.Assert([Of(0, 0, 2, 3, 4), Of(1, 0, 1)], TensorData.Values(alone), "rows that another follows", 1e-6, 0);
    }

    [Fact]
    public void A_member_whose_sequences_are_one_row_long_has_no_gate_loss() => Assert.Equal(
        [0f], TensorData.Values(TopKGate.Loss(ones([1, 2, 3]), [1], new(2, [2], [[(0, 1), (1, 1)]]))));

    [Fact]
    public void Two_layers_that_collapse_onto_different_heads_are_told_apart_by_layer()
    {
        var rows = new MemberRows(4, [4, 3], [[(0, 4)], [(0, 3)]]);
        Tensor Onto(int head) => full([2, 4, 2], Living.Of(0.0)).index_fill(2, tensor(new long[] { head }), Living.Of(1.0));

        Assert.Equal([4, 0, 3, 0], TensorData.Values(Choice.FirstChoices(Choice.Largest(Onto(0), 1), 2, rows)));
        Assert.Equal([0, 4, 0, 3], TensorData.Values(Choice.FirstChoices(Choice.Largest(Onto(1), 1), 2, rows)));
    }

    /// <summary>Rows of the gate that are equal, or nearly, on bases stored in every form.</summary>
    public static TheoryData<double, WeightStorage> Near
    {
        get
        {
            var all = new TheoryData<double, WeightStorage>();
            foreach (var storage in Enum.GetValues<WeightStorage>())
                foreach (var apart in (double[])[0, 1e-5]) all.Add(apart, storage);
            return all;
        }
    }

    [Theory, MemberData(nameof(Near))]
    public void The_same_heads_are_chosen_with_checkpoints_in_a_batch_and_in_evaluation(double apart, WeightStorage stored)
    {
        using var model = StoredModel.Tiny(stored);
        var spec = TinyFederation.TinyCatalogue("malora") with
        {
            Heads = 3, Routing = new Routing.TopK(1), TargetModules = [Module], Dropout = Dropout.None,
        };
        var gate = new RecordingGate(new TopKGate(3, 1, 1, 0));
        var layout = AdapterLayout.Of(
            new LowRank(LowRankForm.Of(spec), gate), spec, [.. spec.Roles.Select(role => role with { Default = spec.Tensor(role.Name) })],
            [model.Linears.Single(static layer => layer.Module == Module)]);
        using var members = new StackedMembers(layout, model, [0]);
        using var generator = new Generator(3, CPU);
        var rows = members.Stack.Member(0).Parameters.Single(static parameter => parameter.Info.Role.Name == Routing.TopK.Gate).Value;
        using (no_grad())
        {
            for (var head = 1; head < 3; head++)
                rows[head].copy_(rows[0]).add_(empty_like(rows[0]).normal_(0, 1, generator), Living.Of(apart));
        }

        var texts = Enumerable.Range(0, 8).Select(static text => StackedMembers.Row(5 + text)).ToList();
        List<float[]> Training(bool checkpoints, params int[] which)
        {
            gate.Seen.Clear();
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            PackedLoss.Gradients(
                model, Packing.Of([[.. which.Select(text => texts[text])]], CPU), members.Stack.Slice(0, 1), workspace, checkpoints);
            return [.. gate.Seen];
        }

        var together = Training(false, 0, 1, 2, 3, 4, 5, 6, 7).Single();
        Assert.All(Training(true, 0, 1, 2, 3, 4, 5, 6, 7), weights => Assert.Equal(together, weights));
        // Which head is first says something of what is nearly equal.
        Assert.Equal(apart > 0 ? 3 : 1, together.Chunk(3).Select(static token => Array.IndexOf(token, 1)).Distinct().Count());
        var offset = 0;
        foreach (var (number, text) in texts.Index())
        {
            var expected = together[offset..(offset += 3 * text.Ids.Length)];
            Assert.Equal(expected, Training(false, number).Single());
            gate.Seen.Clear();
            using var inference = no_grad();
            using var pass = AdapterPass.Evaluating(members.Stack.Member(0), model);
            model.Hidden(TinyLlama.Ids([.. text.Ids.Select(static id => (long)id)]), null, pass);
            Assert.Equal(expected, gate.Seen.Single());
            if (apart == 0) Assert.All(expected.Chunk(3), static token => Assert.Equal([1, 0, 0], token));
        }
    }

    [Fact]
    public void All_ranks_kept_by_a_router_of_zeros_are_plain_LoRA()
    {
        using var generator = new Generator(3, CPU);
        var (x, spec) = (empty([2, 5, 6]).normal_(0, 1, generator), AdapterCatalog.Methods["smora"].Spec with
        {
            Rank = 4, Routing = new Routing.RankTopK(4), Dropout = Dropout.None,
        });
        var (a, b) = (empty([4, 6]).normal_(0, 1, generator), empty([1, 7, 4]).normal_(0, 1, generator));
        Tensor Of(AdapterSpec of) => new OneLayer(of, new("layer", 6, 7), role => role switch
        {
            Roles.A => a, Roles.B => b, Routing.RankTopK.Router => zeros(4, 6), _ => zeros(4),
        }).Forward(x, zeros(2, 5, 7), null);

        Close.Assert(TensorData.Values(Of(spec with { Routing = new Routing.ByTask() })), TensorData.Values(Of(spec)), "y", 1e-5, 0);
    }

    [Fact]
    public void A_balance_moves_once_a_step_with_checkpoints_too_and_that_of_a_member_that_is_done_stays()
    {
        using var model = TinyLlama.Create();
        var spec = TinyFederation.TinyCatalogue("smora") with { Routing = new Routing.RankTopK(2, Rate: 0.01) };
        var layout = StackedMembers.LayoutOf(spec, model);
        Dictionary<(int, string), float[]> Balances(AdapterStack stack) => GroupProofs.Values(stack)
            .Where(static entry => entry.Key.Name.EndsWith("balance", StringComparison.Ordinal)).ToDictionary();
        Dictionary<(int, string), float[]> After(bool checkpoints)
        {
            using var members = new StackedMembers(layout, model, [0, 1]);
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            var (optimizer, before) = (GroupProofs.Optimizer(members.Stack, 2, decay: 0.1), Balances(members.Stack));
            members.Stack.ZeroGradients();
            PackedLoss.Gradients(model, Packing.Of([[StackedMembers.Row(6)], [StackedMembers.Row(9)]], CPU),
                members.Stack.Slice(0, 2), workspace, checkpoints);
            Assert.Equal(before.Values, Balances(members.Stack).Values); // a pass moves nothing
            optimizer.Step([1e-2]);
            var after = Balances(members.Stack);
            Assert.All(before, entry =>
            {
                var ((member, _), values) = entry;
                var moved = values.Zip(after[entry.Key], static (old, now) => Math.Abs(now - old)).ToList();
                Assert.All(moved, move => Assert.True(move < 1e-7 || Math.Abs(move - 0.01) < 1e-6, $"moved by {move}"));
                Assert.Equal(member == 0, moved.Exists(static move => move > 0));
            });
            return after;
        }

        Assert.Equal(After(checkpoints: false).Values, After(checkpoints: true).Values);
    }

    [Fact]
    public async Task A_balance_stays_with_its_client_and_goes_on_from_where_it_was()
    {
        using var tiny = new TinyFederation();
        using var trainer = tiny.Trainer();
        var plan = tiny.Plan(TinyFederation.TinyCatalogue("smora") with { Routing = new Routing.RankTopK(2, Rate: 0.01) });
        var group = await TinyFederation.GroupAsync(trainer, plan, "one", "two");
        static bool IsBalance(string name) => name.EndsWith(".balance", StringComparison.Ordinal);

        var first = await trainer.TrainAsync(group);
        var again = await trainer.TrainAsync(group with
        {
            Round = 2,
            Members = [.. group.Members.Zip(
                first, static (member, result) => member with { Head = result.Head, Optimizer = result.Optimizer })],
        });

        foreach (var (before, after) in first.Zip(again))
        {
            Assert.Null(before.Failure);
            Assert.DoesNotContain(
                before.Update!.Keys.Concat(before.Optimizer!.Keys), static name => name.Contains("balance", StringComparison.Ordinal));
            Assert.NotEmpty(before.Head!.Keys);
            Assert.All(before.Head!, static entry => Assert.True(IsBalance(entry.Key)));
            Assert.All(before.Head!, entry => Assert.All(
                entry.Value.Data.Zip(after.Head![entry.Key].Data), static pair => Assert.True(Math.Abs(pair.First - pair.Second) < 0.041)));
            Assert.Contains(before.Head!, entry => Array.Exists(after.Head![entry.Key].Data, static value => Math.Abs(value) > 0.041));
        }
    }

    [Fact]
    public async Task Tasks_stand_for_heads_in_the_ordinal_order_of_their_names()
    {
        using var tiny = new TinyFederation();
        using var trainer = tiny.Trainer();
        var spec = TinyFederation.TinyCatalogue("meteora") with { Objectives = [new Objective.GateLoss(50)] };
        async Task<float[]> GateOf(string task, params string[] others)
        {
            var client = TinyFederation.Client("one") with { Task = task };
            var plan = tiny.Plan(spec) with
            {
                Clients = [.. others.Select(static other => TinyFederation.Client("two") with { Id = other, Task = other }), client],
            };
            var group = await TinyFederation.GroupAsync(trainer, plan, "one");
            var result = Assert.Single(await trainer.TrainAsync(group with { Members = [new GroupMember { Client = client }] }));
            Assert.Null(result.Failure);
            return result.Update!.Single(static entry => entry.Key.EndsWith("layers.0.self_attn.q_proj.gate", StringComparison.Ordinal))
                .Value.Data;
        }

        var second = await GateOf("m", "z", "b");

        Assert.Equal(second, await GateOf("n", "o", "a"));
        Assert.NotEqual(second, await GateOf("m", "n", "o"));
    }

    private static LayerTensors None => new(static role => throw new NotSupportedException(role), static _ => null);

    /// <summary>Another gate's weights, as they come.</summary>
    private sealed class RecordingGate(IGate inner) : IGate
    {
        public List<float[]> Seen { get; } = [];

        public IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => inner.Shapes(target);

        public IEnumerable<Slot> Slots(LayerTensors tensors) => inner.Slots(tensors);

        public double? Weight => inner.Weight;

        public bool IsStatic => inner.IsStatic;

        public Tensor Weights(LayerTensors tensors, Narrow z, MixContext context)
        {
            var weights = inner.Weights(tensors, z, context);
            Seen.Add(TensorData.Values(weights));
            return weights;
        }
    }
}
