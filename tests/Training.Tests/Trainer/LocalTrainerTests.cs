using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Data;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Trainer;

public sealed class LocalTrainerTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public static TheoryData<string> Methods => [.. AdapterCatalog.Methods.Keys];

    public void Dispose() => _tiny.Dispose();

    [Theory, MemberData(nameof(Methods))]
    public async Task The_same_group_gives_the_same_bits_in_any_order_and_alone_the_same_within_the_batched_kernel(string method)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));
        using var trainer = _tiny.Trainer();
        using var other = _tiny.Trainer();

        var first = await trainer.TrainAsync(await TinyFederation.GroupAsync(trainer, plan, "one", "two"));
        var again = await other.TrainAsync(await TinyFederation.GroupAsync(other, plan, "two", "one"));
        var alone = await other.TrainAsync(await TinyFederation.GroupAsync(other, plan, "two"));

        AssertSame(first[0], again[1]);
        AssertSame(first[1], again[0]);
        Close.AssertRelative(first[1].Numbers.MeanLoss, alone[0].Numbers.MeanLoss, "loss", 1e-5);
        Assert.All(first[1].Update.Concat(first[1].Head), entry => Close.Assert(
            entry.Value.Data, (alone[0].Update.TryGetValue(entry.Key, out var update) ? update : alone[0].Head[entry.Key]).Data,
            entry.Key, 1e-4, 1e-3));
        Assert.NotEqual(first[0].Numbers.MeanLoss, first[1].Numbers.MeanLoss);
    }

    [Fact]
    public async Task Members_take_their_own_number_of_steps_and_rows_of_any_length()
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue("fedsa-lora"));
        _tiny.Write("long.jsonl",
            Enumerable.Range(0, 5).Select(static row => $$"""{"prompt":"{{new string('c', 3 * row)}}","completion":"ab"}"""));
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one", "two");
        ClientSpec[] clients = [group.Members[0].Client with { Steps = 2 },
            TinyFederation.Client("three") with { Data = new() { Train = "long.jsonl" } }, group.Members[1].Client];

        var together = await trainer.TrainAsync(
            group with { Members = [.. clients.Select(static client => new GroupMember { Client = client })] });

        Assert.Equal([2, 4, 4], together.Select(static result => result.Numbers.Steps));
        foreach (var (client, result) in clients.Zip(together))
        {
            var alone = Assert.Single(await trainer.TrainAsync(group with { Members = [new GroupMember { Client = client }] }));
            Close.AssertRelative(alone.Numbers.LastLoss!.Value, result.Numbers.LastLoss!.Value, client.Id, 1e-5);
            Assert.All(alone.Head, entry => Close.Assert(entry.Value.Data, result.Head[entry.Key].Data, entry.Key, 1e-4, 1e-3));
        }
    }

    [Fact]
    public async Task A_client_has_its_own_learning_rate_in_a_group()
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue("fedsa-lora"));
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one", "two");
        var slow = group with
        {
            Members = [new() { Client = TinyFederation.Client("one") with { LearningRate = 1e-9 } }, group.Members[1]],
        };

        var (usual, changed) = (await trainer.TrainAsync(group), await trainer.TrainAsync(slow));

        static float Largest(TrainingResult result) => result.Update.Values.Max(static array => array.Data.Max(Math.Abs));
        Assert.True(Largest(changed[0]) < 1e-7 && Largest(usual[0]) > 1e-3);
        AssertSame(usual[1], changed[1]);
    }

    [Fact]
    public async Task A_group_that_needs_more_memory_than_a_pass_may_take_goes_through_in_several()
    {
        var plan = _tiny.Plan() with { Training = _tiny.Plan().Training with { BatchSize = 100, MaxTokens = 20 } };
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one", "two");

        var whole = await trainer.TrainAsync(group);
        var cut = await trainer.TrainAsync(group with { Plan = plan with { Training = plan.Training with { PassMemoryMb = 1 } } });
        var alone = await trainer.TrainAsync(group with { Members = [group.Members[1]] });

        AssertSame(cut[1], alone[0]); // a pass of its own
        Close.AssertRelative(whole[1].Numbers.LastLoss!.Value, cut[1].Numbers.LastLoss!.Value, "loss", 1e-5);
    }

    [Theory, InlineData(WeightStorage.Bfloat16, 2e-2), InlineData(WeightStorage.Float16, 2e-3)]
    public async Task A_base_stored_in_half_precision_trains_and_scores_nearly_the_same(WeightStorage storage, double tolerance)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue("dora"));
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");
        var half = group with { Plan = plan with { Model = plan.Model with { Storage = storage } } };

        var (full, stored) = (Assert.Single(await trainer.TrainAsync(group)), Assert.Single(await trainer.TrainAsync(half)));
        Close.AssertRelative(full.Numbers.MeanLoss, stored.Numbers.MeanLoss, "training loss", tolerance);
        Assert.NotEqual(full.Numbers.MeanLoss, stored.Numbers.MeanLoss);
        Close.AssertRelative(Assert.Single(await trainer.EvaluateAsync(group)).Loss, Assert.Single(await trainer.EvaluateAsync(half)).Loss,
            "test loss", tolerance);
    }

    [Theory, MemberData(nameof(Methods))]
    public async Task An_update_is_what_the_shared_tensors_moved_by_and_heads_stay_apart(string method)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");

        var result = Assert.Single(await trainer.TrainAsync(group));

        Assert.Null(result.Failure);
        var now = plan.AdapterAt(1);
        var moving = group.Shared.Keys.Concat(group.Members[0].OfTask.Keys).Where(
            name => StatisticFamily.IsStatistic(name) || now.Moves(TensorRole.Of(name)));
        Assert.Equal(moving.Order(StringComparer.Ordinal), result.Update.Keys);
        Assert.Equal(plan.Adapter.Tensor("B").Scope == Scope.Client,
            result.Head.Keys.Any(static name => name.EndsWith(".B", StringComparison.Ordinal)));
        Assert.DoesNotContain(result.Head.Keys, result.Update.ContainsKey);
        Assert.Contains(result.Update.Concat(result.Head), static entry => entry.Value.Data.Any(static value => value != 0));
        Assert.Equal(now.Roles.Any(role => now.Moves(role.Name)), result.Update.Count > 0);
        Assert.Equal((12, 4), (result.Numbers.Samples, result.Numbers.Steps));
        Assert.True(result.Numbers.ProductNorm > 0);
        Assert.Equal(now.Routing is Routing.TopK, result.Numbers.GateUse is not null);
    }

    [Fact]
    public async Task A_gate_that_sends_all_to_one_head_is_told_by_layer()
    {
        var method = TinyFederation.TinyCatalogue("meteora");
        var plan = _tiny.Plan(method with { Objectives = [] });
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");
        // Of equal logits the first head is taken: on the layers of one block all rows go there.
        AdapterState flat = new(group.Shared.Select(static entry =>
            entry.Key.Contains("layers.1", StringComparison.Ordinal) && entry.Key.EndsWith(".gate", StringComparison.Ordinal)
                ? KeyValuePair.Create(entry.Key, entry.Value with { Data = new float[entry.Value.Data.Length] })
                : entry));
        var still = plan with { Adapter = plan.Adapter.With(Routing.TopK.Gate, static gate => gate with { Trains = false }) };

        var use = (await trainer.TrainAsync(group with { Plan = still, Shared = flat }))[0].Numbers.GateUse!;

        Assert.Equal((0, 1.0, 14), (use.Head, use.Share, use.Layers));
        Assert.Contains("layers.1", use.Layer, StringComparison.Ordinal);
        Assert.InRange(use.Collapsed, 7, 13);
    }

    [Fact]
    public async Task Rounds_learn_the_rows()
    {
        var plan = _tiny.Plan() with
        {
            Training = _tiny.Plan().Training with { Steps = 40, LearningRate = 5e-2 },
            Evaluation = new() { Metric = Metric.Accuracy },
        };
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");
        var client = TinyFederation.Client("one");
        group = group with { Members = [new() { Client = client with { Data = client.Data with { Test = client.Data.Train } } }] };
        var before = Assert.Single(await trainer.EvaluateAsync(group with { Round = 0 }));

        for (var round = 1; round <= 3; round++)
        {
            var result = Assert.Single(await trainer.TrainAsync(group with { Round = round }));
            Assert.Null(result.Failure);
            group = group with
            {
                Shared = Add(group.Shared, result.Update),
                Members = [group.Members[0] with { Head = result.Head, Optimizer = result.Optimizer }],
            };
        }

        // The tiny frozen head cannot give a token much more than even odds, so the loss has a floor.
        var after = Assert.Single(await trainer.EvaluateAsync(group with { Round = 3 }));
        Assert.True(after.Loss < 0.75 * before.Loss && after.Score >= before.Score, $"{before.Loss} -> {after.Loss}");
        Assert.Equal(("accuracy", 12, 8 / 12.0), (after.Metric, after.Rows, after.MajorityShare));
    }

    [Fact]
    public async Task Two_rounds_are_the_same_whether_or_not_the_trainer_lived_through_the_first()
    {
        var plan = _tiny.Plan();
        using var trainer = _tiny.Trainer();
        using var fresh = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");
        var first = Assert.Single(await trainer.TrainAsync(group));
        var next = group with
        {
            Round = 2,
            Shared = Add(group.Shared, first.Update),
            Members = [group.Members[0] with { Head = first.Head, Optimizer = first.Optimizer }],
        };

        AssertSame(Assert.Single(await trainer.TrainAsync(next)), Assert.Single(await fresh.TrainAsync(next)));
    }

    [Fact]
    public async Task A_bad_line_fails_its_client_alone_and_names_file_and_line()
    {
        _tiny.Write("one.train.jsonl", [.. Enumerable.Repeat("""{"prompt":"a","completion":"b"}""", 6), """{"prompt":"a","answer":"b"}""",
            """{"prompt":"a","completion":"b"}"""]);
        using var trainer = _tiny.Trainer();

        var results = await trainer.TrainAsync(await TinyFederation.GroupAsync(trainer, _tiny.Plan(), "one", "two"));

        Assert.Equal($"{Path.Combine(_tiny.Root, "one.train.jsonl")}:7: found \"prompt\" without \"completion\"; "
            + "expected one object with \"prompt\" and \"completion\", \"text\" and \"label\", or \"messages\"", results[0].Failure);
        Assert.Null(results[1].Failure);
    }

    [Fact]
    public async Task A_model_folder_without_a_tokenizer_is_refused()
    {
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, _tiny.Plan(), "one");
        File.Delete(Path.Combine(_tiny.Root, "model", "tokenizer.json"));
        Assert.Contains("tokenizer.json",
            (await Assert.ThrowsAsync<BadInputException>(() => trainer.InitialSharedAsync(_tiny.Plan()))).Message,
            StringComparison.Ordinal);
        Assert.Contains("tokenizer.json", (await Assert.ThrowsAsync<BadInputException>(() => trainer.TrainAsync(group))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_diverged_client_fails_in_one_line()
    {
        var plan = _tiny.Plan() with { Training = _tiny.Plan().Training with { LearningRate = 1e30, Schedule = Schedule.Constant } };
        using var trainer = _tiny.Trainer();
        var failure = Assert.Single(await trainer.TrainAsync(await TinyFederation.GroupAsync(trainer, plan, "one"))).Failure;
        Assert.Contains("lower the learning rate", failure, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_head_of_another_shape_fails_its_client()
    {
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, _tiny.Plan(), "one");
        var failure = Assert.Single(
            await trainer.TrainAsync(group with { Members = [group.Members[0] with { Head = AdapterState.Empty }] })).Failure;
        Assert.Equal("head of client one: tensor model.layers.0.self_attn.q_proj.B is missing", failure);
    }

    [Fact]
    public async Task Cancellation_ends_training_between_steps()
    {
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer,
            _tiny.Plan() with { Training = _tiny.Plan().Training with { Steps = 1_000_000 } }, "one");
        using var source = new CancellationTokenSource(TimeSpan.FromMilliseconds(200));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => trainer.TrainAsync(group, source.Token));
    }

    [Fact]
    public async Task Shuffled_labels_keep_their_counts_and_lose_their_prompts()
    {
        var path = Path.Combine(_tiny.Root, "one.train.jsonl");
        var encoder = new RowEncoder(Tokenizer.Load(Path.Combine(_tiny.Root, "model")), 20);
        var client = TinyFederation.Client("one");
        var plain = await ClientData.TrainingAsync(path, client, 7, encoder, default);
        var shuffled = await ClientData.TrainingAsync(path, client with { Data = client.Data with { ShuffleLabels = true } }, 7,
            encoder, default);

        Assert.Equal(plain.Rows.Select(static row => string.Join(' ', row.Ids[row.Start..])).Order(),
            shuffled.Rows.Select(static row => string.Join(' ', row.Ids[row.Start..])).Order());
        Assert.Equal(plain.Rows.Select(static row => string.Join(' ', row.Ids[..row.Start])),
            shuffled.Rows.Select(static row => string.Join(' ', row.Ids[..row.Start])));
        Assert.Contains(plain.Rows.Zip(shuffled.Rows), static pair => !pair.First.Ids.SequenceEqual(pair.Second.Ids));
    }

    internal static AdapterState Add(AdapterState state, AdapterState update) => new(state.Select(entry =>
        KeyValuePair.Create(entry.Key,
            entry.Value with { Data = [.. entry.Value.Data.Zip(update[entry.Key].Data, static (value, change) => value + change)] })));

    internal static void AssertSame(TrainingResult expected, TrainingResult actual)
    {
        Assert.Null(expected.Failure);
        Assert.Equal(expected.Numbers with { WaitedSeconds = 0 }, actual.Numbers with { WaitedSeconds = 0 });
        foreach (var (states, others) in new[]
        {
            (expected.Update, actual.Update), (expected.Head, actual.Head), (expected.Optimizer, actual.Optimizer),
        })
        {
            Assert.Equal(states.Keys, others.Keys);
            foreach (var (name, array) in states) Assert.Equal(array.Data, others[name].Data);
        }
    }
}
