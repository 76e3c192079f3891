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
