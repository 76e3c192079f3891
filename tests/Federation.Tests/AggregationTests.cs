using CsCheck;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

public class AggregationTests
{
    private static readonly Gen<float[]> Vector = Gen.Float[-10f, 10f].Array[5];
    private static readonly AdapterShapes Shapes = AdapterShapes.Of(State(("a", new float[5])));

    public static TheoryData<string> Rules => [.. StrategyRegistry.Aggregations.Keys];

    [Theory, MemberData(nameof(Rules))]
    public void Averaging_ignores_order(string rule) => Gen.Select(Vector, Gen.Double[0.1, 5]).Array[5, 8].Sample(clients =>
    {
        var forward = Aggregate(rule, clients);
        var backward = Aggregate(rule, clients.Reverse());
        for (var i = 0; i < 5; i++)
            Assert.Equal(
                forward.Update["a"].Data[i], backward.Update["a"].Data[i],
                1e-5f * clients.Max(client => MathF.Abs(client.Item1[i])) + 1e-12f);
    });

    [Theory, MemberData(nameof(Rules))]
    public void Equal_updates_are_a_fixed_point(string rule) =>
        Gen.Select(Vector, Gen.Double[0.1, 5].Array[Fewest(rule), 8]).Sample((update, weights) =>
            Assert.Equal(update, Aggregate(rule, weights.Select(weight => (update, weight))).Update["a"].Data));

    [Theory, MemberData(nameof(Rules))]
    public void The_fewest_clients_move_the_state_by_what_they_agree_on(string rule) =>
        Gen.Select(Vector, Vector).Sample((before, update) =>
        {
            var mean = Aggregate(rule, Enumerable.Repeat((update, 1.0), Fewest(rule))).Update;
            var (after, _) = StrategyRegistry.ServerOptimizers["sgd"](new()).Step(State(("a", before)), mean, null);
            Assert.Equal(before.Zip(update, (x, d) => (float)((double)x + d)), after["a"].Data);
        });

    [Theory, MemberData(nameof(Rules))]
    public void Two_sites_merge_to_what_one_gives_or_the_rule_says_that_they_cannot(string name) =>
        Gen.Select(Vector, Gen.Double[0.1, 5]).Array[5, 8].Sample(clients =>
        {
            var rule = StrategyRegistry.Aggregations[name](
                name == "normBound" ? new() { Rule = name, MaxNorm = 8 } : new() { Rule = name });
            var (first, second, one) = (rule.Begin(Shapes), rule.Begin(Shapes), rule.Begin(Shapes));
            for (var i = 0; i < clients.Length; i++)
            {
                (i < clients.Length / 2 ? first : second).Add(State(("a", clients[i].Item1)), clients[i].Item2);
                one.Add(State(("a", clients[i].Item1)), clients[i].Item2);
            }

            if (!rule.CanMerge)
            {
                Assert.Throws<NotSupportedException>(() => first.Merge(second));
                return;
            }

            first.Merge(second);
            var (merged, whole) = (first.Finish(), one.Finish());
            for (var i = 0; i < 5; i++)
                Assert.Equal(whole.Update["a"].Data[i], merged.Update["a"].Data[i], 1e-5f);
            Assert.Equal(whole.Curbed, merged.Curbed);
        });

    [Fact]
    public void The_mean_weighs_its_clients() =>
        Assert.Equal([2.5f, 0, 0, 0, 0], Aggregate("mean", [([1, 0, 0, 0, 0], 1.0), ([3, 0, 0, 0, 0], 3.0)]).Update["a"].Data);

    [Fact]
    public void The_mean_is_rounded_only_once() =>
        Assert.Equal(
            [1f / 3, 0, 0, 0, 0],
            Aggregate("mean", [([1e8f, 0, 0, 0, 0], 1.0), ([1, 0, 0, 0, 0], 1.0), ([-1e8f, 0, 0, 0, 0], 1.0)]).Update["a"].Data);

    [Theory, MemberData(nameof(Rules))]
    public void The_aggregate_of_nothing_is_an_error(string rule) =>
        Assert.Throws<InvalidOperationException>(() => Aggregate(rule, []));

    [Theory, MemberData(nameof(Rules))]
    public async Task A_plan_that_shares_nothing_aggregates_to_nothing(string rule)
    {
        string[] clients = ["a", "b", "c", "d", "e"];
        var plan = Of(clients).With(strategy => strategy with { Aggregation = new() { Rule = rule } });
        var aggregate = await CohortAggregator.RunAsync(
            plan, 1, AdapterState.Empty, null, clients, clients.ToDictionary(client => client, _ => new KeptReport()),
            (_, _) => HeldUpdate.OpenAsync(AdapterState.Empty));

        Assert.Empty(aggregate.Shared!);
        Assert.Null(aggregate.Coherence);
        Assert.Empty(aggregate.Curbed);
    }

