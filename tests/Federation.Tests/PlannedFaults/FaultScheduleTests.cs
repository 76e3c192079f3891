using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Faults;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.PlannedFaults;

public sealed class FaultScheduleTests
{
    private static readonly string[] Ten = [.. Enumerable.Range(0, 10).Select(static i => $"c{i}")];

    [Fact]
    public void A_named_client_has_the_fault_and_no_other_has()
    {
        var schedule = Schedule(Ten, new FaultSpec { Kind = FaultKind.Nan, Clients = ["c3"] });

        Assert.Equal(["c3"], Ten.Where(client => schedule.Of(client, 1).Any()));
    }

    [Theory]
    [InlineData(0.3, 3)]
    [InlineData(0.34, 3)]
    [InlineData(0.35, 4)]
    [InlineData(0.01, 1)]
    [InlineData(1.0, 10)]
    public void A_share_is_the_nearest_number_of_clients_and_at_least_one(double share, int expected)
    {
        var schedule = Schedule(Ten, new FaultSpec { Kind = FaultKind.Nan, Share = share });

        Assert.Equal(expected, Ten.Count(client => schedule.Of(client, 1).Any()));
    }

    [Fact]
    public void The_clients_of_a_share_are_the_same_in_every_round_and_others_under_another_seed()
    {
        string[] Drawn(ulong seed, int round) =>
            [.. Ten.Where(client => Schedule(Ten, seed, new FaultSpec { Kind = FaultKind.Nan, Share = 0.3 }).Of(client, round).Any())];

        Assert.All(Enumerable.Range(2, 20), round => Assert.Equal(Drawn(7, 1), Drawn(7, round)));
        Assert.True(Enumerable.Range(1, 20).Select(seed => string.Join(' ', Drawn((ulong)seed, 1))).Distinct().Count() > 10);
    }

    [Fact]
    public void Two_shares_are_drawn_independently()
    {
        var schedule = Schedule(
            [.. Enumerable.Range(0, 100).Select(static i => $"c{i}")], new FaultSpec { Kind = FaultKind.Nan, Share = 0.5 },
            new FaultSpec { Kind = FaultKind.Zero, Share = 0.5 });

        Assert.InRange(Enumerable.Range(0, 100).Count(i => schedule.Of($"c{i}", 1).Count() == 2), 10, 40);
    }

    [Fact]
    public void A_probability_is_drawn_for_each_client_and_round_and_always_the_same()
    {
        var first = Schedule(Ten, new FaultSpec { Kind = FaultKind.Fail, Clients = Ten, Probability = 0.25 });
        var second = Schedule(Ten, new FaultSpec { Kind = FaultKind.Fail, Clients = Ten, Probability = 0.25 });
        bool[] Happened(FaultSchedule schedule) =>
            [.. from client in Ten from round in Enumerable.Range(1, 400) select schedule.Of(client, round).Any()];

        Assert.Equal(Happened(first), Happened(second));
        Assert.InRange(Happened(first).Count(static happened => happened), 900, 1100);   // 1,000 of 4,000, within 3.6 standard deviations
    }

    [Theory]
    [InlineData(3, null, null, null, new[] { 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 })]
    [InlineData(1, 2, null, null, new[] { 1, 2 })]
    [InlineData(1, null, 10, 4, new[] { 1, 2, 3, 4, 11, 12 })]
    [InlineData(2, 9, 4, 1, new[] { 2, 6 })]
    [InlineData(2, null, 5, null, new[] { 2, 7, 12 })]
    public void Rounds_are_a_range_and_a_period_in_it(int from, int? to, int? every, int? lasting, int[] expected)
    {
        var schedule = Schedule(
            Ten,
            new FaultSpec
            {
                Kind = FaultKind.Fail, Clients = ["c0"], Rounds = new() { From = from, To = to, Every = every, Lasting = lasting },
            });

        Assert.Equal(expected, Enumerable.Range(0, 13).Where(round => schedule.Of("c0", round).Any()));
    }

    [Fact]
    public void Faults_of_one_client_come_in_the_plans_order()
    {
        var schedule = Schedule(
            Ten, new FaultSpec { Kind = FaultKind.Zero, Clients = ["c1"] }, new FaultSpec { Kind = FaultKind.Nan, Share = 1 });

        Assert.Equal([FaultKind.Zero, FaultKind.Nan], schedule.Of("c1", 1).Select(static fault => fault.Kind));
    }

    [Fact]
    public void Only_absence_makes_absent()
    {
        var schedule = Schedule(
            Ten, new FaultSpec { Kind = FaultKind.Absent, Clients = ["c1"], Rounds = new() { From = 2 } },
            new FaultSpec { Kind = FaultKind.Fail, Clients = ["c2"] });

        Assert.Equal([false, true, false], [schedule.IsAbsent("c1", 1), schedule.IsAbsent("c1", 2), schedule.IsAbsent("c2", 2)]);
    }

    [Fact]
    public void Whoever_is_not_in_the_plan_has_no_fault() =>
        Assert.Empty(Schedule(Ten, new FaultSpec { Kind = FaultKind.Fail, Share = 1 }).Of("nobody", 1));

    private static FaultSchedule Schedule(string[] clients, params FaultSpec[] faults) => Schedule(clients, 7, faults);

    private static FaultSchedule Schedule(string[] clients, ulong seed, params FaultSpec[] faults) =>
        new(Of(clients) with { Seed = seed, Faults = faults });
}
