using CsCheck;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Aggregation;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.Aggregation;

/// <summary>What hostile updates can do to a rule, and what they cannot.</summary>
public sealed class RobustRulesTests
{
    private const int Size = 5;
    private const int Honest = 7;
    private const int Hostile = 3;
    private static readonly Gen<float[][]> HonestUpdates = Gen.Float[-1, 1].Array[Size].Array[Honest];
    private static readonly Gen<float[][]> Directions = Gen.Float[-1, 1].Array[Size]
        .Where(static direction => direction.Any(static x => MathF.Abs(x) > 0.5f)).Array[Hostile];
    private static readonly Gen<double> Sizes = Gen.Double[1.5, 30].Select(static exponent => Math.Pow(10, exponent));

    [Theory]
    [InlineData("median")]
    [InlineData("trimmedMean")]
    public void A_coordinate_rule_stays_inside_the_honest_range(string rule) =>
        Gen.Select(HonestUpdates, Directions, Sizes).Sample((honest, directions, size) =>
        {
            var result = Run(
                new() { Rule = rule, Trim = rule == "median" ? null : 0.3 }, [.. Long(directions, size), .. honest]).Update["a"].Data;

            for (var i = 0; i < Size; i++)
                Assert.InRange(result[i], honest.Min(update => update[i]), honest.Max(update => update[i]));
        });

    [Fact]
    public void Krum_returns_an_honest_update_whatever_the_size_of_the_hostile_ones() =>
        Gen.Select(HonestUpdates, Directions, Sizes).Sample((honest, directions, size) =>
        {
            var result = Run(new() { Rule = "krum", Byzantine = Hostile }, [.. Long(directions, size), .. honest]).Update["a"].Data;

            Assert.Contains(honest, update => update.SequenceEqual(result));
        });

    [Fact]
    public void Krum_is_not_outvoted_by_hostile_updates_that_agree() =>
        Gen.Select(HonestUpdates, Directions, Sizes).Sample((honest, directions, size) =>
        {
            var result = Run(
                new() { Rule = "krum", Byzantine = Hostile },
                [.. Enumerable.Repeat(Long(directions, size)[0], Hostile), .. honest]).Update["a"].Data;

            Assert.Contains(honest, update => update.SequenceEqual(result));
        });

    [Fact]
    public void Multi_Krum_averages_honest_updates_alone_and_names_the_others() =>
        Gen.Select(HonestUpdates, Directions, Sizes).Sample((honest, directions, size) =>
        {
            var aggregate = Run(new() { Rule = "multiKrum", Byzantine = Hostile }, [.. Long(directions, size), .. honest]);

            Assert.All(aggregate.Update["a"].Data, static value => Assert.InRange(value, -1f, 1f));
            Assert.Equal(Hostile + 2, aggregate.Curbed.Count);
            Assert.All(
                Enumerable.Range(0, Hostile),
                hostile => Assert.StartsWith("left out: ", aggregate.Curbed[hostile], StringComparison.Ordinal));
        });

    [Fact]
    public void The_geometric_median_moves_by_no_more_than_the_honest_spread_allows() =>
        Gen.Select(HonestUpdates, Directions, Gen.Double[1, 9]).Sample((honest, directions, exponent) =>
        {
            var calm = Run(new() { Rule = "geometricMedian" }, honest).Update["a"].Data;
            var moved = Run(new() { Rule = "geometricMedian" }, [.. Long(directions, Math.Pow(10, exponent)), .. honest]).Update["a"].Data;

            // (2 n - 2 s) / (n - 2 s) times the largest honest distance, with s of n hostile (Cohen et al., STOC 2016, lemma 24).
            var spread = honest.Max(update => Distance(update, calm));
            Assert.InRange(Distance(moved, calm), 0, 2 * Honest / (double)(Honest - Hostile) * spread * 1.001);
        });

    [Fact]
    public void The_geometric_median_does_not_notice_that_a_long_update_becomes_a_thousand_times_longer() =>
        Gen.Select(HonestUpdates, Directions).Sample((honest, directions) =>
        {
            var first = Run(new() { Rule = "geometricMedian" }, [.. Long(directions, 1e5), .. honest]).Update["a"].Data;
            var second = Run(new() { Rule = "geometricMedian" }, [.. Long(directions, 1e8), .. honest]).Update["a"].Data;

            Assert.InRange(Distance(first, second), 0, 1e-3);
        });

