using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;
using FedRLora.Federation.Tests;

namespace FedRLora.Training.Tests.Golden;

/// <summary>Aggregates and trajectories of other people's servers, through the path that a round takes.</summary>
public sealed class AggregationFixtureTests
{
    public static TheoryData<string> Rules => Fixtures.Of("aggregation/*");

    public static TheoryData<string> MeansOfFactors => Fixtures.Of("method/fedex-lora/fed_agg/*");

    public static TheoryData<string> Flower => Fixtures.Of("method/flower/strategy/*");

    public static TheoryData<string> OpenFedLlm => [.. Fixtures.Of("method/openfedllm/fed_global/*").Except(Local)];

    public static TheoryData<string> Scaffold => Fixtures.Of("method/openfedllm/fed_global/scaffold");

    private static IEnumerable<string> Local =>
        [.. Scaffold, .. Fixtures.Of("method/openfedllm/fed_global/fedprox")];

    public static TheoryData<string> Buffered => Fixtures.Of("method/flsim/async_staleness_weights");

    [SharedTheory, MemberData(nameof(Rules))]
    public async Task A_rule_gives_what_Flower_gives(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var numbers = new MethodNumbers(folder);
        var examples = Integers(numbers.Expected.GetProperty("examples"));
        var clients = Enumerable.Range(0, examples.Length).Select(client => Group(numbers, $"client_{client}")).ToList();

        var aggregate = await RunAsync(new StrategySpec { Rounds = 1, Aggregation = RuleOf(name) }, Zero(clients[0]), clients, examples);
        if (RuleOf(name).Rule == "multiKrum")
        {
            // Flower weighs what it keeps by rows, which the rule here does not: its choice is compared.
            var kept = Enumerable.Range(0, clients.Count).Where(client => !aggregate.Curbed.ContainsKey(IdOf(client))).ToList();
            AdapterState[] chosen = [.. kept.Select(client => clients[client])];
            int[] rows = [.. kept.Select(client => examples[client])];
            aggregate = await RunAsync(new StrategySpec { Rounds = 1 }, Zero(chosen[0]), chosen, rows);
        }

        Assert.All(aggregate.Shared!, entry =>
        {
            var reference = numbers.Array($"{name}.{entry.Key}").Data;
            Close.Assert(reference, entry.Value.Data, $"{name}.{entry.Key}", 1e-5 * reference.Max(Math.Abs), 0);
        });
    }

    [SharedTheory, MemberData(nameof(MeansOfFactors))]
    public async Task Factors_are_averaged_as_in_FedIT_and_FFA(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var numbers = new MethodNumbers(folder);
        // FFA freezes A: it is no tensor of a round.
        AdapterState Shared(string owner) => Factors(numbers, owner, name == "ffa" ? ".lora_B." : ".lora_");
        var before = Shared("global_before");
        var clients = Enumerable.Range(0, numbers.Config.GetProperty("clients").GetInt32());

        var after = await MeanAsync(before, [.. clients.Select(client => Minus(Shared($"client{client}"), before))], samples: null);

        Assert.NotEmpty(after);
        foreach (var (tensor, array) in after) numbers.CompareOutput($"{name}.{tensor}", array.Data);
    }

    [SharedTheory, MemberData(nameof(Flower))]
    public async Task Rounds_of_a_server_optimizer_are_those_of_Flower(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var numbers = new MethodNumbers(folder);
        var optimizer = OfFlower(numbers.Config.GetProperty("optimisers").GetProperty(name));
        var strategy = new StrategySpec { Rounds = 1, ServerOptimizer = optimizer };
        var examples = Integers(numbers.Config.GetProperty("num_examples"));
        var (x, remembered) = (Group(numbers, "initial"), (AdapterState?)null);
        for (var round = 0; round < numbers.Config.GetProperty("rounds").GetInt32(); round++)
        {
            // A client goes three tenths of the way to its target, with noise.
            AdapterState[] updates = [.. examples.Select((_, client) =>
            {
                var (target, noise) = (Group(numbers, $"target.client{client}"), Group(numbers, $"noise.round{round}.client{client}"));
                return Map(x, (tensor, i, value) => (0.3f * (target[tensor].Data[i] - value)) + noise[tensor].Data[i]);
            })];
            var after = await RunAsync(strategy, x, updates, examples, remembered: remembered);
            (x, remembered) = (after.Shared!, after.ServerOptimizer);
            foreach (var (tensor, array) in x) numbers.CompareOutput($"{name}.round{round}.{tensor}", array.Data);
        }

        // What it remembers is published for the adaptive rules; adagrad has no m of its own, and a count of steps is ours.
        Assert.Equal(optimizer.Rule == "sgd", remembered is null);
        foreach (var quantity in (string[])["m", "v"])
        {
            foreach (var (tensor, _) in Group(numbers, $"{name}.final_{quantity}"))
            {
                if ((optimizer.Rule, quantity) == ("adagrad", "m")) continue;
                var ours = remembered![$"{optimizer.Rule}-flower/{quantity}/{tensor}"];
                numbers.CompareOutput($"{name}.final_{quantity}.{tensor}", ours.Data);
            }
        }
    }

