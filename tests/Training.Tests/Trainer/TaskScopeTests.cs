using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>Who owns a tensor decides who receives it, and no bit of what it becomes.</summary>
public sealed class TaskScopeTests : IDisposable
{
    // One of each form of a layer; with FEDRLORA_SOAK=1 all.
    private static readonly string[] Forms =
        ["dora", "ffa-lora", "lora", "m-lora", "meteora", "mixlora", "mtl-lora", "r-lora", "r-lora-federated", "smora", "vera"];

    private readonly TinyFederation _tiny = new();

    private static IEnumerable<string> Methods => Environment.GetEnvironmentVariable("FEDRLORA_SOAK") == "1"
        ? AdapterCatalog.Methods.Keys : AdapterCatalog.Methods.Keys.Where(Forms.Contains);

    public static TheoryData<string, int> MethodsInGroups
    {
        get
        {
            var all = new TheoryData<string, int>();
            foreach (var method in Methods) all.Add(method, 3);
            foreach (var method in (string[])["fedsa-lora", "r-lora"]) all.Add(method, 1);
            return all;
        }
    }

    public static TheoryData<string, string> Tensors
    {
        get
        {
            var all = new TheoryData<string, string>();
            foreach (var (method, entry) in Methods.Select(static method => (method, AdapterCatalog.Methods[method])))
            {
                foreach (var role in entry.Spec.Roles.Where(role => !role.IsCounted && entry.Spec.Tensor(role.Name).Scope != Scope.Seed))
                    all.Add(method, role.Name);
            }

            return all;
        }
    }

    public void Dispose() => _tiny.Dispose();

    [Theory, MemberData(nameof(MethodsInGroups))]
    public async Task Where_all_clients_have_one_task_what_belongs_to_it_has_the_bits_of_what_belongs_to_the_job(
        string method, int groupSize)
    {
        var spec = AllOf(TinyFederation.TinyCatalogue(method), Scope.Job)
            .WithEach(static tensor => tensor with { Seed = SeedPolicy.Common });

        await AssertSameBitsAsync(
            Plan(spec, groupSize, static _ => "word"), HeadsOf(spec, Scope.Task), AllOf(spec, Scope.Task));
    }

    [Theory, MemberData(nameof(MethodsInGroups))]
    public async Task Where_every_client_has_a_task_of_its_own_what_belongs_to_it_has_the_bits_of_what_stays_with_the_client(
        string method, int groupSize)
    {
        var spec = HeadsOf(TinyFederation.TinyCatalogue(method), Scope.Client);

        await AssertSameBitsAsync(Plan(spec, groupSize, static id => id), HeadsOf(spec, Scope.Task), Only(spec, "B", Scope.Task));
    }

    [Theory]
    [InlineData(Moments.KeepHeads, 0.02)]
    [InlineData(Moments.Reset, 0.02)]
    [InlineData(Moments.KeepHeads, 0)]
    public async Task So_it_is_with_moments_kept_or_reset_with_clipping_or_without(Moments moments, double clipNorm)
    {
        var own = HeadsOf(TinyFederation.TinyCatalogue("fedsa-lora"), Scope.Client);
        var all = TinyFederation.TinyCatalogue("lora");
        FederationPlan Changed(FederationPlan plan) =>
            plan with { Training = plan.Training with { Moments = moments, ClipNorm = clipNorm, WeightDecay = 0.1 } };

        var kept = await AssertSameBitsAsync(Changed(Plan(own, 3, static id => id)), HeadsOf(own, Scope.Task));
        await AssertSameBitsAsync(Changed(Plan(all, 3, static _ => "word")), HeadsOf(all, Scope.Task));

        // The value does something.
        var usual = await RunAsync(Plan(own, 3, static id => id));
        Assert.NotEqual(kept["one"].First().Value.Data, usual["one"].First().Value.Data);
    }