    [Fact]
    public void A_norm_bound_never_lengthens() =>
        Gen.Select(HonestUpdates, Directions, Sizes, Gen.Double[0.01, 2]).Sample((honest, directions, size, bound) =>
        {
            var aggregate = Run(new() { Rule = "normBound", MaxNorm = bound }, [.. Long(directions, size), .. honest]);

            Assert.InRange(UpdateCheck.Length(aggregate.Update), 0, bound * (1 + 1e-6));
        });

    [Fact]
    public void The_median_length_bounds_what_hostile_updates_add() =>
        Gen.Select(HonestUpdates, Directions, Sizes).Sample((honest, directions, size) =>
        {
            var aggregate = Run(new() { Rule = "normBound" }, [.. Long(directions, size), .. honest]);

            Assert.InRange(
                UpdateCheck.Length(aggregate.Update), 0, honest.Max(static update => Distance(update, new float[Size])) * (1 + 1e-6));
            Assert.All(
                Enumerable.Range(0, Hostile),
                hostile => Assert.StartsWith("shortened from ", aggregate.Curbed[hostile], StringComparison.Ordinal));
        });

    [Fact]
    public void The_mean_follows_one_long_update() =>
        Assert.Equal(1e6f, Run(new(), [[9e6f, 0, 0, 0, 0], .. Enumerable.Repeat(new float[Size], 8)]).Update["a"].Data[0]);

    [Theory]
    [InlineData("median")]
    [InlineData("trimmedMean")]
    [InlineData("krum")]
    [InlineData("multiKrum")]
    public void Sample_counts_do_not_buy_weight_in_an_unweighted_rule(string rule)
    {
        var (one, other) = (Begin(), Begin());
        for (var i = 0; i < 7; i++)
        {
            one.Add(State(("a", [i * i])), 1);
            other.Add(State(("a", [i * i])), i == 6 ? 1000 : 1);
        }

        Assert.Equal(one.Finish().Update["a"].Data, other.Finish().Update["a"].Data);
        IAccumulator Begin() =>
            StrategyRegistry.Aggregations[rule](new() { Rule = rule, Byzantine = 2 }).Begin(AdapterShapes.Of(State(("a", new float[1]))));
    }

    // Worked by hand.

    [Theory]
    [InlineData("median", new float[] { 4, 1, 100, 2 }, 3)]
    [InlineData("median", new float[] { 4, 1, 100 }, 4)]
    [InlineData("median", new float[] { 4 }, 4)]
    [InlineData("trimmedMean", new float[] { 100, 4, 1, 3, -50, 2 }, 2.5f)]     // 0.2 of six: one at each end
    [InlineData("krum", new float[] { 0, 1, 2.5f, 4, 100 }, 1)]                  // scores 7.25, 3.25, 4.5, 11.25, 18625
    [InlineData("multiKrum", new float[] { 0, 1, 2.5f, 4, 100 }, 1.75f)]         // K - f - 2 = 2: the mean of 1 and 2.5
    [InlineData("geometricMedian", new float[] { 0, 1, 10 }, 1)]                 // on a line: the median
    [InlineData("normBound", new float[] { 1, -2, 9 }, 1 / 3f)]                  // bound 2: (1 - 2 + 2) / 3
    [InlineData("mean", new float[] { 1, 2, 6 }, 3)]
    public void A_small_case_gives_what_the_formula_says(string rule, float[] values, float expected) =>
        Assert.Equal(
            expected,
            Run(
                new() { Rule = rule, Byzantine = rule.EndsWith("rum", StringComparison.Ordinal) ? 1 : null },
                [.. values.Select(static value => new[] { value })]).Update["a"].Data[0],
            1e-5f);

    [Fact]
    public void One_step_of_the_geometric_median_is_a_weighted_mean_by_inverse_distance()
    {
        // From the mean, 1: weights 2/1 and 1/2, so z = 3 * 0.5 / 2.5.
        var sum = StrategyRegistry.Aggregations["geometricMedian"](new() { Rule = "geometricMedian", Iterations = 1 })
            .Begin(AdapterShapes.Of(State(("a", new float[1]))));
        sum.Add(State(("a", [0])), 2);
        sum.Add(State(("a", [3])), 1);

        Assert.Equal(0.6f, sum.Finish().Update["a"].Data[0], 1e-6f);
    }