    [SharedTheory, MemberData(nameof(OpenFedLlm))]
    public async Task Rounds_are_those_of_OpenFedLLM_as_far_as_it_follows_Reddi(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var numbers = new MethodNumbers(folder);
        var (optimizer, isWeighted, rounds) = OfOpenFedLlm(name, numbers.Config);
        var samples = Integers(numbers.Config.GetProperty("sample_counts"));
        var strategy = new StrategySpec { Rounds = 1, ServerOptimizer = optimizer };
        var (x, remembered) = (Group(numbers, "initial"), (AdapterState?)null);
        for (var round = 0; round < rounds; round++)
        {
            AdapterState[] updates = [.. samples.Select((_, client) => Minus(Descended(numbers, x, client), x))];
            var after = await RunAsync(strategy, x, updates, isWeighted ? samples : null, remembered: remembered);
            (x, remembered) = (after.Shared!, after.ServerOptimizer);
            foreach (var (tensor, array) in x) numbers.CompareOutput($"{name}.round{round}.{tensor}", array.Data);
        }
    }

    [SharedTheory, MemberData(nameof(Scaffold))]
    public async Task Control_variates_are_those_of_SCAFFOLD(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var numbers = new MethodNumbers(folder);
        var samples = Integers(numbers.Config.GetProperty("sample_counts"));
        var (steps, rate) = (numbers.Config.GetProperty("local_steps").GetInt32(), numbers.Config.GetProperty("local_lr").GetSingle());
        var x = Group(numbers, "initial");
        var c = Map(x, static (_, _, _) => 0);
        AdapterState[] own = [.. samples.Select(_ => c)];
        for (var round = 0; round < numbers.Config.GetProperty("rounds").GetInt32(); round++)
        {
            var cohort = numbers.Present(name, round, samples.Length);
            var updates = new List<AdapterState>();
            foreach (var client in cohort)
            {
                var correction = Minus(c, own[client]);
                var y = Descended(numbers, x, client, correction);
                var next = Map(y, (tensor, i, value) => ((x[tensor].Data[i] - value) / (steps * rate)) - correction[tensor].Data[i]);
                var variates = Minus(next, own[client]);
                updates.Add(new([.. Minus(y, x), .. Renamed(variates, VariateOf)]));
                own[client] = next;
            }

            var after = (await RunAsync(
                new() { Rounds = 1 }, new([.. x, .. Renamed(c, VariateOf)]), updates, [.. cohort.Select(client => samples[client])],
                objective: new Objective.ControlVariates(), clients: samples.Length)).Shared!;
            c = Map(c, (tensor, i, _) => after[VariateOf(tensor)].Data[i]);
            x = Map(x, (tensor, i, _) => after[tensor].Data[i]);
            foreach (var (tensor, array) in x)
            {
                numbers.CompareOutput($"{name}.round{round}.{tensor}", array.Data);
                numbers.CompareOutput($"{name}.round{round}.global_control.{tensor}", c[tensor].Data);
            }
        }
    }

    private static string VariateOf(string tensor) => new Objective.ControlVariates().Statistics.NameOf(tensor);

    // A client descends on curvature / 2 * (y - target)^2, with control variates along c - c_k too.
    private static AdapterState Descended(MethodNumbers numbers, AdapterState x, int client, AdapterState? correction = null)
    {
        var (steps, rate) = (numbers.Config.GetProperty("local_steps").GetInt32(), numbers.Config.GetProperty("local_lr").GetSingle());
        var (target, curvature) = (Group(numbers, $"target.client{client}"), Group(numbers, $"curvature.client{client}"));
        var y = x;
        for (var step = 0; step < steps; step++)
        {
            y = Map(y, (tensor, i, value) => value - (rate
                * ((curvature[tensor].Data[i] * (value - target[tensor].Data[i])) + (correction?[tensor].Data[i] ?? 0))));
        }

        return y;
    }

