using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

public class WeightsTests
{
    private static readonly Dictionary<string, KeptReport> Reports = new()
    {
        ["a"] = new() { Samples = 100, ProductNorm = 3 },
        ["b"] = new() { Samples = 300, ProductNorm = 1 },
        ["c"] = new() { Samples = 400, ProductNorm = 4 },
    };

    public static TheoryData<Weighting> All => [.. Enum.GetValues<Weighting>()];

    [Fact]
    public void Samples_share_by_rows() => Assert.Equal([0.125, 0.375, 0.5], Of(Weighting.Samples));

    [Fact]
    public void Uniform_shares_evenly() => Assert.Equal([1 / 3.0, 1 / 3.0, 1 / 3.0], Of(Weighting.Uniform));

    [Fact]
    public void Uniform_per_task_divides_a_tasks_share_among_its_clients() => Assert.Equal([0.25, 0.25, 0.5], Of(Weighting.UniformPerTask));

    [Fact]
    public void Uniform_per_task_counts_only_the_closed_cohort() =>
        Assert.Equal([0.5, 0.5], Weights.Of(Plan(Weighting.UniformPerTask), ["a", "c"], Reports));

    [Fact]
    public void Product_norm_shares_by_norm() => Assert.Equal([0.375, 0.125, 0.5], Of(Weighting.ProductNorm));

    [Fact]
    public void Staleness_lowers_the_share_of_an_old_base() =>
        Assert.Equal([0.5, 0.25, 0.25], Weights.Of(Plan(Weighting.Staleness), ["a", "b", "c"], Reports, [0, 3, 3]));

    [Fact]
    public void Staleness_is_even_in_synchronous_rounds() => Assert.Equal([1 / 3.0, 1 / 3.0, 1 / 3.0], Of(Weighting.Staleness));

    [Fact]
    public void A_clients_own_weight_is_a_factor()
    {
        var plan = Plan(Weighting.Uniform) with { Clients = [Client("a", weight: 6), Client("b"), Client("c")] };
        Assert.Equal([0.75, 0.125, 0.125], Weights.Of(plan, ["a", "b", "c"], Reports));
    }

    [Fact]
    public void Clients_without_any_share_are_all_the_same() =>
        Assert.Equal(
            [0.5, 0.5],
            Weights.Of(Plan(Weighting.ProductNorm), ["a", "b"], new Dictionary<string, KeptReport> { ["a"] = new(), ["b"] = new() }));

    [Theory, MemberData(nameof(All))]
    public void A_client_alone_has_exactly_one(Weighting weighting) => Assert.Equal([1.0], Weights.Of(Plan(weighting), ["b"], Reports));

    [Theory, MemberData(nameof(All))]
    public void Shares_add_up_to_one(Weighting weighting) => Assert.Equal(1, Of(weighting).Sum(), 1e-15);

    private static double[] Of(Weighting weighting) => Weights.Of(Plan(weighting), ["a", "b", "c"], Reports);

    private static FederationPlan Plan(Weighting weighting) =>
        TestPlans.Of([Client("a", task: "one"), Client("b", task: "one"), Client("c", task: "two")]) with
        {
            Adapter = new AdapterSpec { Weighting = weighting },
        };
}
