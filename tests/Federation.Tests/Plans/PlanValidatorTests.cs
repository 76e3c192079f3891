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
    [InlineData(
        "adapter: {method: lora, heads: 3}", "adapter.heads",
        "byTask gives a client one head, the plan asks for 3; give heads: 1, or routing: mean, sum or softmax")]
    [InlineData("adapter: {method: r-lora, heads: 1}", "adapter.heads", "softmax over one head is constant")]
    [InlineData("adapter: {method: lora, dropout: {site: none, p: 0.1}}", "adapter.dropout.p", "p has no effect where site is none")]
    [InlineData("adapter: {method: r-lora, decomposed: true}", "adapter.decomposed", "a decomposed weight has one norm for all inputs")]
    [InlineData("adapter: {method: dora, scopeMagnitude: seed}", "adapter.scopeMagnitude",
        "scope seed redraws the magnitudes, which come from the weight and not from a seed; give scopeMagnitude: job, task or client.")]
    [InlineData("adapter: {method: dora, tensors: {magnitude: {trains: false, scope: seed}}}", "adapter.tensors.magnitude.scope",
        "scope seed redraws the magnitudes, which come from the weight and not from a seed; give scopeMagnitude: client.")]
    [InlineData("adapter: {method: dora, trainsMagnitude: false}", "adapter.trainsMagnitude",
        "magnitude does not train, so there is nothing to aggregate; set scopeMagnitude: client, or trainsMagnitude: true.")]
    [InlineData("adapter: {method: dora, tensors: {magnitude: {scope: client, seed: perClient}}}", "adapter.tensors.magnitude.seed",
        "magnitude begins as in the weight, the same for every client; set seedMagnitude: common.")]
    // Starts from the weight
    [InlineData("adapter: {method: lora-xs, scopeA: seed}", "adapter.scopeA",
        "svd is computed once and not redrawn from a seed; set scopeA: job, task or client.")]
    [InlineData("adapter: {method: cora, scopeB: seed}", "adapter.scopeB", "subspace is computed once and not redrawn from a seed")]
    [InlineData("adapter: {method: pissa, scopeB: client, seedB: perClient}", "adapter.seedB",
        "pissa begins as in the weight, the same for every client; set seedB: common.")]
    [InlineData("adapter: {method: pissa, initB: kaimingUniform}", "adapter.initB",
        "pissa gives A and B of one decomposition; give initA and initB the same law.")]
    [InlineData("adapter: {method: lora, initA: olora}", "adapter.initA", "olora gives A and B of one decomposition")]
    [InlineData("adapter: {method: pissa, initB: svd}", "adapter.initB", "pissa gives A and B of one decomposition")]
    [InlineData("adapter: {method: lora, initA: subspace}", "adapter.initA", "subspace gives no A, but B alone; give initA another law.")]
    [InlineData("adapter: {method: lora-xs, initCore: svd}", "adapter.initCore",
        "svd gives no core, but A and B; give initCore another law.")]
    [InlineData("adapter: {method: pissa, heads: 2, routing: mean}", "adapter.heads",
        "a start computed from the weight is one for a layer")]
    [InlineData("adapter: {method: lora, core: {form: none, perHead: true}}", "adapter.core.perHead",
        "there is no core, so no head has its own; give core: {form: full, perHead: true}, or leave perHead out.")]
    [InlineData("adapter: {method: lora, subspaceFrom: [one]}", "adapter.subspaceFrom", "no tensor begins with a subspace")]
    [InlineData("adapter: {method: pissa, start: exact}", "adapter.start", "an exact start needs initA or initB zero")]
    // Lifecycle
    [InlineData("adapter: {method: lora, lifecycle: [{rounds: odd, train: [core]}]}", "adapter.lifecycle",
        "the method has no core that could train; name one of A, B.")]
    [InlineData("adapter: {method: ffa-lora, lifecycle: [{rounds: 4-5, train: [A]}]}", "adapter.lifecycle", "nothing trains in round 4")]
    [InlineData("adapter: {method: lora, lifecycle: [{rounds: last 1, train: heads}]}", "adapter.lifecycle", "nothing trains in round 10")]
    [InlineData("adapter: {method: hydra-lora, routing: mean, lifecycle: [{rounds: 2, do: mergeAndRedraw}]}", "adapter.lifecycle",
        "mergeAndRedraw makes links of A and B alone: not with several heads")]
    [InlineData("adapter: {method: dora, lifecycle: [{rounds: 2, do: mergeAndRedraw}]}", "adapter.lifecycle",
        "mergeAndRedraw makes links of A and B alone: not with a decomposed weight")]
    [InlineData("adapter: {method: r-lora-federated, lifecycle: [{rounds: 2, do: mergeAndRedraw}]}", "adapter.lifecycle",
        "mergeAndRedraw makes links of A and B alone: not with an anchored start")]
    [InlineData("adapter: {method: lori-s, lifecycle: [{rounds: 1, calibrateMask: 0.5}, {rounds: 2, do: mergeAndRedraw}]}",
        "adapter.lifecycle", "mergeAndRedraw makes links of A and B alone: not with a mask")]
    [InlineData("adapter: {method: lori-s, lifecycle: [{rounds: odd, calibrateMask: 0.5}]}", "adapter.lifecycle",
        "a mask is calibrated once")]
    [InlineData("adapter: {method: r-lora-federated, lifecycle: [{rounds: 1, calibrateMask: 0.5}]}", "adapter.lifecycle",
        "calibrateMask begins the heads again")]
    // Given
    [InlineData(
        "adapter: {method: lora, heads: 3, routing: mean, from: given}", "adapter.heads",
        "the adapter that from names has one head, the plan asks for 3")]
    [InlineData(
        "adapter: {method: lora, from: given, trainsA: false, scopeA: seed, trainsB: false, scopeB: seed}", "adapter.trainsB",
        "neither A nor B trains")]
    // Sharing
    [InlineData("adapter: {method: lora, scopeA: seed}", "adapter.scopeA", "scope seed redraws A")]
    [InlineData("adapter: {method: lora, scopeB: seed}", "adapter.scopeB", "scope seed redraws B")]
    [InlineData("adapter: {method: lora, trainsA: false}", "adapter.trainsA", "A does not train, so there is nothing to aggregate")]
    [InlineData(
        "adapter: {method: r-lora, trainsB: false, scopeB: job, seedB: common}", "adapter.scopeB",
        "B does not train, so there is nothing to aggregate")]
    [InlineData("adapter: {method: fedsa-lora, seedA: perClient}", "adapter.seedA", "clients that aggregate A start from one value")]
    [InlineData("adapter: {method: fedsa-lora, seedA: perTask}", "adapter.seedA", "clients that aggregate A start from one value")]
    [InlineData("adapter: {method: r-lora-federated, scopeB: job}", "adapter.scopeB", "clients that aggregate B start from one value")]
    [InlineData(
        "adapter: {method: r-lora-federated, scopeB: task}", "adapter.scopeB",
        "clients of a task, which aggregate B, start from one value; set seedB: perTask or common")]
    // Training
    [InlineData("training: {steps: 5, warmHeadSteps: 6}", "training.warmHeadSteps", "6 exceeds the 5 steps of a round")]
    [InlineData("adapter: lora\ntraining: {warmHeadSteps: 1}", "training.warmHeadSteps", "no trained tensor stays with its client")]
    [InlineData("training: {steps: 5, warmupSteps: 51}", "training.warmupSteps", "51 exceeds the run's 50 steps (10 rounds of 5)")]
    // Strategy
    [InlineData("strategy: {selection: {fraction: 0.5}}", "strategy.selection.fraction", "a fraction needs rule: uniform")]
    [InlineData("strategy: {siteLoss: continue}", "strategy.siteLoss", "a round cannot go on without a site while quorum is 1")]
    [InlineData("strategy: {serverOptimizer: {rule: sgd, tau: 0.1}}", "strategy.serverOptimizer.tau",
        "sgd does not use it, only learningRate; remove it.")]
    [InlineData("strategy: {serverOptimizer: {rule: momentum, beta1: 0.5}}", "strategy.serverOptimizer.beta1",
        "momentum does not use it, only learningRate, momentum, variant; remove it.")]
    [InlineData("strategy: {serverOptimizer: {rule: adam, momentum: 0.5}}", "strategy.serverOptimizer.momentum", "adam does not use it")]
    [InlineData("strategy: {serverOptimizer: {rule: adagrad, beta2: 0.5}}", "strategy.serverOptimizer.beta2", "adagrad does not use it")]
    [InlineData("strategy: {serverOptimizer: {variant: flower}}", "strategy.serverOptimizer.variant", "sgd does not use it")]
    // Statistics and lifecycles
    [InlineData("adapter: {method: lora, objectives: [alignment]}\nstrategy: {trigger: {rule: buffered, bufferSize: 1}}",
        "adapter.objectives", "alignment needs statistics of one round, and a buffer holds work that began in several; "
        + "give trigger: synchronous, or leave alignment out.")]
    [InlineData(
        "adapter: {method: lora, lifecycle: [{rounds: odd, train: [B]}]}\nstrategy: {trigger: {rule: buffered, bufferSize: 1}}",
        "adapter.lifecycle", "what trains changes from round to round, and a buffer holds work that began in several; "
        + "give trigger: synchronous, or leave lifecycle out.")]
    [InlineData("adapter: {method: lora, objectives: [controlVariates]}\ntraining: {schedule: constant, warmupSteps: 0}",
        "adapter.objectives", "controlVariates takes what a round changed, over steps times rate, for a gradient, which it is not with "
        + "AdamW; give training.optimizer: sgd.")]
    [InlineData("adapter: {method: lora, objectives: [controlVariates]}\ntraining: {optimizer: sgd, warmupSteps: 0}",
        "adapter.objectives", "controlVariates divides what a round changed by one learning rate, and this schedule has another in each "
        + "step; give training.schedule: constant.")]
    [InlineData("adapter: {method: lora, objectives: [controlVariates]}\ntraining: {optimizer: sgd, schedule: constant}",
        "adapter.objectives", "controlVariates divides what a round changed by one learning rate, and warm-up has another in each "
        + "step; give training.warmupSteps: 0.")]
    [InlineData(
        "adapter: {method: lora, scopeB: task, objectives: [controlVariates]}\n"
        + "training: {optimizer: sgd, schedule: constant, warmupSteps: 0}",
        "adapter.objectives", "controlVariates is of what all clients aggregate, and B is aggregated by task; "
        + "give scopeB: job or client, or leave controlVariates out.")]
    [InlineData(
        "adapter: {method: chain-of-lora, objectives: [controlVariates]}\n"
        + "training: {optimizer: sgd, schedule: constant, warmupSteps: 0}",
        "adapter.objectives", "controlVariates remembers a tensor's gradient, and mergeAndRedraw begins the tensor again; leave one of the "
        + "two out.")]
    // Evaluation
    [InlineData("evaluation: {metric: accuracy}", "evaluation.metric", "no client has test rows to score")]
    [InlineData("evaluation: {localOnly: true}", "evaluation.localOnly", "no client has test rows to compare by")]
    public void Values_that_do_not_go_together_are_one_problem_at_a_value_that_was_given(string lines, string path, string message)
    {
        var problem = Assert.Single(
            PlanReader.Read($"name: n\nmodel: m\nclients: [{{id: a, task: t, data: {{train: t}}}}]\n{lines}\n", "p.yaml").Problems);

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
    [InlineData("adapter: {method: lora, scopeB: task}\ntraining: {warmHeadSteps: 1}")]
    [InlineData("adapter: {method: lora, dropout: {site: none}}")]
    [InlineData("training: {steps: 5, warmHeadSteps: 5, warmupSteps: 50}")]
    [InlineData("adapter: {method: lora, objectives: [controlVariates]}\ntraining: {optimizer: sgd, schedule: constant, warmupSteps: 0}")]
    [InlineData("adapter: {method: lora, objectives: [proximal: 0.01]}\nstrategy: {trigger: {rule: buffered, bufferSize: 1}}")]
    [InlineData("strategy: {serverOptimizer: {rule: adam, learningRate: 1e-3, beta1: 0, beta2: 0.5, tau: 1e-9, variant: flower}}")]
    [InlineData("strategy: {siteLoss: continue, quorum: 0.9, selection: {rule: uniform, fraction: 0.5}}")]
    public void Values_that_go_together_are_no_problem(string lines) =>
        Assert.Empty(
            PlanReader.Read($"name: n\nmodel: m\nclients: [{{id: a, task: t, data: {{train: t}}}}]\n{lines}\n", "p.yaml").Problems);

    [Theory]
    [InlineData("[]", "clients: the list is empty")]
    [InlineData(
        "[{id: a, task: t, data: {train: t}}, {id: A, task: u, data: {train: u}}]", "clients[1].id: \"A\" is the id of clients[0] already")]
    [InlineData(
        "[{id: a, task: t, steps: 2, data: {train: t}}]\ntraining: {warmHeadSteps: 3}",
        "clients[0].steps: 2 steps are fewer than the 3 of training.warmHeadSteps")]
    public void Clients_are_checked_together(string clients, string message) =>
        Assert.StartsWith(
            message, Assert.Single(PlanReader.Read($"name: n\nmodel: m\nclients: {clients}\n", "p.yaml").Problems).Message,
            StringComparison.Ordinal);

    [Theory]
    // Eight clients of two tasks, five and three.
    [InlineData("aggregation: {rule: median, trim: 0.1}", "trim", "median does not use it; remove it.")]
    [InlineData("aggregation: {rule: krum, byzantine: 1, keep: 2}", "keep", "krum does not use it; remove it.")]
    [InlineData(
        "aggregation: {rule: mean, perTask: true}", "perTask", "a mean of means changes nothing; remove it, or give a robust rule.")]
    [InlineData("aggregation: krum", "rule", "krum has to know how many clients may be hostile; give byzantine: 1 or more.")]
    [InlineData(
        "aggregation: {rule: krum, byzantine: 3}", "byzantine",
        "krum with byzantine: 3 needs at least 9 updates, a round has 8; give more clients, a smaller byzantine, or a rule without "
            + "a bound, such as median.")]
    [InlineData(
        "aggregation: {rule: krum, byzantine: 2}, quorum: 0.5", "byzantine",
        "krum with byzantine: 2 needs at least 7 updates, a round of 8 may close with 4 at a quorum of 0.5; give quorum: 0.875 or "
            + "more, or a smaller byzantine.")]
    [InlineData(
        "aggregation: {rule: krum, byzantine: 1}, selection: {rule: uniform, fraction: 0.5}", "byzantine",
        "krum with byzantine: 1 needs at least 5 updates, a round has 4; give more clients, a smaller byzantine, or a rule without "
            + "a bound, such as median.")]
    [InlineData(
        "aggregation: {rule: multiKrum, byzantine: 2, keep: 5}", "byzantine",
        "multiKrum with byzantine: 2 and keep: 5 needs at least 9 updates, a round has 8; give more clients, a smaller byzantine "
            + "or keep, or a rule without a bound, such as median.")]
    [InlineData(
        "aggregation: trimmedMean, quorum: 0.5", "rule",
        "trimmedMean with trim: 0.2 needs at least 5 updates to drop one at each end, a round of 8 may close with 4 at a quorum of "
            + "0.5; give quorum: 0.625 or more, or a larger trim.")]
    [InlineData(
        "aggregation: {rule: krum, byzantine: 1, perTask: true}", "byzantine",
        "krum with byzantine: 1 needs at least 5 updates of each task, few has 3; give a smaller byzantine, or remove perTask.")]
    public void An_aggregation_that_cannot_keep_its_promise_is_a_problem(string strategy, string key, string message)
    {
        var problem = Assert.Single(
            PlanReader.Read($"name: n\nmodel: m\nclients: [{Eight}]\nstrategy: {{{strategy}}}\n", "p.yaml").Problems);

        Assert.Equal($"strategy.aggregation.{key}: {message}", problem.Message);
        Assert.Equal(4, problem.Line);
    }

    [Theory]
    // Where a tensor is aggregated over the clients of a task, of whom there are five and three.
    [InlineData(
        "aggregation: {rule: krum, byzantine: 1}", "byzantine",
        "krum with byzantine: 1 needs at least 5 updates of each task for B of scope task, few has 3; give a smaller byzantine, a rule "
            + "without a bound, such as median, or scopeB: client.")]
    [InlineData(
        "aggregation: {rule: krum, byzantine: 0}, quorum: 0.5", "byzantine",
        "krum with byzantine: 0 needs at least 3 updates of each task for B of scope task, few has 3 and may close with 2 at a quorum of "
            + "0.5; give a smaller byzantine, a rule without a bound, such as median, or scopeB: client.")]
    [InlineData(
        "aggregation: trimmedMean", "rule",
        "trimmedMean with trim: 0.2 needs at least 5 updates to drop one at each end of each task for B of scope task, few has 3; give a "
            + "larger trim, a rule without a bound, such as median, or scopeB: client.")]
    public void A_rule_that_a_task_is_too_small_for_is_a_problem(string strategy, string key, string message)
    {
        var problem = Assert.Single(PlanReader.Read(
            $"name: n\nmodel: m\nclients: [{Eight}]\nstrategy: {{{strategy}}}\nadapter: {{method: fedsa-lora, scopeB: task}}\n",
            "p.yaml").Problems);

        Assert.Equal($"strategy.aggregation.{key}: {message}", problem.Message);
    }

    [Theory]
    [InlineData("aggregation: {rule: krum, byzantine: 0}")]
    [InlineData("aggregation: {rule: trimmedMean, trim: 0.4}, quorum: 0.9")]
    [InlineData("aggregation: median, quorum: 0.1")]
    public void A_rule_that_every_task_is_large_enough_for_is_no_problem(string strategy) => Assert.Empty(PlanReader.Read(
        $"name: n\nmodel: m\nclients: [{Eight}]\nstrategy: {{{strategy}}}\nadapter: {{method: fedsa-lora, scopeB: task}}\n",
        "p.yaml").Problems);

    [Theory]
    [InlineData("aggregation: {rule: krum, byzantine: 2}, quorum: 0.875")]
    [InlineData("aggregation: {rule: multiKrum, byzantine: 2, keep: 4}")]
    [InlineData("aggregation: {rule: trimmedMean, trim: 0.25}, quorum: 0.5")]
    [InlineData("aggregation: {rule: krum, byzantine: 0, perTask: true}, quorum: 0.5")]
    [InlineData("aggregation: median, quorum: 0.1")]
    public void An_aggregation_with_enough_clients_is_no_problem(string strategy) =>
        Assert.Empty(PlanReader.Read($"name: n\nmodel: m\nclients: [{Eight}]\nstrategy: {{{strategy}}}\n", "p.yaml").Problems);

    [Theory]
    [InlineData(0.3, 1.0)]
    [InlineData(0.3, 0.5)]
    [InlineData(0.55, 0.7)]
    [InlineData(1.0, 0.01)]
    public void The_smallest_round_is_the_one_that_the_machine_closes(double fraction, double quorum)
    {
        var selected = Math.Max(1, (int)Math.Round(fraction * 8, MidpointRounding.AwayFromZero));
        var plan = PlanReader.Require(
            $"name: n\nmodel: m\nclients: [{Eight}]\nstrategy: {{selection: {{rule: uniform, fraction: {Text(fraction)}}}, quorum: "
                + $"{Text(quorum)}}}\n",
            "p.yaml");
        var smallest = new FedRLora.Federation.Rounds.RoundMachine(plan).Quorum(selected);

        string Problem(int keep) =>
            PlanReader.Read(
                $"name: n\nmodel: m\nclients: [{Eight}]\nstrategy: {{selection: {{rule: uniform, fraction: {Text(fraction)}}}, "
                    + $"quorum: {Text(quorum)}, aggregation: {{rule: multiKrum, byzantine: 0, keep: {keep}}}}}\n",
                "p.yaml").Problems.SingleOrDefault()?.Message
                ?? "";
        Assert.Contains(
            smallest == selected ? $"a round has {smallest}" : $"may close with {smallest} ", Problem(8), StringComparison.Ordinal);

        static string Text(double value) => value.ToString(System.Globalization.CultureInfo.InvariantCulture);
    }

    [Theory]
    [InlineData("{kind: nan}", "faults[0]: it happens to nobody; give clients: [ID, ...] or share: 0.3.")]
    [InlineData("{kind: nan, clients: [c0], share: 0.3}", "faults[0].share: clients are named already; remove one of share and clients.")]
    [InlineData("{kind: nan, clients: [c0, nobody]}", "faults[0].clients[1]: \"nobody\" is the id of no client of this plan.")]
    [InlineData(
        "{kind: silent, share: 0.3}",
        "faults[0].kind: a round would wait for a silent client for ever; give strategy.deadline, or kind: fail.")]
    [InlineData("{kind: delay, share: 0.3}", "faults[0].kind: a delay has to be given; give delay: 30s.")]
    [InlineData("{kind: fail, share: 0.3, delay: 30s}", "faults[0].delay: fail does not use it; remove it, or give kind: delay.")]
    [InlineData(
        "{kind: wrongShape, share: 0.3, scale: 3}",
        "faults[0].scale: wrongShape does not use it; remove it, or give kind: huge or signFlip.")]
    [InlineData("{kind: nan, share: 0.3, rounds: {from: 11}}", "faults[0].rounds.from: 11 is after the last of 10 rounds.")]
    [InlineData("{kind: nan, share: 0.3, rounds: {from: 3, to: 2}}", "faults[0].rounds.to: 2 is before the first round, 3.")]
    [InlineData(
        "{kind: nan, share: 0.3, rounds: {lasting: 2}}", "faults[0].rounds.lasting: it is a part of a period; give every, or remove it.")]
    [InlineData("{kind: nan, share: 0.3, rounds: {every: 2, lasting: 3}}", "faults[0].rounds.lasting: 3 rounds exceed the period of 2.")]
    public void A_fault_that_cannot_happen_is_a_problem(string fault, string message)
    {
        var problem = Assert.Single(PlanReader.Read($"name: n\nmodel: m\nclients: [{Eight}]\nfaults: [{fault}]\n", "p.yaml").Problems);

        Assert.Equal(message, problem.Message);
        Assert.Equal(4, problem.Line);
    }

    private static string Eight { get; } = string.Join(
        ", ", Enumerable.Range(0, 8).Select(static i => $"{{id: c{i}, task: {(i < 5 ? "many" : "few")}, data: {{train: t}}}}"));
}