    // Flower's FedAvgM is that of Reddi et al.
    private static ServerOptimizerSpec OfFlower(JsonElement optimizer)
    {
        double? Value(string key) => optimizer.TryGetProperty(key, out var value) ? value.GetDouble() : null;
        var adaptive = new ServerOptimizerSpec { LearningRate = Value("eta"), Tau = Value("tau"), Variant = ServerVariant.Flower };
        return optimizer.GetProperty("class").GetString() switch
        {
            "FedAvg" => new(),
            "FedAvgM" => new()
            {
                Rule = "momentum", LearningRate = Value("server_learning_rate"), Momentum = Value("server_momentum"),
                Variant = ServerVariant.Flower,
            },
            "FedAdagrad" => adaptive with { Rule = "adagrad" },
            "FedAdam" => adaptive with { Rule = "adam", Beta1 = Value("beta_1"), Beta2 = Value("beta_2") },
            "FedYogi" => adaptive with { Rule = "yogi", Beta1 = Value("beta_1"), Beta2 = Value("beta_2") },
            var other => throw new ArgumentException($"{other}: which rule this is is not known", nameof(optimizer)),
        };
    }

    // Of FedAdam, FedYogi and FedAvgM the first round alone follows the paper, where its m is D: later theirs squares m in the place of D,
    // and FedAvgM averages where the paper adds up.
    private static (ServerOptimizerSpec Optimizer, bool IsWeighted, int Rounds) OfOpenFedLlm(string name, JsonElement config)
    {
        var (server, rounds) = (config.GetProperty("server"), config.GetProperty("rounds").GetInt32());
        var adaptive = new ServerOptimizerSpec
        {
            LearningRate = server.GetProperty("eta").GetDouble(), Tau = server.GetProperty("tau").GetDouble(),
        };
        var first = adaptive with { Beta1 = 0, Beta2 = server.GetProperty("b2").GetDouble() };
        return name switch
        {
            "fedavg" => (new(), true, rounds),
            "fedavgm" => (new() { Rule = "momentum" }, true, 1),
            "fedadagrad" => (adaptive with { Rule = "adagrad" }, false, rounds),
            "fedadam" => (first with { Rule = "adam" }, false, 1),
            "fedyogi" => (first with { Rule = "yogi" }, false, 1),
            _ => throw new ArgumentException($"{name}: which rule this is is not known", nameof(name)),
        };
    }

    [SharedTheory, MemberData(nameof(Buffered))]
    public async Task Staleness_discounts_and_buffered_rounds_are_those_of_FedBuff(string folder)
    {
        using var numbers = new MethodNumbers(folder);
        var (exponent, size) = (numbers.Config.GetProperty("exponent").GetDouble(), numbers.Config.GetProperty("buffer").GetInt32());
        var strategy = new StrategySpec
        {
            Rounds = 1, Trigger = new() { Rule = TriggerRule.Buffered, BufferSize = size, StalenessExponent = exponent },
            ServerOptimizer = new() { LearningRate = numbers.Config.GetProperty("server_lr").GetDouble() },
        };
        var law = string.Create(CultureInfo.InvariantCulture, $"polynomial exponent {exponent}, avg_staleness 0");
        var published = numbers.Expected.GetProperty("staleness_weights").GetProperty(law);
        foreach (var (staleness, weight) in Integers(numbers.Config.GetProperty("staleness")).Zip(published.EnumerateArray()))
            Assert.Equal(weight.GetDouble(), Weights.Discount(Plan(strategy, Weighting.Uniform, size), staleness), 1e-10);

        var (updates, versions) = (numbers.Array("updates"), numbers.Integers("started_at_version"));
        var width = (int)updates.Shape[1];
        var x = new AdapterState([KeyValuePair.Create("x", numbers.Array("x_start"))]);
        foreach (var (round, arrivals) in versions.Chunk(size).TakeWhile(chunk => chunk.Length == size).Index())
        {
            var buffer = updates.Data.Chunk(width).Skip(round * size).Take(size)
                .Select(update => new AdapterState([KeyValuePair.Create("x", new NamedArray([width], update))]));
            x = (await RunAsync(strategy, x, [.. buffer], null, [.. arrivals.Select(version => round - (int)version)])).Shared!;
            var reference = numbers.Array("x_after_each_server_step").Data.AsSpan(round * width, width);
            Close.Assert(reference, x["x"].Data, $"x after step {round + 1}", 1e-5, 1e-5);
        }
    }

