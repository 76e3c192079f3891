using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Tests;

/// <summary>Equal tensors on equal rows are scored once, whoever asks, and nothing that differs is taken for equal.</summary>
public sealed class ScoredOnceTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public ScoredOnceTests()
    {
        _tiny.Write("test.jsonl", Rows("up", "down"));
        _tiny.Write("copy.jsonl", Rows("up", "down"));
    }

    public void Dispose() => _tiny.Dispose();

    [Theory, InlineData("lora"), InlineData("rslora"), InlineData("dora"), InlineData("ffa-lora")]
    public async Task Clients_without_tensors_of_their_own_are_scored_once_for_a_test_file(string method)
    {
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, Plan(method), "one", "two");
        group = group with { Shared = Nudged(group.Shared) };

        var results = await trainer.EvaluateAsync(group);

        Assert.Equal(2, trainer.Scorings); // the shared state and the base beside it
        foreach (var (member, result) in group.Members.Zip(results))
            AssertSame(await FreshAsync(group with { Members = [member] }), result);
    }

    [Fact]
    public async Task Clients_with_heads_of_their_own_are_scored_each()
    {
        using var trainer = _tiny.Trainer();
        var plan = Plan("r-lora-federated");
        // An anchored start is the base, up to rounding.
        plan = plan with
        {
            Adapter = (plan.Adapter with { Start = Start.Exact }).With("B", static heads => heads with { Init = Init.Gaussian(0.3) }),
        };
        var group = await GroupAsync(trainer, plan, "one", "two");

        var results = await trainer.EvaluateAsync(group);

        Assert.Equal(3, trainer.Scorings); // and the base beside them
        Assert.NotEqual(results[0].Loss, results[1].Loss);
    }

    [Fact]
    public async Task What_has_to_be_known_of_its_rows_stays_with_a_client()
    {
        _tiny.Write("one.train.jsonl", Rows("up", "down"));
        using var trainer = _tiny.Trainer();

        var results = await trainer.EvaluateAsync(await GroupAsync(trainer, Plan("lora"), "one", "two"));

        Assert.Equal(1, trainer.Scorings);
        Assert.Equal(["one", "two"], results.Select(static result => result.ClientId));
        Assert.NotEqual(results[0].Notes.Select(static note => note.Kind), results[1].Notes.Select(static note => note.Kind));
    }

    [Fact]
    public async Task Notes_are_those_of_the_plan_that_asks()
    {
        _tiny.Write("one.train.jsonl", Rows("up", "down"));
        using var trainer = _tiny.Trainer();
        var all = await GroupAsync(trainer, Plan("lora"), "one");

        foreach (var group in new[] { all, Of(all, static data => data with { Rows = 2 }) })
        {
            var result = Assert.Single(await trainer.EvaluateAsync(group));
            var trainedOn = Assert.Single(result.Notes, static note => note.Kind == DataNoteKind.TrainedOn);
            Assert.Equal(group.Members[0].Client.Data.Rows ?? 6, trainedOn.Count);
        }

        Assert.Equal(1, trainer.Scorings);
    }

    [Fact]
    public async Task Groups_that_ask_at_once_are_scored_once()
    {
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, Plan("lora"), "one", "two");

        var results = await Task.WhenAll(Enumerable.Range(0, 4)
            .Select(i => Task.Run(() => trainer.EvaluateAsync(group with { Members = [group.Members[i % 2]] }))));

        Assert.Equal(1, trainer.Scorings);
        Assert.All(results, result => Assert.Equal(results[0][0].Loss, Assert.Single(result).Loss));
    }

    [Fact]
    public async Task The_untouched_base_is_scored_once_for_shared_and_unshared_clients_in_every_round()
    {
        var plan = Plan("fedsa-lora");
        plan = plan with { Adapter = plan.Adapter.With("A", static a => a with { Seed = SeedPolicy.PerClient }) };
        var alone = plan with { Sharing = Sharing.None, Adapter = plan.Adapter.Unshared() };
        using var trainer = _tiny.Trainer();
        TrainingGroup[] groups =
        [
            (await GroupAsync(trainer, plan, "one", "two")) with { Round = 0 },
            (await GroupAsync(trainer, alone, "one", "two")) with { Round = 0 },
            (await GroupAsync(trainer, plan, "one", "two")) with { Round = 2 },
        ];

        foreach (var group in groups) _ = await trainer.EvaluateAsync(group);

        Assert.Equal(1, trainer.Scorings);
        Assert.NotEqual(await HeadAsync(alone, "one"), await HeadAsync(alone, "two")); // they do begin with other values of A
        foreach (var one in groups.SelectMany(static group => group.Members.Select(member => group with { Members = [member] })))
            AssertSame(await FreshAsync(one), Assert.Single(await trainer.EvaluateAsync(one)));
    }

    [Theory, InlineData(WeightStorage.Float32), InlineData(WeightStorage.Bfloat16)]
    public async Task Heads_that_are_zero_leave_the_base_as_it_is_to_the_last_bit(WeightStorage storage)
    {
        var plan = Plan("fedsa-lora") with
        {
            Model = new() { Path = "model", Storage = storage },
            Evaluation = new() { Metric = Metric.Perplexity },
        };
        using var trainer = _tiny.Trainer();
        var untouched = await GroupAsync(trainer, plan, "one");
        var almost = await TrainedAsync(trainer, plan);
        // The one value that is not zero is too small for any sum to notice; the adapter goes through the model all the same.
        foreach (var array in almost.Members[0].Head!.Values) Array.Clear(array.Data);
        almost.Members[0].Head!.Values.First().Data[0] = float.Epsilon;

        var (first, second) = (await trainer.EvaluateAsync(untouched), await trainer.EvaluateAsync(almost));

        Assert.Equal(2, trainer.Scorings);
        Assert.Equal(Assert.Single(first).RowScores, Assert.Single(second).RowScores);
    }

    public static TheoryData<string> Ingredients => [.. Changes.Keys];

    [Theory, MemberData(nameof(Ingredients))]
    public async Task A_score_is_computed_again_when_what_it_depends_on_is_another(string ingredient)
    {
        using var trainer = _tiny.Trainer();
        var plan = Plan("fedsa-lora") with { Evaluation = new() { Metric = Metric.ExactMatch, MaxNewTokens = 2 } };
        var group = await TrainedAsync(trainer, plan);
        _ = await trainer.EvaluateAsync(group);
        Assert.Equal(2, trainer.Scorings); // the client and the base beside it

        var changed = Changes[ingredient](_tiny, group) with { Round = 3 };
        var result = Assert.Single(await trainer.EvaluateAsync(changed));

        Assert.Equal(OfAdapter.Contains(ingredient) ? 3 : 4, trainer.Scorings);
        AssertSame(await FreshAsync(changed), result);
    }

    // What the base does not depend on.
    private static string[] OfAdapter { get; } =
    [
        "head", "shared state", "an array that was written into", "alpha", "alpha of a layer", "start",
    ];

    private static Dictionary<string, Func<TinyFederation, TrainingGroup, TrainingGroup>> Changes { get; } = new()
    {
        ["head"] = static (_, group) => group with { Members = [group.Members[0] with { Head = Nudged(group.Members[0].Head!) }] },
        ["shared state"] = static (_, group) => group with { Shared = Nudged(group.Shared) },
        ["an array that was written into"] = static (_, group) =>
        {
            group.Shared.Values.Last().Data[^1] += 1;
            return group;
        },
        ["a completion"] = static (tiny, group) => Written(tiny, group, Rows("up", "upper")),
        ["a prompt"] = static (tiny, group) => Written(tiny, group, Rows("up", "down", prompt: "x:")),
        ["the order of rows"] = static (tiny, group) => Written(tiny, group, Rows("up", "down").Reverse()),
        ["a row less"] = static (tiny, group) => Written(tiny, group, Rows("up", "down").Skip(1)),
        ["declared labels"] = static (_, group) => With(group,
            static plan => plan with { Tasks = Labels(new("up", []), new("down", []), new("left", [])) }),
        ["answers of a label"] = static (_, group) =>
            With(group, static plan => plan with { Tasks = Labels(new("up", ["up", "u"]), new LabelSpec("down", [])) }),
        ["maxRows"] = static (_, group) => Scored(group, static evaluation => evaluation with { MaxRows = 4 }),
        ["metric"] = static (_, group) => Scored(group, static evaluation => evaluation with { Metric = Metric.Perplexity }),
        ["maxNewTokens"] = static (_, group) => Scored(group, static evaluation => evaluation with { MaxNewTokens = 3 }),
        ["maxTokens"] = static (_, group) => With(group, static plan => plan with { Training = plan.Training with { MaxTokens = 6 } }),
        ["threads"] = static (_, group) => With(group, static plan => plan with { Training = plan.Training with { Threads = 2 } }),
        ["storage"] = static (_, group) =>
            With(group, static plan => plan with { Model = plan.Model with { Storage = WeightStorage.Bfloat16 } }),
        ["alpha"] = static (_, group) => Adapted(group, static adapter => adapter with { Alpha = 7 }),
        ["alpha of a layer"] = static (_, group) => Adapted(group, static adapter => adapter with { AlphaPattern = [new("q_proj", 9)] }),
        ["start"] = static (_, group) => Adapted(group, static adapter => (adapter with { Start = Start.Anchored })
            .With("B", static heads => heads with { Init = Init.Gaussian(0.1) })),
        ["weights of the model"] = static (tiny, group) => Exchanged(tiny, group, "model.safetensors", static bytes => bytes[^1] ^= 0x80),
        ["tokenizer of the model"] = static (tiny, group) =>
            Replaced(tiny, group, "tokenizer_config.json", "\"eos_token\":\"</s>\"", "\"eos_token\":\"?\""),
        ["ends of a text"] = static (tiny, group) =>
        {
            File.WriteAllText(Path.Combine(tiny.Root, "model", "generation_config.json"), """{"eos_token_id":[2,5]}""");
            return group;
        },
        ["configuration of the model"] = static (tiny, group) => Replaced(tiny, group, "config.json", "rope_theta\": ", "rope_theta\": 1"),
    };

    public static TheoryData<string> Beside => [.. Others.Keys];

    [Theory, MemberData(nameof(Beside))]
    public async Task A_score_is_kept_when_what_it_does_not_depend_on_is_another(string what)
    {
        using var trainer = _tiny.Trainer();
        var group = await TrainedAsync(trainer, Plan("fedsa-lora"));
        _ = await trainer.EvaluateAsync(group);

        var changed = Others[what](group);
        var result = Assert.Single(await trainer.EvaluateAsync(changed));

        Assert.Equal(2, trainer.Scorings);
        AssertSame(await FreshAsync(changed), result);
    }

    private static Dictionary<string, Func<TrainingGroup, TrainingGroup>> Others { get; } = new()
    {
        ["a head that is untouched"] = static group => group with { Members = [group.Members[0] with { Head = null }] },
        ["another client"] = static group => group with { Members = [group.Members[0] with { Client = group.Plan.Clients[1] }] },
        ["a file with the same rows"] = static group => Of(group, static data => data with { Test = "copy.jsonl" }),
        ["other training rows"] = static group => Of(group, static data => data with { Offset = 3, Rows = 5 }),
        ["shuffled labels"] = static group => Of(group, static data => data with { ShuffleLabels = true }),
        ["seed"] = static group => With(group, static plan => plan with { Seed = 8 }),
        ["learning rate"] = static group => With(group, static plan => plan with { Training = plan.Training with { LearningRate = 1 } }),
        ["rounds between scorings"] = static group => Scored(group, static evaluation => evaluation with { EveryRounds = 3 }),
        ["arrays of equal content"] = static group => group with
        {
            Shared = Copied(group.Shared), Members = [group.Members[0] with { Head = Copied(group.Members[0].Head!) }],
        },
    };

    [Fact]
    public async Task A_conversation_differs_by_its_tools_where_the_limit_hides_them()
    {
        using var chat = new TinyChat();
        using var trainer = chat.Federation.Trainer();
        var plan = chat.Plan() with { Evaluation = new() { Metric = Metric.Perplexity } };
        foreach (var tool in new[] { "a", "b" })
        {
            object[] messages = [new { role = "user", content = new string('x', 40) }, new { role = "assistant", content = "up" }];
            chat.Federation.Write("one.test.jsonl", [JsonSerializer.Serialize(new { messages, tools = new[] { new { name = tool } } })]);
            _ = await trainer.EvaluateAsync(await TinyFederation.GroupAsync(trainer, plan, "one"));
        }

        Assert.Equal(4, trainer.Scorings); // each with the base beside it
    }

    [Fact]
    public async Task A_failure_is_no_score()
    {
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, Plan("lora"), "one", "two");
        var broken = group with { Shared = Copied(group.Shared) };
        foreach (var array in broken.Shared.Values) Array.Fill(array.Data, float.NaN);

        var results = await trainer.EvaluateAsync(broken);

        Assert.All(results, static result => Assert.Contains("no numbers", result.Failure, StringComparison.Ordinal));
        var tried = trainer.Scorings; // one for both, where both asked at once
        await trainer.EvaluateAsync(broken);
        Assert.True(trainer.Scorings > tried, "a failure was kept");
    }

    [Fact]
    public async Task A_call_that_is_cancelled_leaves_no_score_and_no_failure()
    {
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, Plan("lora"), "one", "two");
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => trainer.EvaluateAsync(group, cancelled.Token));

        Assert.All(await trainer.EvaluateAsync(group), static result => Assert.Null(result.Failure));
    }

    private FederationPlan Plan(string method) =>
        _tiny.Plan(TinyFederation.TinyCatalogue(method)) with { Clients = [Client("one"), Client("two")] };

    private static ClientSpec Client(string id) =>
        new() { Id = id, Task = "one", Data = new() { Train = $"{id}.train.jsonl", Test = "test.jsonl" } };

    private static async Task<TrainingGroup> GroupAsync(LocalTrainer trainer, FederationPlan plan, params string[] clients) => new()
    {
        Plan = plan, Round = 1, Shared = await trainer.InitialSharedAsync(plan),
        Members = [.. clients.Select(static id => new GroupMember { Client = Client(id) })],
    };

    private static async Task<TrainingGroup> TrainedAsync(LocalTrainer trainer, FederationPlan plan)
    {
        var group = await GroupAsync(trainer, plan, "one");
        var trained = Assert.Single(await trainer.TrainAsync(group));
        return group with { Round = 2, Members = [group.Members[0] with { Head = trained.Head }] };
    }

    private async Task<EvaluationResult> FreshAsync(TrainingGroup group)
    {
        using var trainer = _tiny.Trainer();
        return Assert.Single(await trainer.EvaluateAsync(group));
    }

    private async Task<float> HeadAsync(FederationPlan plan, string client)
    {
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, plan with { Training = plan.Training with { Steps = 1, LearningRate = 1e-30 } }, client);
        return Assert.Single(await trainer.TrainAsync(group)).Head.Values.First().Data[0];
    }

    private static void AssertSame(EvaluationResult expected, EvaluationResult actual)
    {
        Assert.Equal(expected with { Notes = [], RowScores = [] }, actual with { Notes = [], RowScores = [] });
        Assert.Equal(expected.Notes, actual.Notes);
        Assert.Equal(expected.RowScores, actual.RowScores);
    }

    private static TrainingGroup With(TrainingGroup group, Func<FederationPlan, FederationPlan> change) =>
        group with { Plan = change(group.Plan) };

    private static TrainingGroup Scored(TrainingGroup group, Func<EvaluationSpec, EvaluationSpec> change) =>
        With(group, plan => plan with { Evaluation = change(plan.Evaluation) });

    private static TrainingGroup Adapted(TrainingGroup group, Func<AdapterSpec, AdapterSpec> change) =>
        With(group, plan => plan with { Adapter = change(plan.Adapter) });

    private static TrainingGroup Of(TrainingGroup group, Func<DataSpec, DataSpec> change)
    {
        var client = group.Members[0].Client with { Data = change(group.Members[0].Client.Data) };
        return group with
        {
            Plan = group.Plan with { Clients = [client, group.Plan.Clients[1]] },
            Members = [group.Members[0] with { Client = client }],
        };
    }

    private static TrainingGroup Written(TinyFederation tiny, TrainingGroup group, IEnumerable<string> rows)
    {
        tiny.Write("test.jsonl", rows);
        return group;
    }

    private static TrainingGroup Exchanged(TinyFederation tiny, TrainingGroup group, string file, Action<byte[]> change)
    {
        var path = Path.Combine(tiny.Root, "model", file);
        var bytes = File.ReadAllBytes(path);
        change(bytes);
        File.WriteAllBytes(path + ".new", bytes);
        File.Move(path + ".new", path, overwrite: true);
        return group;
    }

    private static TrainingGroup Replaced(TinyFederation tiny, TrainingGroup group, string file, string old, string now)
    {
        var path = Path.Combine(tiny.Root, "model", file);
        var text = File.ReadAllText(path);
        Assert.Contains(old, text, StringComparison.Ordinal);
        File.WriteAllText(path, text.Replace(old, now, StringComparison.Ordinal));
        return group;
    }

    private static Dictionary<string, TaskSpec> Labels(params LabelSpec[] labels) => new() { ["one"] = new() { Labels = labels } };

    private static IEnumerable<string> Rows(string first, string second, string prompt = "y:") => Enumerable.Range(0, 6).Select(row =>
    {
        var label = row % 3 == 0 ? first : second;
        return JsonSerializer.Serialize(new { prompt = $"{(char)('a' + row)}{prompt}", completion = label, label });
    });

    private static AdapterState Nudged(AdapterState state)
    {
        var copy = Copied(state);
        var last = copy.Values.Last().Data;
        last[^1] = MathF.BitIncrement(last[^1]);
        return copy;
    }

    private static AdapterState Copied(AdapterState state) =>
        new(state.Select(static array => KeyValuePair.Create(array.Key, array.Value with { Data = [.. array.Value.Data] })));
}
