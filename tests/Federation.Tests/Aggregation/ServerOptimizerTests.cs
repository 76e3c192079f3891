using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.ServerOptimizers;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.Aggregation;

/// <summary>The coordinator's step by the formulas of Reddi et al., and what it remembers between rounds.</summary>
public sealed class ServerOptimizerTests
{
    private const double Eta = 0.1, Tau = 0.01;

    public static TheoryData<string> Rules => [.. StrategyRegistry.ServerOptimizers.Keys];

    public static TheoryData<string> Remembering => [.. StrategyRegistry.ServerOptimizers.Keys.Except(["sgd"])];

    [Fact]
    public void Momentum_adds_up_what_is_left_of_earlier_aggregates() =>
        Is(1 + (Eta * 2) + (Eta * ((0.5 * 2) + 3)), After(new() { Rule = "momentum", LearningRate = Eta, Momentum = 0.5 }, 2, 3));

    [Fact]
    public void Adagrad_divides_by_the_root_of_all_squares() =>
        Is(
            1 + (Eta * 2 / (Math.Sqrt((Tau * Tau) + 4) + Tau)) + (Eta * 3 / (Math.Sqrt((Tau * Tau) + 4 + 9) + Tau)),
            After(new() { Rule = "adagrad", LearningRate = Eta, Tau = Tau }, 2, 3));

    [Fact]
    public void Adam_begins_its_squares_at_tau_squared_and_corrects_nothing()
    {
        var (m1, v1) = (0.1 * 2, (0.99 * Tau * Tau) + (0.01 * 4));
        var (m2, v2) = ((0.9 * m1) + (0.1 * 3), (0.99 * v1) + (0.01 * 9));
        Is(
            1 + (Eta * m1 / (Math.Sqrt(v1) + Tau)) + (Eta * m2 / (Math.Sqrt(v2) + Tau)),
            After(new() { Rule = "adam", LearningRate = Eta, Tau = Tau }, 2, 3));
    }

    [Fact]
    public void Yogi_moves_its_squares_by_a_share_of_the_newest_alone()
    {
        var (m1, v1) = (0.1 * 2, (Tau * Tau) + (0.01 * 4));
        var (m2, v2) = ((0.9 * m1) + (0.1 * 0.01), v1 - (0.01 * 1e-4));
        Is(
            1 + (Eta * m1 / (Math.Sqrt(v1) + Tau)) + (Eta * m2 / (Math.Sqrt(v2) + Tau)),
            After(new() { Rule = "yogi", LearningRate = Eta, Tau = Tau }, 2, 0.01f));
    }

    [Fact]
    public void In_Flower_s_variant_adam_corrects_its_first_rate_by_the_exponent_two()
    {
        var rate = Eta * Math.Sqrt(1 - (0.99 * 0.99)) / (1 - (0.9 * 0.9));
        Is(
            1 + (rate * 0.1 * 2 / (Math.Sqrt(0.01 * 4) + Tau)),
            After(new() { Rule = "adam", LearningRate = Eta, Tau = Tau, Variant = ServerVariant.Flower }, 2));
    }

    [Theory]
    [InlineData("sgd", 1)]
    [InlineData("momentum", 1)]
    [InlineData("adagrad", 1e-3)]
    [InlineData("adam", 1e-3)]
    [InlineData("yogi", 1e-3)]
    public void Without_a_rate_an_adaptive_rule_takes_steps_that_suit_low_rank_factors(string rule, double rate) =>
        Assert.Equal(rate, new ServerOptimizerSpec { Rule = rule }.Rate);

    [Theory, MemberData(nameof(Rules))]
    public void What_did_not_move_stays_bit_for_bit_and_is_remembered_as_it_was(string rule)
    {
        var optimizer = StrategyRegistry.ServerOptimizers[rule](new() { Rule = rule });
        var start = State(("x.A", [1, 0.1f]), ("x.B", [0.3f]));
        var (first, remembered) = optimizer.Step(start, State(("x.A", [0.2f, -3]), ("x.B", [0.7f])), null);
        var (second, after) = optimizer.Step(first, State(("x.B", [0.5f])), remembered);

        Assert.Equal(first["x.A"].Data, second["x.A"].Data);
        Assert.NotEqual(first["x.B"].Data, second["x.B"].Data);
        var ofA = (remembered ?? AdapterState.Empty).Where(static one => ServerMemory.TensorOf(one.Key) == "x.A");
        Assert.All(ofA, one => Assert.Equal(one.Value.Data, after![one.Key].Data));
        Assert.Equal(remembered?.Keys, after?.Keys);
    }

