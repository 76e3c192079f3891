using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;

namespace FedRLora.Training.Tests.Golden;

/// <summary>Aggregates and trajectories of other people's servers, through the path that a round takes.</summary>
public sealed class AggregationFixtureTests
{
    public static TheoryData<string> Rules => Fixtures.Of("aggregation/*");

    public static TheoryData<string> MeansOfFactors => Fixtures.Of("method/fedex-lora/fed_agg/*");

    public static TheoryData<string> Flower => Fixtures.Of("method/flower/strategy/*");

    public static TheoryData<string> OpenFedLlm => Fixtures.Of("method/openfedllm/fed_global/*");

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
    public async Task Rounds_of_FedAvg_are_those_of_Flower(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var numbers = new MethodNumbers(folder);
        var examples = Integers(numbers.Config.GetProperty("num_examples"));
        var x = Group(numbers, "initial");
        for (var round = 0; round < numbers.Config.GetProperty("rounds").GetInt32(); round++)
        {
            // A client goes three tenths of the way to its target, with noise.
            x = await MeanAsync(x, [.. examples.Select((_, client) =>
            {
                var (target, noise) = (Group(numbers, $"target.client{client}"), Group(numbers, $"noise.round{round}.client{client}"));
                return Map(x, (tensor, i, value) => (0.3f * (target[tensor].Data[i] - value)) + noise[tensor].Data[i]);
            })], examples);
            foreach (var (tensor, array) in x) numbers.CompareOutput($"{name}.round{round}.{tensor}", array.Data);
        }
    }

    [SharedTheory, MemberData(nameof(OpenFedLlm))]
    public async Task Rounds_of_FedAvg_are_those_of_OpenFedLLM(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var numbers = new MethodNumbers(folder);
        var samples = Integers(numbers.Config.GetProperty("sample_counts"));
        var (steps, rate) = (numbers.Config.GetProperty("local_steps").GetInt32(), numbers.Config.GetProperty("local_lr").GetSingle());
        var x = Group(numbers, "initial");
        for (var round = 0; round < numbers.Config.GetProperty("rounds").GetInt32(); round++)
        {
            // A client descends on curvature / 2 * (y - target)^2.
            x = await MeanAsync(x, [.. samples.Select((_, client) =>
            {
                var (target, curvature) = (Group(numbers, $"target.client{client}"), Group(numbers, $"curvature.client{client}"));
                var after = x;
                for (var step = 0; step < steps; step++)
                    after = Map(after, (tensor, i, value) => value - (rate * curvature[tensor].Data[i] * (value - target[tensor].Data[i])));
                return Minus(after, x);
            })], samples);
            foreach (var (tensor, array) in x) numbers.CompareOutput($"{name}.round{round}.{tensor}", array.Data);
        }
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
        foreach (var (round, arrivals) in versions.Chunk(size).Index())
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
        StrategySpec strategy, AdapterState global, IReadOnlyList<AdapterState> updates, int[]? samples, int[]? staleness = null)
    {
        var plan = Plan(strategy, samples is null ? Weighting.Uniform : Weighting.Samples, updates.Count);
        var clients = plan.Clients.Select(static client => client.Id).ToList();
        KeptReport Report(string client) => new() { Samples = samples?[clients.IndexOf(client)] ?? 1 };
        // An update may be overwritten once it was added, so each is a copy.
        Task<AdapterState> Read(string client) => Task.FromResult(Map(updates[clients.IndexOf(client)], static (_, _, value) => value));
        var reports = clients.ToDictionary(static client => client, Report);
        var aggregate = await CohortAggregator.RunAsync(plan, 1, global, null, clients, reports, (client, _, _) => Read(client), staleness);
        Assert.Empty(aggregate.Refused);
        return aggregate;
    }

    private static string IdOf(int client) => $"c{client:00}";

    private static FederationPlan Plan(StrategySpec strategy, Weighting weighting, int clients) => new()
    {
        Name = "fixture", Model = new() { Path = "model" }, Strategy = strategy, Adapter = new() { Weighting = weighting },
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
