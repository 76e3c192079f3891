using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Tests.Plans;

/// <summary>Which values of methods that choose go together, and what is said where they do not.</summary>
public sealed class GatePlanTests
{
    [Theory]
    [InlineData("meteora")]
    [InlineData("malora")]
    [InlineData("smora")]
    [InlineData("mixlora")]
    [InlineData("{method: meteora, routing: {topK: 1}}")]
    [InlineData("{method: smora, rank: 64, routing: {rankTopK: {k: 8, partition: 2}}}")]
    [InlineData("{method: smora, routing: {rankTopK: 1}, scopeRankRouter: seed, trainsRankRouter: false}")]
    [InlineData("{method: mixlora, routing: {pool: {k: 3, choice: sharedIndex}}}")]
    [InlineData("{method: mixlora, routing: {pool: {k: 3, choice: sharedIndex, weighted: false}}, scopePoolRouterA: seed, "
        + "trainsPoolRouterA: false}")]
    public void Values_that_go_together_are_no_problem(string adapter) => Assert.Empty(Problems(adapter, 2));

    [Theory]
    [InlineData("{method: meteora, heads: 2}",
        "gateLoss teaches the gate a head for each task, and 2 heads are less than the 3 tasks; the first "
            + "without one is t2.")]
    [InlineData("{method: meteora, routing: {topK: 5}}", "5 heads of 4 cannot be kept")]
    [InlineData("{method: smora, routing: {rankTopK: 9}}", "9 rows of 8 cannot be chosen; give k: 8 or less, or a larger rank.")]
    [InlineData("{method: smora, rankPattern: {q_proj: 1}}", "2 rows of 1 cannot be chosen")]
    [InlineData("{method: smora, routing: {rankTopK: {k: 2, partition: 3}}}", "rank 8 is not divided by 3")]
    [InlineData("{method: smora, routing: {rankTopK: 1}}", "one expert weighs 1, so that rankRouter has no gradient; give k: 2 or more")]
    [InlineData("{method: smora, scopeBalance: job}", "the balance counts what its own client's rows use")]
    [InlineData("{method: smora, trainsBalance: true}", "the balance moves by counts and has no gradient")]
    [InlineData("{method: smora, heads: 2}", "rankTopK chooses among the rows of one low rank")]
    [InlineData("{method: mixlora, routing: {pool: {k: 2, choice: sharedIndex, weighted: false}}}",
        "a choice without weights, so that poolRouterA has no gradient; give weighted: true, or scopePoolRouterA: seed")]
    [InlineData("{method: mixlora, routing: {pool: {k: 1, choice: sharedIndex}}}",
        "one pair weighs 1, so that poolRouterA has no gradient")]
    [InlineData("{method: mixlora, decomposed: true}", "a decomposed weight has one norm for all inputs")]
    public void Values_that_do_not_go_together_are_named(string adapter, string message) =>
        Assert.Contains(Problems(adapter, 3), problem => problem.Contains(message, StringComparison.Ordinal));

    private static List<string> Problems(string adapter, int tasks)
    {
        var clients = Enumerable.Range(0, tasks).Select(static task => $"{{id: c{task}, task: t{task}, data: {{train: t}}}}");
        return [.. PlanReader.Read($"name: n\nmodel: m\nclients: [{string.Join(", ", clients)}]\nadapter: {adapter}\n", "p.yaml").Problems
            .Select(static problem => problem.Message)];
    }
}
