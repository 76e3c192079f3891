using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Tests.Plans;

/// <summary>Which terms go together with what.</summary>
public sealed class ObjectiveTests
{
    private const string Minimal = "name: n\nmodel: m\nclients: [{id: a, task: t, data: {train: t}}]";

    [Theory]
    [InlineData("method: lora, objectives: [proximal: 0.1, proximal: 0.2]", "proximal stands there 2 times; give it once.")]
    [InlineData("method: lora, objectives: [alignment: kl, alignment: mmd]", "alignment stands there 2 times; give it once.")]
    [InlineData("method: lora, objectives: [{alignment: {clip: 1}}]", "1 is out of range")]
    [InlineData("method: lora, scopeA: client, objectives: [alignment]", "each client or task has an A of its own; give scopeA: job.")]
    [InlineData("method: lora, scopeA: task, objectives: [alignment]", "each client or task has an A of its own; give scopeA: job.")]
    [InlineData("method: lora-fa, objectives: [alignment]", "the method aggregates nothing")]
    public void A_term_that_cannot_be_meant_is_refused(string adapter, string message)
    {
        var problem = Assert.Single(PlanReader.Read($"{Minimal}\nadapter: {{{adapter}}}\n", "p.yaml").Problems);

        Assert.Contains(message, problem.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("objectives: [proximall: 1]", "4:38: adapter.objectives[0]: \"proximall\" is not known; did you mean proximal?")]
    [InlineData("lifecycle: [rounds: 2]", "4:45: adapter.lifecycle[0].rounds: ")]
    [InlineData("objectives: [{proximal: 1, gateLoss: 1}]", "4:38: adapter.objectives[0]: proximal and gateLoss stand in one mapping")]
    [InlineData("routing: {topK: 2, pool: 3}", "4:34: adapter.routing: topK and pool stand in one mapping; give one.")]
    public void A_problem_of_an_item_has_the_items_place(string adapter, string message) =>
        Assert.Contains(
            PlanReader.Read($"{Minimal}\nadapter: {{method: lora, {adapter}}}\n", "p.yaml").Problems,
            problem => $"{problem}".Contains(message, StringComparison.Ordinal));

    [Theory]
    [InlineData("mtlora", "has no taskA, which the method has")]
    [InlineData("smora", "has no rankRouter, which the method has")]
    [InlineData("mixlora", "has no poolRouterA, which the method has")]
    [InlineData("lori-s", "calibrateMask begins the heads again at zero")]
    public void A_folder_to_start_from_is_refused_where_the_method_has_no_use_for_it(string method, string message) =>
        Assert.Contains(
            PlanReader.Read($"{Minimal}\nadapter: {{method: {method}, from: f}}\n", "p.yaml").Problems,
            problem => problem.Message.Contains(message, StringComparison.Ordinal));

    [Theory]
    [InlineData("method: lora, objectives: [alignment: mmd, proximal: 0.1]")]
    [InlineData("method: ffa-lora, objectives: [alignment]")]
    [InlineData("method: lora, objectives: [{alignment: {clip: 1.5}}]")]
    public void Terms_that_go_together_are_read(string adapter) =>
        Assert.Empty(PlanReader.Read($"{Minimal}\nadapter: {{{adapter}}}\n", "p.yaml").Problems);

    [Fact]
    public void A_plan_that_shares_nothing_keeps_the_terms_and_declares_no_statistics()
    {
        var plan = PlanReader.Require($"{Minimal}\nsharing: none\nadapter: {{method: lora, objectives: [alignment]}}\n", "p.yaml");

        Assert.Single(plan.Adapter.Objectives);
        Assert.Empty(plan.StatisticFamilies);
    }
}
