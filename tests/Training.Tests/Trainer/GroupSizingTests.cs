using FedRLora.Abstractions.Plans;

namespace FedRLora.Training.Tests.Trainer;

/// <summary><c>groupSize: auto</c> on a model of width 16, whose passes are full at 512 tokens.</summary>
public sealed class GroupSizingTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    private string Model => Path.Combine(_tiny.Root, "model");

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public void What_the_plan_says_is_taken_without_a_look_at_the_model() =>
        Assert.Equal(5, GroupSizing.Of(Plan(clients: 2, groupSize: 5), "nowhere"));

    [Theory]
    [InlineData(64, 8)]    // as many as the bound lets
    [InlineData(6, 3)]     // a half of the site's clients: a lane each
    [InlineData(5, 3)]
    [InlineData(2, 1)]
    [InlineData(1, 1)]
    public void Small_batches_go_together_but_never_all_of_a_site(int clients, int size) =>
        Assert.Equal(size, GroupSizing.Of(Plan(clients), Model));

    [Theory]
    [InlineData(3, 20, 8)]
    [InlineData(64, 20, 1)]     // 320 tokens as rows are usually filled, of 512
    [InlineData(32, 20, 3)]
    [InlineData(4096, 20, 1)]
    [InlineData(3, 100_000, 8)] // rows end where the model does, at 20 tokens
    public void The_more_tokens_a_batch_has_the_fewer_clients_fill_a_pass(int batch, int tokens, int size)
    {
        var plan = Plan(clients: 64);
        plan = plan with { Training = plan.Training with { BatchSize = batch, MaxTokens = tokens } };
        Assert.Equal(size, GroupSizing.Of(plan, Model));
    }

    [Fact]
    public void A_group_fits_into_the_memory_that_the_plan_gives_a_pass()
    {
        var plan = Plan(clients: 64);
        plan = plan with { Training = plan.Training with { BatchSize = 12, MaxTokens = 40, PassMemoryMb = 1 } };
        var bounded = GroupSizing.Of(plan, Model);
        Assert.InRange(bounded, 1, 3);
        Assert.True(bounded < GroupSizing.Of(plan with { Training = plan.Training with { PassMemoryMb = 4096 } }, Model));
    }

    [Fact]
    public void Where_each_client_has_its_own_time_none_are_trained_together()
    {
        var plan = Plan(clients: 64);
        FederationPlan[] alone =
        [
            plan with { Strategy = plan.Strategy with { Trigger = plan.Strategy.Trigger with { Rule = TriggerRule.Buffered } } },
            plan with { Strategy = plan.Strategy with { TimeBudget = new() { Factor = 3 } } },
            plan with { Faults = [new FaultSpec { Kind = FaultKind.Delay, Clients = ["c1"], Delay = TimeSpan.FromSeconds(1) }] },
        ];
        Assert.All(alone, one => Assert.Equal(1, GroupSizing.Of(one, Model)));
    }

    private FederationPlan Plan(int clients, int? groupSize = null)
    {
        var plan = _tiny.Plan();
        return plan with
        {
            Clients = [.. Enumerable.Range(1, clients).Select(static i => TinyFederation.Client("one") with { Id = $"c{i}" })],
            Training = plan.Training with { GroupSize = groupSize },
        };
    }
}