    [Fact]
    public async Task Clients_of_one_task_begin_a_round_with_one_head_and_other_tasks_with_theirs()
    {
        var plan = Plan(HeadsOf(TinyFederation.TinyCatalogue("fedsa-lora"), Scope.Task), 3, static id => id == "one" ? "alone" : "pair");

        var ended = await RunAsync(plan);

        foreach (var (name, array) in ended["two"])
        {
            Assert.Equal(array.Data, ended["three"][name].Data);
            if (name.EndsWith(".B", StringComparison.Ordinal)) Assert.NotEqual(array.Data, ended["one"][name].Data);
            else Assert.Equal(array.Data, ended["one"][name].Data);
        }
    }

    [Fact]
    public async Task Members_of_several_tasks_train_together_as_they_do_alone()
    {
        var plan = Plan(HeadsOf(TinyFederation.TinyCatalogue("fedsa-lora"), Scope.Task), 3, static id => id == "one" ? "alone" : "pair");
        using var trainer = _tiny.Trainer();
        var shared = await trainer.InitialSharedAsync(plan);
        var start = await trainer.InitialOfTaskAsync(plan, "pair");
        var states = new Dictionary<string, AdapterState> { ["alone"] = Nudged(start, 0.1f), ["pair"] = Nudged(start, -0.2f) };
        var group = new TrainingGroup
        {
            Plan = plan, Round = 1, Shared = shared,
            Members = [.. plan.Clients.Select(client => new GroupMember { Client = client, OfTask = states[client.Task] })],
        };

        var (trained, scored) = (await trainer.TrainAsync(group), await trainer.EvaluateAsync(group));

        foreach (var (i, member) in group.Members.Index())
        {
            var alone = Assert.Single(await trainer.TrainAsync(group with { Members = [member] }));
            Assert.Null(alone.Failure);
            Assert.Equal(alone.Update.Keys, trained[i].Update.Keys);
            Assert.All(alone.Update, entry => Close.Assert(entry.Value.Data, trained[i].Update[entry.Key].Data, entry.Key, 1e-4, 1e-3));
            Assert.Equal(Assert.Single(await trainer.EvaluateAsync(group with { Members = [member] })).Loss, scored[i].Loss);
        }

        // The state of a task is in the numbers of its clients.
        var others = await trainer.EvaluateAsync(
            group with { Members = [.. group.Members.Select(member => member with { OfTask = states["alone"] })] });
        Assert.Equal(scored[0].Loss, others[0].Loss);
        Assert.NotEqual(scored[1].Loss, others[1].Loss);
    }

    [Theory, MemberData(nameof(Tensors))]
    public async Task A_tensor_of_any_method_can_belong_to_a_task_and_update_and_head_have_what_they_should(string method, string role)
    {
        var spec = Only(TinyFederation.TinyCatalogue(method), role, Scope.Task);
        var plan = Plan(spec, 3, static id => id);
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, plan);

        var results = await trainer.TrainAsync(group);

