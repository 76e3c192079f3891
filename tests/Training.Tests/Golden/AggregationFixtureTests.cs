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
            aggregate = await RunAsync(new StrategySpec { Rounds = 1 }, Zero(clients[0]), [.. kept.Select(client => clients[client])], [.. kept.Select(client => examples[client])]);
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
        var clients = Enumerable.Range(0, numbers.Config.GetProperty("clients").GetInt32()).Select(client => Factors(numbers, $"client{client}")).ToList();
        var before = Factors(numbers, "global_before");
        // FFA freezes A: it is no tensor of a round.
        bool IsShared(string tensor) => name != "ffa" || tensor.Contains(".lora_B.", StringComparison.Ordinal);
        AdapterState Shared(AdapterState state) => new(state.Where(entry => IsShared(entry.Key)));

        var after = await MeanAsync(Shared(before), [.. clients.Select(client => Minus(Shared(client), Shared(before)))], null);

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
            var updates = examples.Select((_, client) => Map(
                x, (tensor, i, value) => (0.3f * (numbers.Array($"target.client{client}.{tensor}").Data[i] - value)) + numbers.Array($"noise.round{round}.client{client}.{tensor}").Data[i])).ToList();
            x = await MeanAsync(x, updates, examples);
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
            var after = samples.Select((_, client) => Enumerable.Range(0, steps).Aggregate(x, (y, _) => Map(
                y, (tensor, i, value) => value - (rate * numbers.Array($"curvature.client{client}.{tensor}").Data[i] * (value - numbers.Array($"target.client{client}.{tensor}").Data[i]))))).ToList();
            x = await MeanAsync(x, [.. after.Select(client => Minus(client, x))], samples);
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
        var published = numbers.Expected.GetProperty("staleness_weights").GetProperty(string.Create(CultureInfo.InvariantCulture, $"polynomial exponent {exponent}, avg_staleness 0"));
        foreach (var (staleness, weight) in Integers(numbers.Config.GetProperty("staleness")).Zip(published.EnumerateArray()))
            Assert.Equal(weight.GetDouble(), Weights.Discount(Plan(strategy, Weighting.Uniform, size), staleness), 1e-10);

        var (updates, versions) = (numbers.Array("updates"), numbers.Integers("started_at_version"));
        var width = (int)updates.Shape[1];
        var x = new AdapterState([KeyValuePair.Create("x", numbers.Array("x_start"))]);
        foreach (var (round, arrivals) in versions.Chunk(size).Index())
        {
            var buffer = arrivals.Select((_, i) => new AdapterState([KeyValuePair.Create("x", new NamedArray([width], updates.Data.AsSpan(((round * size) + i) * width, width).ToArray()))])).ToList();
            x = (await RunAsync(strategy, x, buffer, null, [.. arrivals.Select(version => round - (int)version)])).Shared!;
            var reference = numbers.Array("x_after_each_server_step").Data.AsSpan(round * width, width);
            Close.Assert(reference, x["x"].Data, $"x after step {round + 1}", 1e-5, 1e-5);
        }
    }

    private static AggregationSpec RuleOf(string name) => name.Split('_') switch
    {
        ["fedavg"] => new(),
        ["median"] => new() { Rule = "median" },
        ["trimmed", "mean", var trim] => new() { Rule = "trimmedMean", Trim = double.Parse(trim, CultureInfo.InvariantCulture) },
        ["krum", var hostile] => new() { Rule = "krum", Byzantine = int.Parse(hostile.AsSpan(1), CultureInfo.InvariantCulture) },
        ["multikrum", var hostile, var keep] =>
            new() { Rule = "multiKrum", Byzantine = int.Parse(hostile.AsSpan(1), CultureInfo.InvariantCulture), Keep = int.Parse(keep.AsSpan("keep".Length), CultureInfo.InvariantCulture) },
        _ => throw new ArgumentException($"{name}: which rule this is is not known", nameof(name)),
    };

    private static async Task<AdapterState> MeanAsync(AdapterState global, IReadOnlyList<AdapterState> updates, int[]? samples) =>
        (await RunAsync(new StrategySpec { Rounds = 1 }, global, updates, samples)).Shared!;

    // With rows they are the weights, without all weigh the same.
    private static async Task<CohortAggregate> RunAsync(StrategySpec strategy, AdapterState global, IReadOnlyList<AdapterState> updates, int[]? samples, int[]? staleness = null)
    {
        var plan = Plan(strategy, samples is null ? Weighting.Uniform : Weighting.Samples, updates.Count);
        var clients = plan.Clients.Select(static client => client.Id).ToList();
        var reports = clients.Index().ToDictionary(static entry => entry.Item, entry => new ClientNote { Samples = samples?[entry.Index] ?? 1 });
        // An update may be overwritten once it was added, so each is a copy.
        var aggregate = await CohortAggregator.RunAsync(plan, global, null, clients, reports, (client, _, _) => Task.FromResult(Map(updates[clients.IndexOf(client)], static (_, _, value) => value)), staleness);
        Assert.Empty(aggregate.Refused);
        return aggregate;
    }

    private static string IdOf(int client) => $"c{client:00}";

    private static FederationPlan Plan(StrategySpec strategy, Weighting weighting, int clients) => new()
    {
        Name = "fixture", Model = new() { Path = "model" }, Strategy = strategy, Adapter = new() { Weighting = weighting },
        Clients = [.. Enumerable.Range(0, clients).Select(static client => new ClientSpec { Id = IdOf(client), Task = "task", Data = new() { Train = "train.jsonl" } })],
    };

    // Every tensor whose name is a prefix, a dot and one more word, by that word.
    private static AdapterState Group(MethodNumbers numbers, string prefix) => new(numbers.Names
        .Where(name => name.StartsWith(prefix + ".", StringComparison.Ordinal) && !name[(prefix.Length + 1)..].Contains('.', StringComparison.Ordinal))
        .Select(name => KeyValuePair.Create(name[(prefix.Length + 1)..], numbers.Array(name))));

    private static AdapterState Factors(MethodNumbers numbers, string prefix) => new(numbers.Names
        .Where(name => name.StartsWith(prefix + ".", StringComparison.Ordinal) && name.Contains(".lora_", StringComparison.Ordinal))
        .Select(name => KeyValuePair.Create(name[(prefix.Length + 1)..], numbers.Array(name))));

    private static AdapterState Zero(AdapterState like) => Map(like, static (_, _, _) => 0);

    private static AdapterState Minus(AdapterState after, AdapterState before) => Map(after, (tensor, i, value) => value - before[tensor].Data[i]);

    private static AdapterState Map(AdapterState state, Func<string, int, float, float> of) => new(state.Select(entry =>
        KeyValuePair.Create(entry.Key, entry.Value with { Data = [.. entry.Value.Data.Select((value, i) => of(entry.Key, i, value))] })));

    private static int[] Integers(JsonElement list) => [.. list.EnumerateArray().Select(static value => value.GetInt32())];
}