    [Fact]
    public void Coherence_is_one_where_all_agree() =>
        Assert.Equal(1, Aggregate("mean", [([3, 4, 0, 0, 0], 1.0), ([6, 8, 0, 0, 0], 2.0)]).Coherence!.Value, 1e-12);

    [Fact]
    public void Coherence_of_orthogonal_updates_is_one_over_the_root_of_their_number() =>
        Assert.Equal(Math.Sqrt(0.5), Aggregate("mean", [([1, 0, 0, 0, 0], 1.0), ([0, 1, 0, 0, 0], 1.0)]).Coherence!.Value, 1e-12);

    [Fact]
    public void Coherence_is_null_where_nothing_moved() =>
        Assert.Null(Aggregate("mean", [(new float[5], 1.0)]).Coherence);

    [Fact]
    public void Ten_thousand_updates_need_one_accumulator()
    {
        var shape = State(("a", new float[10_000]));
        var update = State(("a", [.. Enumerable.Repeat(0.5f, 10_000)]));
        var sum = StrategyRegistry.Aggregations["mean"](new()).Begin(AdapterShapes.Of(shape));
        sum.Add(update, 1);

        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 10_000; i++)
            sum.Add(update, 1);
        var perUpdate = (GC.GetAllocatedBytesForCurrentThread() - before) / 10_000.0;

