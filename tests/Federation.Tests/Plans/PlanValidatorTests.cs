using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Tests.Plans;

public sealed class PlanValidatorTests
{
    [Theory]
    // Start
    [InlineData("adapter: {method: r-lora, initB: zero}", "adapter.initB", "an anchored start needs initA and initB that are not zero")]
    [InlineData("adapter: {method: r-lora, initA: zero}", "adapter.initA", "an anchored start needs initA and initB that are not zero")]
    [InlineData("adapter: {method: r-lora, start: exact}", "adapter.start", "an exact start needs initA or initB zero")]
    [InlineData("adapter: {method: lora, initB: {stable: 64}}", "adapter.initB", "an exact start needs initA or initB zero")]
    [InlineData("adapter: {method: lora, initA: zero}", "adapter.initA", "initA and initB are both zero")]
    [InlineData("adapter: {method: ffa-lora, trainsB: false, scopeB: client}", "adapter.trainsB", "neither A nor B trains")]
    [InlineData("adapter: {method: fedsa-lora, trainsB: false}", "adapter.trainsB", "B is zero and does not train")]
    [InlineData("adapter: {method: ffa-lora, initA: zero, initB: kaimingUniform}", "adapter.initA", "A is zero and does not train")]
    // Heads
    [InlineData("adapter: {method: lora, heads: 3}", "adapter.heads", "byTask gives a client one head, the plan asks for 3; give heads: 1, or routing: mean, sum or softmax")]
    [InlineData("adapter: {method: r-lora, heads: 1}", "adapter.heads", "softmax over one head is constant")]
    [InlineData("adapter: {method: lora, dropout: {site: none, p: 0.1}}", "adapter.dropout.p", "p has no effect where site is none")]
    [InlineData("adapter: {method: r-lora, decomposed: true}", "adapter.decomposed", "a decomposed weight has one norm for all inputs")]
    [InlineData("adapter: {method: dora, scopeMagnitude: seed}", "adapter.scopeMagnitude", "scope seed redraws the magnitudes")]
    // Given
    [InlineData("adapter: {method: lora, heads: 3, routing: mean, from: given}", "adapter.heads", "the adapter that from names has one head, the plan asks for 3")]
    [InlineData("adapter: {method: lora, from: given, trainsA: false, scopeA: seed, trainsB: false, scopeB: seed}", "adapter.trainsB", "neither A nor B trains")]
    // Sharing
    [InlineData("adapter: {method: lora, scopeA: seed}", "adapter.scopeA", "scope seed redraws A")]
    [InlineData("adapter: {method: lora, scopeB: seed}", "adapter.scopeB", "scope seed redraws B")]
    [InlineData("adapter: {method: lora, trainsA: false}", "adapter.trainsA", "A does not train, so there is nothing to aggregate")]
    [InlineData("adapter: {method: r-lora, trainsB: false, scopeB: job, seedB: common}", "adapter.scopeB", "B does not train, so there is nothing to aggregate")]
    [InlineData("adapter: {method: fedsa-lora, seedA: perClient}", "adapter.seedA", "clients that aggregate A start from one value")]
    [InlineData("adapter: {method: fedsa-lora, seedA: perTask}", "adapter.seedA", "clients that aggregate A start from one value")]
    [InlineData("adapter: {method: r-lora-federated, scopeB: job}", "adapter.scopeB", "clients that aggregate B start from one value")]
    // Training
    [InlineData("training: {steps: 5, warmHeadSteps: 6}", "training.warmHeadSteps", "6 exceeds the 5 steps of a round")]
    [InlineData("adapter: lora\ntraining: {warmHeadSteps: 1}", "training.warmHeadSteps", "no trained tensor stays with its client")]
    [InlineData("training: {steps: 5, warmupSteps: 51}", "training.warmupSteps", "51 exceeds the run's 50 steps (10 rounds of 5)")]
    // Strategy
    [InlineData("strategy: {selection: {fraction: 0.5}}", "strategy.selection.fraction", "a fraction needs rule: uniform")]
    [InlineData("strategy: {siteLoss: continue}", "strategy.siteLoss", "a round cannot go on without a site while quorum is 1")]
    // Evaluation
    [InlineData("evaluation: {metric: accuracy}", "evaluation.metric", "no client has test rows to score")]
    [InlineData("evaluation: {localOnly: true}", "evaluation.localOnly", "no client has test rows to compare by")]
    public void Values_that_do_not_go_together_are_one_problem_at_a_value_that_was_given(string lines, string path, string message)
    {
        var problem = Assert.Single(PlanReader.Read($"name: n\nmodel: m\nclients: [{{id: a, task: t, data: {{train: t}}}}]\n{lines}\n", "p.yaml").Problems);

        Assert.StartsWith($"{path}: {message}", problem.Message, StringComparison.Ordinal);
        Assert.InRange(problem.Line, 4, 5);
    }

    [Theory]
    [InlineData("adapter: {method: lora, initA: zero, initB: kaimingUniform}")]
    [InlineData("adapter: {method: r-lora, routing: sum}")]
    [InlineData("adapter: {method: r-lora-federated, scopeB: job, seedB: common}")]
    [InlineData("adapter: {method: fedsa-lora, scopeA: client, seedA: perClient}")]
    [InlineData("adapter: {method: fedsa-lora, trainsA: false, scopeA: seed, seedA: perTask}")]
    [InlineData("adapter: {method: hydra-lora, scopeB: job}\ntraining: {warmHeadSteps: 1}")]
    [InlineData("adapter: {method: lora, dropout: {site: none}}")]
    [InlineData("training: {steps: 5, warmHeadSteps: 5, warmupSteps: 50}")]
    [InlineData("strategy: {siteLoss: continue, quorum: 0.9, selection: {rule: uniform, fraction: 0.5}}")]
    public void Values_that_go_together_are_no_problem(string lines) =>
        Assert.Empty(PlanReader.Read($"name: n\nmodel: m\nclients: [{{id: a, task: t, data: {{train: t}}}}]\n{lines}\n", "p.yaml").Problems);

    [Theory]
    [InlineData("[]", "clients: the list is empty")]
    [InlineData("[{id: a, task: t, data: {train: t}}, {id: A, task: u, data: {train: u}}]", "clients[1].id: \"A\" is the id of clients[0] already")]
    [InlineData("[{id: a, task: t, steps: 2, data: {train: t}}]\ntraining: {warmHeadSteps: 3}", "clients[0].steps: 2 steps are fewer than the 3 of training.warmHeadSteps")]
    public void Clients_are_checked_together(string clients, string message) =>
        Assert.StartsWith(message, Assert.Single(PlanReader.Read($"name: n\nmodel: m\nclients: {clients}\n", "p.yaml").Problems).Message, StringComparison.Ordinal);
}