        foreach (var (result, member) in results.Zip(group.Members))
        {
            Assert.Null(result.Failure);
            Assert.Equal(
                group.Shared.Keys.Concat(member.OfTask.Keys)
                    .Where(name => StatisticFamily.IsStatistic(name) || plan.AdapterAt(1).Moves(RoleOf(name)))
                    .Order(StringComparer.Ordinal),
                result.Update.Keys);
            Assert.Equal(
                spec.Tensors.Where(static tensor => tensor.Value.Scope == Scope.Client).Select(static tensor => tensor.Key)
                    .Order(StringComparer.Ordinal),
                result.Head.Keys.Select(RoleOf).Distinct().Order(StringComparer.Ordinal));
            Assert.Equal(
                spec.Tensors.Where(static tensor => tensor.Value.Scope == Scope.Task).Select(static tensor => tensor.Key)
                    .Order(StringComparer.Ordinal),
                member.OfTask.Keys.Select(RoleOf).Distinct().Order(StringComparer.Ordinal));
            Assert.DoesNotContain(result.Head.Keys, result.Update.ContainsKey);
        }
    }

    [Fact]
    public async Task A_state_of_a_task_that_does_not_fit_fails_its_clients_by_the_names_of_task_and_tensor()
    {
        const string Name = "model.layers.0.self_attn.q_proj.B";
        var plan = Plan(HeadsOf(TinyFederation.TinyCatalogue("fedsa-lora"), Scope.Task), 3, static id => id);
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, plan);
        var fitting = group.Members[1].OfTask;

        await AssertRefusedAsync(AdapterState.Empty, "is missing");
        await AssertRefusedAsync(
            new([.. fitting.Where(static entry => entry.Key != Name), new(Name, new([2, 2], new float[4]))]),
            $"has shape [2, 2], the plan asks for [{string.Join(", ", fitting[Name].Shape)}]");
        await AssertRefusedAsync(
            new([.. fitting, group.Shared.First()]), "does not belong to scope Task of this plan", group.Shared.Keys.First());

        async Task AssertRefusedAsync(AdapterState state, string why, string? tensor = null)
        {
            var broken = group with { Members = [group.Members[0], group.Members[1] with { OfTask = state }] };
            var (trained, scored) = (await trainer.TrainAsync(broken), await trainer.EvaluateAsync(broken));
            Assert.Null(trained[0].Failure);
            Assert.Null(scored[0].Failure);
            foreach (var failure in (string?[])[trained[1].Failure, scored[1].Failure])
            {
                Assert.StartsWith("state of task two: tensor ", failure, StringComparison.Ordinal);
                Assert.Contains($"{tensor ?? Name} {why}", failure, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public async Task A_shared_state_that_holds_what_belongs_to_a_task_is_refused()
    {
        var plan = Plan(HeadsOf(TinyFederation.TinyCatalogue("fedsa-lora"), Scope.Task), 3, static id => id);
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, plan);
        var mixed = group with { Shared = new([.. group.Shared, .. group.Members[0].OfTask]) };

        var message = (await Assert.ThrowsAsync<BadInputException>(() => trainer.TrainAsync(mixed))).Message;

        Assert.Equal($"shared state: tensor {group.Members[0].OfTask.Keys.First()} does not belong to scope Job of this plan", message);
    }

    [Fact]
    public async Task Tasks_begin_alike_or_each_with_a_draw_of_its_own_as_the_policy_says()
    {
        using var trainer = _tiny.Trainer();
        var spec = HeadsOf(TinyFederation.TinyCatalogue("r-lora-federated"), Scope.Task);
        Task<AdapterState> Of(AdapterSpec spec, string task) => trainer.InitialOfTaskAsync(Plan(spec, 3, static id => id), task);
        var common = spec.With("B", static heads => heads with { Seed = SeedPolicy.Common });

        AssertSame(await Of(common, "one"), await Of(common, "two"));
        AssertSame(await Of(spec, "one"), await Of(spec, "one"));
        foreach (var (name, array) in await Of(spec, "one")) Assert.NotEqual(array.Data, (await Of(spec, "two"))[name].Data);
        AssertSame(
            await trainer.InitialSharedAsync(Plan(AllOf(common, Scope.Job), 3, static id => id)),
            new([.. await trainer.InitialSharedAsync(Plan(common, 3, static id => id)), .. await Of(common, "two")]));
    }

    [Fact]
    public async Task What_begins_as_in_the_weight_begins_so_for_every_task()
    {
        using var trainer = _tiny.Trainer();
        var dora = TinyFederation.TinyCatalogue("dora");
        var job = await trainer.InitialSharedAsync(Plan(dora, 3, static id => id));
        foreach (var task in (string[])["one", "two"])
        {
            AssertSame(
                new(job.Where(static entry => RoleOf(entry.Key) == Decomposition.Magnitude)),
                await trainer.InitialOfTaskAsync(Plan(Only(dora, Decomposition.Magnitude, Scope.Task), 3, static id => id), task));
        }
    }

    [Fact]
    public async Task A_method_without_a_tensor_of_a_task_has_no_state_of_one()
    {
        using var trainer = _tiny.Trainer();
        Assert.Empty(await trainer.InitialOfTaskAsync(_tiny.Plan(), "one"));
    }

    private static void AssertSame(AdapterState expected, AdapterState actual)
    {
        Assert.NotEmpty(expected);
        Assert.Equal(expected.Keys, actual.Keys);
        foreach (var (name, array) in expected) Assert.Equal(array.Data, actual[name].Data);
    }

    private FederationPlan Plan(AdapterSpec spec, int groupSize, Func<string, string> taskOf)
    {
        var plan = _tiny.Plan(spec);
        ClientSpec[] clients =
        [
            TinyFederation.Client("one"), TinyFederation.Client("two"),
            TinyFederation.Client("three") with { Data = new() { Train = "one.train.jsonl", Offset = 5, Test = "two.test.jsonl" } },
        ];
        return plan with
        {
            Clients = [.. clients.Select(client => client with { Task = taskOf(client.Id) })],
            Training = plan.Training with { GroupSize = groupSize }, Strategy = plan.Strategy with { Rounds = 4 },
        };
    }

    private async Task<IReadOnlyDictionary<string, AdapterState>> AssertSameBitsAsync(FederationPlan plan, params AdapterSpec[] others)
    {
        var expected = await RunAsync(plan);
        foreach (var spec in others)
        {
            var actual = await RunAsync(plan with { Adapter = spec });
            foreach (var (client, state) in expected) AssertSame(state, actual[client]);
        }

        return expected;
    }

    private async Task<IReadOnlyDictionary<string, AdapterState>> RunAsync(FederationPlan plan)
    {
        using var trainer = _tiny.Trainer();
        return await new SimulatedRounds(trainer, plan).RunAsync();
    }

    private static async Task<TrainingGroup> GroupAsync(LocalTrainer trainer, FederationPlan plan)
    {
        var members = new List<GroupMember>();
        foreach (var client in plan.Clients)
            members.Add(new() { Client = client, OfTask = await trainer.InitialOfTaskAsync(plan, client.Task) });
        return new() { Plan = plan, Round = 1, Shared = await trainer.InitialSharedAsync(plan), Members = members };
    }

    private static AdapterSpec AllOf(AdapterSpec spec, Scope scope) =>
        spec.Roles.Aggregate(spec, (changed, role) => Only(changed, role.Name, scope));

    private static AdapterSpec HeadsOf(AdapterSpec spec, Scope scope) =>
        spec.Roles.Where(static role => role is { Name: not "A", IsCounted: false })
            .Aggregate(spec, (changed, role) => Only(changed, role.Name, scope));

    // What counts the rows of its own client stays with it.
    private static AdapterSpec Only(AdapterSpec spec, string role, Scope scope) =>
        AdapterParts.Role(role).IsCounted ? spec : spec.With(role, tensor => Owned(tensor, scope));

    // One draw for each task, which is the client's where the two have one name.
    private static TensorPolicy Owned(TensorPolicy tensor, Scope scope) => tensor.Scope == Scope.Seed
        ? tensor
        : tensor with { Scope = scope, Seed = tensor.Seed == SeedPolicy.PerClient ? SeedPolicy.PerTask : tensor.Seed };

    private static AdapterState Nudged(AdapterState state, float by) => new(state.Select((entry, i) => KeyValuePair.Create(
        entry.Key, entry.Value with { Data = [.. entry.Value.Data.Select((value, j) => value + by * (1 + (i + j) % 3))] })));

    private static string RoleOf(string name) => name[(name.LastIndexOf('.') + 1)..];
}