    private static AggregationSpec RuleOf(string name) => name.Split('_') switch
    {
        ["fedavg"] => new(),
        ["median"] => new() { Rule = "median" },
        ["trimmed", "mean", var trim] => new() { Rule = "trimmedMean", Trim = double.Parse(trim, CultureInfo.InvariantCulture) },
        ["krum", var hostile] => new() { Rule = "krum", Byzantine = Number(hostile[1..]) },
        ["multikrum", var hostile, var keep] => new() { Rule = "multiKrum", Byzantine = Number(hostile[1..]), Keep = Number(keep[4..]) },
        _ => throw new ArgumentException($"{name}: which rule this is is not known", nameof(name)),
    };

    private static int Number(string digits) => int.Parse(digits, CultureInfo.InvariantCulture);

    private static async Task<AdapterState> MeanAsync(AdapterState global, IReadOnlyList<AdapterState> updates, int[]? samples) =>
        (await RunAsync(new StrategySpec { Rounds = 1 }, global, updates, samples)).Shared!;

    // With rows they are the weights, without all weigh the same.
    private static async Task<CohortAggregate> RunAsync(
        StrategySpec strategy, AdapterState global, IReadOnlyList<AdapterState> updates, int[]? samples, int[]? staleness = null,
        AdapterState? remembered = null, Objective? objective = null, int? clients = null)
    {
        var plan = Plan(strategy, samples is null ? Weighting.Uniform : Weighting.Samples, clients ?? updates.Count, objective);
        var closed = plan.Clients.Take(updates.Count).Select(static client => client.Id).ToList();
        KeptReport Report(string client) => new() { Samples = samples?[closed.IndexOf(client)] ?? 1 };
        AdapterState Read(string client) => AsDown(updates[closed.IndexOf(client)]);
        var reports = closed.ToDictionary(static client => client, Report);
        var aggregate = await CohortAggregator.RunAsync(
            plan, 1, AsDown(global), remembered is null ? null : Renamed(remembered, static name => name + Down), closed, reports,
            (client, _) => HeldUpdate.OpenAsync(Read(client)), staleness);
        Assert.Empty(aggregate.Refused);
        AdapterState? Named(AdapterState? state) =>
            state is null ? null : Renamed(state, static name => name.Replace(Down, "", StringComparison.Ordinal));
        return aggregate with { Shared = Named(aggregate.Shared), ServerOptimizer = Named(aggregate.ServerOptimizer) };
    }

    // The tensors of a fixture have names of its own: here all of them are down-projections, which all clients aggregate.
    private const string Down = ".down.A";

    private static AdapterState AsDown(AdapterState state) =>
        Renamed(state, static name => StatisticFamily.IsStatistic(name) ? name : name + Down);

    private static AdapterState Renamed(AdapterState state, Func<string, string> name) =>
        new(state.Select(array => KeyValuePair.Create(name(array.Key), array.Value)));

    private static string IdOf(int client) => $"c{client:00}";

    private static FederationPlan Plan(StrategySpec strategy, Weighting weighting, int clients, Objective? objective = null) => new()
    {
        Name = "fixture", Model = new() { Path = "model" }, Strategy = strategy,
        Adapter = new() { Weighting = weighting, Objectives = objective is null ? [] : [objective] },
        Clients = [.. Enumerable.Range(0, clients).Select(static client => new ClientSpec
        {
            Id = IdOf(client), Task = "task", Data = new() { Train = "train.jsonl" },
        })],
    };

    // Every tensor whose name is a prefix, a dot and one more word, by that word.
    private static AdapterState Group(MethodNumbers numbers, string prefix) => new(numbers.Names
        .Where(name => name.LastIndexOf('.') == prefix.Length && name.StartsWith(prefix, StringComparison.Ordinal))
        .Select(name => KeyValuePair.Create(name[(prefix.Length + 1)..], numbers.Array(name))));

    private static AdapterState Factors(MethodNumbers numbers, string prefix, string which) => new(numbers.Names
        .Where(name => name.StartsWith(prefix + ".", StringComparison.Ordinal) && name.Contains(which, StringComparison.Ordinal))
        .Select(name => KeyValuePair.Create(name[(prefix.Length + 1)..], numbers.Array(name))));

    private static AdapterState Zero(AdapterState like) => Map(like, static (_, _, _) => 0);

    private static AdapterState Minus(AdapterState after, AdapterState before) =>
        Map(after, (tensor, i, value) => value - before[tensor].Data[i]);

    private static AdapterState Map(AdapterState state, Func<string, int, float, float> of) => new(state.Select(entry =>
        KeyValuePair.Create(entry.Key, entry.Value with { Data = [.. entry.Value.Data.Select((value, i) => of(entry.Key, i, value))] })));

    private static int[] Integers(JsonElement list) => [.. list.EnumerateArray().Select(static value => value.GetInt32())];
}