    [Fact]
    public void A_norm_bound_is_joint_over_all_tensors_and_keeps_the_weights()
    {
        var sum = StrategyRegistry.Aggregations["normBound"](new() { Rule = "normBound", MaxNorm = 5 })
            .Begin(AdapterShapes.Of(State(("a", new float[1]), ("b", new float[1]))));
        sum.Add(State(("a", [0]), ("b", [2])), 1);
        sum.Add(State(("a", [6]), ("b", [8])), 3);   // length 10, shortened to (3, 4)
        var aggregate = sum.Finish();

        Assert.Equal((2.25f, 3.5f), (aggregate.Update["a"].Data[0], aggregate.Update["b"].Data[0]));
        Assert.Equal(new Dictionary<int, string> { [1] = "shortened from 10 to 5" }, aggregate.Curbed);
    }

    [Fact]
    public void Krum_measures_all_tensors_together()
    {
        // By tensor a alone the last update is the nearest to all; by both, the first.
        var sum = StrategyRegistry.Aggregations["krum"](new() { Rule = "krum", Byzantine = 0 })
            .Begin(AdapterShapes.Of(State(("a", new float[1]), ("b", new float[1]))));
        foreach (var (a, b) in new (float, float)[] { (-1, 0), (1, 0), (0, 9), (0.1f, 0) })
            sum.Add(State(("a", [a]), ("b", [b])), 1);

        var chosen = sum.Finish().Update;
        Assert.Equal((0.1f, 0f), (chosen["a"].Data[0], chosen["b"].Data[0]));
    }

    [Theory]
    [InlineData("krum", 2, null, null, 6, "krum with byzantine: 2 needs at least 7 updates, there are 6.")]
    [InlineData("multiKrum", 1, null, null, 4, "multiKrum with byzantine: 1 needs at least 5 updates, there are 4.")]
    [InlineData("multiKrum", 1, 4, null, 6, "multiKrum with byzantine: 1 and keep: 4 needs at least 7 updates, there are 6.")]
    [InlineData(
        "trimmedMean", null, null, 0.1, 9, "trimmedMean with trim: 0.1 needs at least 10 updates to drop one at each end, there are 9.")]
    [InlineData(
        "trimmedMean", null, null, null, 1, "trimmedMean with trim: 0.2 needs at least 5 updates to drop one at each end, there is 1.")]
    public void Too_few_updates_are_refused_with_the_numbers(
        string name, int? byzantine, int? keep, double? trim, int updates, string reason)
    {
        var rule = StrategyRegistry.Aggregations[name](new() { Rule = name, Byzantine = byzantine, Keep = keep, Trim = trim });

        Assert.Equal(reason, rule.TooFew(updates));
        Assert.Null(
            rule.TooFew(updates + new AggregationSpec { Rule = name, Byzantine = byzantine, Keep = keep, Trim = trim }.Fewest - updates));
        var sum = rule.Begin(AdapterShapes.Of(State(("a", new float[1]))));
        for (var i = 0; i < updates; i++)
            sum.Add(State(("a", [i])), 1);
        Assert.Equal(reason, Assert.Throws<InvalidOperationException>(() => sum.Finish()).Message);
    }

    [Fact]
    public void Long_tensors_are_reduced_like_short_ones()
    {
        // More than one block of coordinates, and a rest.
        float[][] updates =
        [
            .. Enumerable.Range(0, 9)
                .Select(static client =>
                    Enumerable.Range(0, 5000).Select(i => (float)((i * 31 + client * 17 + client * client * i) % 101)).ToArray()),
        ];

        var result = Run(new() { Rule = "median" }, updates).Update["a"].Data;

        for (var i = 0; i < result.Length; i++)
            Assert.Equal(updates.Select(update => update[i]).Order().ElementAt(4), result[i]);
    }

    private static AggregateUpdate Run(AggregationSpec spec, float[][] updates)
    {
        var sum = StrategyRegistry.Aggregations[spec.Rule](spec).Begin(AdapterShapes.Of(State(("a", new float[updates[0].Length]))));
        foreach (var update in updates)
            sum.Add(State(("a", update)), 1);
        return sum.Finish();
    }

    private static float[][] Long(float[][] directions, double size) =>
        [.. directions.Select(direction => direction.Select(x => (float)(x * size)).ToArray())];

    private static double Distance(float[] a, float[] b) => Math.Sqrt(a.Zip(b, static (x, y) => ((double)x - y) * ((double)x - y)).Sum());
}