    [Theory, MemberData(nameof(Rules))]
    public void An_aggregate_of_nothing_changes_nothing(string rule)
    {
        var optimizer = StrategyRegistry.ServerOptimizers[rule](new() { Rule = rule });
        var start = State(("x.A", [1, 0.1f]));
        var (first, remembered) = optimizer.Step(start, State(("x.A", [0.2f, -3])), null);
        var (second, after) = optimizer.Step(first, AdapterState.Empty, remembered);

        Assert.Equal(first["x.A"].Data, second["x.A"].Data);
        Assert.Equal(remembered?.Select(static one => one.Value.Data[0]), after?.Select(static one => one.Value.Data[0]));
    }

    [Theory, MemberData(nameof(Remembering))]
    public void What_is_remembered_of_a_tensor_that_began_again_is_void(string rule)
    {
        var optimizer = StrategyRegistry.ServerOptimizers[rule](new() { Rule = rule });
        var start = State(("x.A", [1]), ("x.B", [1]));
        var update = State(("x.A", [0.2f]), ("x.B", [0.2f]));
        var (_, remembered) = optimizer.Step(start, update, null);
        var (after, _) = optimizer.Step(start, update, ServerMemory.Without(remembered, new HashSet<string> { "x.A" }));
        var (fresh, _) = optimizer.Step(start, update, null);

        Assert.Equal(fresh["x.A"].Data, after["x.A"].Data);
        Assert.NotEqual(fresh["x.B"].Data, after["x.B"].Data);
    }

    [Fact]
    public void A_rule_takes_nothing_of_what_another_remembered()
    {
        var (start, update) = (State(("x.A", [1]), ("x.B", [1])), State(("x.A", [0.2f])));
        var (_, remembered) = new Adam(new() { Rule = "adam" }).Step(start, State(("x.A", [0.2f]), ("x.B", [0.2f])), null);
        var (after, own) = new Momentum(new() { Rule = "momentum" }).Step(start, update, remembered);

        Assert.Equal([(float)(1.0 + 0.2f)], after["x.A"].Data);
        Assert.Equal(["momentum/v/x.A"], own!.Keys);
    }

    [Theory, MemberData(nameof(Remembering))]
    public void A_long_tensor_is_stepped_as_its_elements_are(string rule)
    {
        var random = new Random(5);
        float[] Drawn() => [.. Enumerable.Range(0, (2 * 4096) + 17).Select(_ => (float)(random.NextDouble() - 0.5))];
        var (x, first, second) = (Drawn(), Drawn(), Drawn());
        var spec = new ServerOptimizerSpec { Rule = rule, Variant = ServerVariant.Flower };
        var optimizer = StrategyRegistry.ServerOptimizers[rule](spec);
        var (once, remembered) = optimizer.Step(State(("x.A", x)), State(("x.A", first)), null);
        var whole = optimizer.Step(once, State(("x.A", second)), remembered).Global["x.A"].Data;

        foreach (var i in (int[])[0, 4095, 4096, 8191, 8192, 8208])
        {
            var (one, kept) = optimizer.Step(State(("x.A", [x[i]])), State(("x.A", [first[i]])), null);
            Assert.Equal(optimizer.Step(one, State(("x.A", [second[i]])), kept).Global["x.A"].Data[0], whole[i]);
        }
    }

    private static double After(ServerOptimizerSpec spec, params float[] aggregates)
    {
        var (x, remembered) = (State(("x.A", [1])), (AdapterState?)null);
        foreach (var aggregate in aggregates)
            (x, remembered) = StrategyRegistry.ServerOptimizers[spec.Rule](spec).Step(x, State(("x.A", [aggregate])), remembered);
        return x["x.A"].Data[0];
    }

    private static void Is(double expected, double actual) => Assert.Equal(expected, actual, 2e-6);
}