        Assert.True(perUpdate < 512, $"{perUpdate} bytes allocated for each update of 40,000.");
        Assert.All(sum.Finish().Update["a"].Data, value => Assert.Equal(0.5f, value));
    }

    [Theory]
    [InlineData(float.NaN, "a holds NaN at element 3.")]
    [InlineData(float.PositiveInfinity, "a holds Infinity at element 3.")]
    [InlineData(float.NegativeInfinity, "a holds -Infinity at element 3.")]
    public void An_update_that_is_not_finite_is_named(float value, string reason) =>
        Assert.Equal(reason, UpdateCheck.Find(Shapes, State(("a", [0, 0, 0, value, 0]))));

    [Fact]
    public void An_update_of_another_shape_is_named() =>
        Assert.Equal("a has shape [4], expected [5].", UpdateCheck.Find(Shapes, State(("a", new float[4]))));

    [Fact]
    public void A_transposed_update_is_named() =>
        Assert.Equal("w has shape [3, 2], expected [2, 3].", UpdateCheck.Find(AdapterShapes.Of(Matrix(2, 3)), Matrix(3, 2)));

    [Fact]
    public void An_update_without_a_tensor_is_named() =>
        Assert.Equal("The update has no tensor a.", UpdateCheck.Find(Shapes, AdapterState.Empty));

    [Fact]
    public void An_update_with_a_tensor_too_many_is_named() =>
        Assert.Equal(
            "The update has tensor b, which no client sends in this round.",
            UpdateCheck.Find(Shapes, State(("a", new float[5]), ("b", new float[1]))));

    [Fact]
    public async Task A_cohort_moves_the_shared_state_by_its_mean()
    {
        var aggregate = await Run(State(("A", [1, 1])), client => State(("A", client == "x" ? [1, 0] : [3, 0])));
        Assert.Equal([3, 1], aggregate.Shared!["A"].Data);
        Assert.Empty(aggregate.Refused);
    }

    [Fact]
    public async Task Every_unusable_update_of_a_cohort_is_refused_by_name()
    {
        var aggregate = await Run(
            State(("A", [1, 1])),
            client => client == "x" ? State(("A", [float.NaN, 0])) : throw new BadInputException("The blob is missing."));
        Assert.Equal(
            ["x: A holds NaN at element 0.", "y: The blob is missing."], aggregate.Refused.Select(pair => $"{pair.Key}: {pair.Value}"));
        Assert.Null(aggregate.Shared);
    }

    [Fact]
    public void The_length_of_an_update_is_the_sum_of_its_blocks_in_order()
    {
        var random = new Random(3);
        float[] Values(int count) =>
            [.. Enumerable.Range(0, count).Select(_ => (float)Math.ScaleB(random.NextDouble() - 0.5, random.Next(-20, 20)))];
        var update = State(("a", Values((9 * 4096) + 17)), ("b", Values(5)), ("c", Values(4 * 4096)));

        var squares = 0.0;
        foreach (var (_, array) in update)
        {
            foreach (var block in array.Data.Chunk(4096))
                squares += block.Aggregate(0.0, static (sum, value) => sum + ((double)value * value));
        }

        Assert.Equal(Math.Sqrt(squares), UpdateCheck.Length(update));
    }

    [Theory, MemberData(nameof(Rules))]
    public async Task Updates_that_arrive_in_any_order_give_the_same_bits(string rule)
    {
        float[] values = [1e17f, 1, -1e17f, 3, 1e-9f, 5e16f, -5e16f, 7]; // any other order of the float64 sum gives other bits
        string[] clients = [.. values.Select((_, index) => $"c{index}")];
        var expected = Aggregate(rule, values.Select(value => (Enumerable.Repeat(value, 5).ToArray(), 1.0 / values.Length)));
        var open = clients.ToDictionary(client => client, _ => new TaskCompletionSource());
        open[clients[^1]].SetResult();
        foreach (var client in clients.SkipLast(1).Reverse().Index())
            _ = Task.Delay(5 * client.Index).ContinueWith(_ => open[client.Item].SetResult(), TaskScheduler.Default);

        var plan = Of(clients).With(strategy => strategy with { Aggregation = new() { Rule = rule } });
        var aggregate = await CohortAggregator.RunAsync(
            plan, 1, State(("A", new float[5])), null, clients, Notes(clients), async (client, _) =>
            {
                await open[client].Task;
                return new HeldUpdate(State(("A", [.. Enumerable.Repeat(values[Array.IndexOf(clients, client)], 5)])));
            });

        Assert.Equal(expected.Update["a"].Data, aggregate.Shared!["A"].Data);
        Assert.Equal(expected.Coherence, aggregate.Coherence);
    }

    [Fact]
    public async Task A_rule_that_keeps_updates_finds_each_as_it_was_added()
    {
        string[] clients = [.. Enumerable.Range(0, 20).Select(index => $"c{index:D2}")];
        var rule = new KeepingRule();

        await CohortAggregator.RunAsync(
            rule, Of(clients), 1, State(("A", new float[5])), null, clients, Notes(clients), (client, _) => HeldUpdate.OpenAsync(
                State(("A", [.. Enumerable.Repeat<float>(Array.IndexOf(clients, client), 5)]))));

        Assert.Equal(Enumerable.Range(0, 20).Select(static index => (float)index), rule.Kept.Select(static update => update["A"].Data[0]));
    }

    [Fact]
    public async Task A_shared_state_that_overflows_is_an_error() =>
        await Assert.ThrowsAsync<InvalidOperationException>(() => Run(State(("A", [float.MaxValue])), _ => State(("A", [float.MaxValue]))));

    [Fact]
    public void An_unknown_rule_is_refused_with_the_known_ones()
    {
        var plan = Of("x").With(strategy => strategy with { Aggregation = new() { Rule = "magic" } });

        Assert.Equal(
            "There is no aggregation rule magic; there are: geometricMedian, krum, mean, median, multiKrum, normBound, trimmedMean.",
            Assert.Throws<BadInputException>(() => StrategyRegistry.Aggregation(plan)).Message);
    }

    private static Dictionary<string, KeptReport> Notes(string[] clients) =>
        clients.ToDictionary(client => client, _ => new KeptReport());

    private static int Fewest(string rule) => new Abstractions.Plans.AggregationSpec { Rule = rule }.Fewest;

    private static AggregateUpdate Aggregate(string rule, IEnumerable<(float[] Update, double Weight)> clients)
    {
        var sum = StrategyRegistry.Aggregations[rule](new() { Rule = rule }).Begin(Shapes);
        foreach (var (update, weight) in clients)
            sum.Add(State(("a", update)), weight);
        return sum.Finish();
    }

    private static Task<CohortAggregate> Run(AdapterState global, Func<string, AdapterState> read)
    {
        var reports = new Dictionary<string, KeptReport> { ["x"] = new(), ["y"] = new() };
        return CohortAggregator.RunAsync(
            Of("x", "y"), 1, global, null, ["x", "y"], reports, (client, _) => Task.Run<IUpdateReader>(() => new HeldUpdate(read(client))));
    }

    private sealed class KeepingRule : IAggregationRule, IAccumulator
    {
        public List<AdapterState> Kept { get; } = [];

        public bool KeepsUpdates => true;

        public IAccumulator Begin(AdapterShapes shapes) => this;

        public void Add(AdapterState update, double weight, double length) => Kept.Add(update);

        public void Merge(IAccumulator other) => throw new NotSupportedException();

        public AggregateUpdate Finish() => new(Kept[^1], null);
    }

    private static AdapterState Matrix(long rows, long columns) =>
        new([KeyValuePair.Create("w", new NamedArray([rows, columns], new float[rows * columns]))]);
}
