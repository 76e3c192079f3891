using CsCheck;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Federation.Tests.Plans;

public sealed class PlanReaderTests
{
    private const string Minimal = """
        name: demo
        model: models/tiny
        clients:
          - {id: a, task: sst2, data: {train: sst2.jsonl}}
        """;

    [Fact]
    public void The_minimal_plan_takes_every_default()
    {
        var plan = PlanReader.Require(Minimal, "demo.yaml");

        Assert.Equal("demo", plan.Name);
        Assert.Equal("models/tiny", plan.Model.Path);
        Assert.Equal(AdapterCatalog.Methods["r-lora-federated"].Spec, plan.Adapter);
        Assert.Equal(new TrainingSpec(), plan.Training);
        Assert.Equal(new StrategySpec(), plan.Strategy);
        Assert.Equal(new EvaluationSpec(), plan.Evaluation);
        Assert.Equal(new ClientSpec { Id = "a", Task = "sst2", Data = new() { Train = "sst2.jsonl" } }, Assert.Single(plan.Clients));
    }

    [Fact]
    public void The_default_method_multiplies_by_the_same_factor_as_lora_so_that_one_rate_suits_both() =>
        Assert.Equal(AdapterCatalog.Methods["lora"].Spec.ScalingFactor, PlanReader.Require(Minimal, "demo.yaml").Adapter.ScalingFactor);

    [Fact]
    public void Every_key_is_read()
    {
        var plan = PlanReader.Require("""
            name: full
            seed: 18446744073709551615
            model: {path: models/tiny, storage: bfloat16}
            adapter:
              method: r-lora
              rank: 4
              alpha: 32
              scaling: alphaOverRank
              targetModules: [q_proj, v_proj]
              heads: 2
              routing: mean
              initA: kaimingUniform
              initB: {law: gaussian, value: 0.02}
              initRouter: {gaussian: 1e-3}
              seedA: common
              seedB: perTask
              start: anchored
              dropout: {site: input, masks: allHeads, p: 0.1}
              trainsA: true
              trainsB: true
              scopeA: job
              scopeB: client
              scopeRouter: job
              weighting: samples
            training:
              steps: 7
              batchSize: 3
              maxTokens: 64
              learningRate: 1e-3
              warmupSteps: 5
              schedule: linear
              weightDecay: 0.01
              beta1: 0.8
              beta2: 0.95
              epsilon: 1e-6
              clipNorm: 0
              warmHeadSteps: 2
              moments: reset
              groupSize: 4
              passMemoryMb: 100
              activationCheckpointing: true
              threads: 2
            strategy:
              rounds: 3
              selection: {rule: uniform, fraction: 0.5}
              aggregation: {rule: normBound, maxNorm: 2.5, perTask: true}
              serverOptimizer: {rule: sgd, learningRate: 0.5}
              deadline: 5m
              quorum: 0.5
              maxAttempts: 2
              siteLoss: continue
            clients:
              - id: a
                task: sst2
                site: north
                data: {train: a.jsonl, test: b.jsonl, offset: 10, rows: 100, shuffleLabels: true}
                steps: 9
                learningRate: 0.5
                weight: 2.5
            evaluation: {everyRounds: 2, metric: accuracy, maxRows: 50, maxNewTokens: 8, localOnly: true}
            checkpoints: {export: false, keepLast: 5, keepEvery: 10}
            faults:
              - {kind: signFlip, share: 0.3, probability: 0.5, scale: 4, rounds: {from: 2, to: 3, every: 2, lasting: 1}}
              - {kind: delay, clients: [a], delay: 30s}
            """, "full.yaml");

        Assert.Equal(ulong.MaxValue, plan.Seed);
        Assert.Equal(new ModelSpec { Path = "models/tiny", Storage = WeightStorage.Bfloat16 }, plan.Model);
        Assert.Equal(["q_proj", "v_proj"], plan.Adapter.TargetModules);
        Assert.Equal(
            new AdapterSpec
            {
                Method = "r-lora", Rank = 4, Alpha = 32, Scaling = Scaling.AlphaOverRank, Heads = 2, Routing = new Routing.Mean(),
                Start = Start.Anchored, Dropout = Dropout.Input(MaskSharing.AllHeads, 0.1), Weighting = Weighting.Samples,
            }
                .With("B", static heads => heads with { Init = Init.Gaussian(0.02), Seed = SeedPolicy.PerTask })
                .With("router", static router => router with { Init = Init.Gaussian(1e-3), Scope = Scope.Job }),
            plan.Adapter with { TargetModules = new AdapterSpec().TargetModules });
        Assert.Equal(
            new TrainingSpec
            {
                Steps = 7, BatchSize = 3, MaxTokens = 64, LearningRate = 1e-3, WarmupSteps = 5, Schedule = Schedule.Linear,
                WeightDecay = 0.01, Beta1 = 0.8,
                Beta2 = 0.95, Epsilon = 1e-6, ClipNorm = 0, WarmHeadSteps = 2, Moments = Moments.Reset, GroupSize = 4, PassMemoryMb = 100,
                ActivationCheckpointing = true, Threads = 2,
            },
            plan.Training);
        Assert.Equal(
            new StrategySpec
            {
                Rounds = 3, Selection = new() { Rule = SelectionRule.Uniform, Fraction = 0.5 },
                Aggregation = new() { Rule = "normBound", MaxNorm = 2.5, PerTask = true }, ServerOptimizer = new() { LearningRate = 0.5 },
                Deadline = TimeSpan.FromMinutes(5), Quorum = 0.5, MaxAttempts = 2, SiteLoss = SiteLoss.Continue,
            },
            plan.Strategy);
        Assert.Equal(
            new ClientSpec
            {
                Id = "a", Task = "sst2", Site = "north", Steps = 9, LearningRate = 0.5, Weight = 2.5,
                Data = new() { Train = "a.jsonl", Test = "b.jsonl", Offset = 10, Rows = 100, ShuffleLabels = true },
            },
            plan.Clients[0]);
        Assert.Equal(
            new EvaluationSpec { EveryRounds = 2, Metric = Metric.Accuracy, MaxRows = 50, MaxNewTokens = 8, LocalOnly = true },
            plan.Evaluation);
        Assert.Equal(new CheckpointSpec { Export = false, KeepLast = 5, KeepEvery = 10 }, plan.Checkpoints);
        Assert.Equal(
            new FaultSpec
            {
                Kind = FaultKind.SignFlip, Clients = plan.Faults[0].Clients, Share = 0.3, Probability = 0.5, Scale = 4,
                Rounds = new() { From = 2, To = 3, Every = 2, Lasting = 1 },
            },
            plan.Faults[0]);
        Assert.Equal(["a"], plan.Faults[1].Clients);
        Assert.Equal(TimeSpan.FromSeconds(30), plan.Faults[1].Delay);
    }

    [Theory]
    [InlineData("median", "median", null, null, null, null)]
    [InlineData("{rule: trimmedMean, trim: 0.25}", "trimmedMean", 0.25, null, null, null)]
    [InlineData("{rule: krum, byzantine: 0}", "krum", null, 0, null, null)]
    [InlineData("{rule: multiKrum, byzantine: 0, keep: 1}", "multiKrum", null, 0, 1, null)]
    [InlineData("{rule: geometricMedian, iterations: 7}", "geometricMedian", null, null, null, 7)]
    public void An_aggregation_is_a_name_or_a_rule_with_its_parameters(
        string aggregation, string rule, double? trim, int? byzantine, int? keep, int? iterations)
    {
        var clients = string.Join(", ", Enumerable.Range(0, 4).Select(static i => $"{{id: c{i}, task: t, data: {{train: t}}}}"));
        var read = PlanReader.Require($"name: n\nmodel: m\nclients: [{clients}]\nstrategy: {{aggregation: {aggregation}}}\n", "p.yaml");

        Assert.Equal(
            new AggregationSpec { Rule = rule, Trim = trim, Byzantine = byzantine, Keep = keep, Iterations = iterations },
            read.Strategy.Aggregation);
    }

    [Fact]
    public void Nine_mistakes_are_nine_problems_with_their_places()
    {
        var result = PlanReader.Read("""
            name: my run
            model: models/tiny
            adapter:
              method: lora
              rnak: 4
              routing: softmx
              initA: zero
            training:
              steps: ten
              batchSize: 0
              steps: 12
            strategy:
              quorum: 1.5
            clients:
              - id: a
                data: {train: a.jsonl}
            """, "demo.yaml");

        Assert.Null(result.Plan);
        Assert.Equal(
            [
                "demo.yaml:1:7: name: \"my run\" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores, the "
                    + "first no dot.",
                "demo.yaml:5:3: adapter.rnak: unknown key; did you mean rank?",
                "demo.yaml:6:12: adapter.routing: \"softmx\" is not known; did you mean softmax? Give one of byTask, mean, "
                    + "sum, softmax, taskSoftmax, topK, rankTopK, pool.",
                "demo.yaml:7:10: adapter.initA: initA and initB are both zero, a saddle that training never leaves; give one of "
                    + "them kaimingUniform, gaussian or stable.",
                "demo.yaml:9:10: training.steps: \"ten\" is not an integer; give a number from 1 to 100000.",
                "demo.yaml:10:14: training.batchSize: 0 is out of range; give a number from 1 to 65536.",
                "demo.yaml:11:3: training.steps: given twice; the first is on line 9. Remove one.",
                "demo.yaml:13:11: strategy.quorum: 1.5 is out of range; give a number above 0 and at most 1.",
                "demo.yaml:15:5: clients[0].task: missing; give the client's task.",
            ],
            result.Problems.Select(static problem => problem.ToString()));
    }

    [Fact]
    public void Require_throws_every_problem_in_one_message()
    {
        var thrown = Assert.Throws<PlanException>(() => PlanReader.Require("seed: -1", "p.yaml"));

        Assert.IsType<BadInputException>(thrown, exactMatch: false);
        Assert.Equal(4, thrown.Problems.Count);
        Assert.Equal(
            """
            p.yaml:1:1: name: missing; give the run's name.
            p.yaml:1:1: model: missing; give the folder or GGUF file of the base model.
            p.yaml:1:1: clients: missing; give a list of clients, each with id, task and data.
            p.yaml:1:7: seed: "-1" is not an integer from 0 to 18446744073709551615.
            """.ReplaceLineEndings("\n"),
            thrown.Message);
    }

    [Fact]
    public void An_adapter_chooses_layers_and_ranks_as_PEFT_does()
    {
        var adapter = PlanReader.Read($$"""
            {{Minimal}}
            adapter:
              targetModules: '.*\.(q|v)_proj'
              excludeModules: [lm_head]
              layersToTransform: [1, 3]
              layersPattern: [layers]
              rankPattern: {q_proj: 4, v_proj: 2}
              alphaPattern: {q_proj: 0.5}
              decomposed: true
            """, "plan.yaml").Plan!.Adapter;

        Assert.Equal(".*\\.(q|v)_proj", adapter.TargetPattern);
        Assert.Equal(["lm_head"], adapter.ExcludeModules);
        Assert.Equal([1, 3], adapter.LayersToTransform);
        Assert.Equal(["layers"], adapter.LayersPattern);
        Assert.Equal([new("q_proj", 4), new("v_proj", 2)], adapter.RankPattern);
        Assert.Equal([new("q_proj", 0.5)], adapter.AlphaPattern);
        Assert.True(adapter.Decomposed);
        Assert.Empty(PlanReader.Read(Minimal + "\nadapter: {targetModules: all-linear}", "plan.yaml").Plan!.Adapter.TargetModules);
    }

    [Theory]
    [InlineData("", "1:1: the file is empty; a plan needs at least name, model and clients.")]
    [InlineData("# only a comment", "1:1: the file is empty; a plan needs at least name, model and clients.")]
    [InlineData("- a", "1:1: a list is not a plan; a plan needs at least name, model and clients.")]
    [InlineData("just words", "1:1: \"just words\" is not a plan; a plan needs at least name, model and clients.")]
    public void A_file_that_is_no_plan_says_so(string yaml, string expected) =>
        Assert.Equal("p.yaml:" + expected, Assert.Single(PlanReader.Read(yaml, "p.yaml").Problems).ToString());

    [Theory]
    [InlineData("name: [a\nmodel: b", 1)]
    [InlineData("name: a\n\tmodel: b", 2)]
    [InlineData("name: *nowhere", 1)]
    [InlineData("name: \"open", 1)]
    public void A_syntax_error_is_one_problem_with_its_place(string yaml, int line)
    {
        var problem = Assert.Single(PlanReader.Read(yaml, "p.yaml").Problems);
        Assert.Equal(line, problem.Line);
        Assert.StartsWith("not valid YAML: ", problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Whatever_is_typed_is_a_plan_or_problems() =>
        Gen.Select(Gen.Int[0, Minimal.Length - 1], Gen.Int[0, 5], Gen.String["[]{}:,-&*!|>'\"%@`#?~ \t\n\0a0"]).Sample((at, cut, insert) =>
        {
            var yaml = Minimal[..at] + insert + Minimal[Math.Min(Minimal.Length, at + cut)..];
            var result = PlanReader.Read(yaml, "p.yaml");
            return result.Plan is null == result.Problems.Count > 0 && result.Problems.All(static p => p is { Line: > 0, Column: > 0 });
        }, iter: 20_000);

    [Theory]
    [InlineData("name: !!]]\n")]
    [InlineData("name: demo\nmodel: [!!{, a]\n")]
    public void A_tag_without_a_name_is_a_problem(string yaml) =>
        Assert.Contains("tag", Assert.Single(PlanReader.Read(yaml, "p.yaml").Problems).Message, StringComparison.Ordinal);

    [Fact]
    public void A_deeply_nested_file_is_refused_not_overflowed() =>
        Assert.Contains(
            "nested deeper", Assert.Single(PlanReader.Read("name: " + new string('[', 20_000), "p.yaml").Problems).Message,
            StringComparison.Ordinal);

    [Theory]
    [InlineData("privacy: {epsilon: 1}", "privacy: not available in this version; remove it.")]
    [InlineData("telemetry: {stepEvery: -1}", "telemetry.stepEvery: -1 is out of range; give a number from 0 to 2147483647.")]
    [InlineData("telemetry: {stepEvery: 5, steps: cloud}", "telemetry.steps: \"cloud\" is not known; give one of site, hub.")]
    [InlineData("telemetry: {stepevery: 5}", "telemetry.stepevery: unknown key; did you mean stepEvery?")]
    [InlineData("telemetry: {steps: hub}", "telemetry.steps: no step is recorded; give telemetry.stepEvery, or leave steps out.")]
    [InlineData("strategy: {trigger: fifo}", "strategy.trigger.rule: \"fifo\" is not known; give one of synchronous, buffered.")]
    [InlineData("adapter: {branches: 2}", "adapter.branches: not available in this version; remove it.")]
    [InlineData(
        "adapter: qlora",
        "adapter.method: \"qlora\" is not known; did you mean lora? Give one of METHODS.")]
    [InlineData("adapter: {r: 4}", "adapter.r: unknown key; did you mean rank?")]
    [InlineData("adapter: {lora_alpha: 4}", "adapter.lora_alpha: unknown key; did you mean alpha?")]
    [InlineData("adapter: {target_modules: [q]}", "adapter.target_modules: unknown key; did you mean targetModules?")]
    [InlineData(
        "adapter: {targetModules: q_proj}",
        "adapter.targetModules: \"q_proj\" is not a list and not a regular expression; give [q_proj, v_proj], all-linear or a "
            + "regular expression.")]
    [InlineData(
        "adapter: {targetModules: 'q_(proj'}",
        "adapter.targetModules: \"q_(proj\" is not a list and not a regular expression; give [q_proj, v_proj], all-linear or a "
            + "regular expression.")]
    [InlineData(
        "adapter: {layersToTransform: [0, x]}", "adapter.layersToTransform[1]: \"x\" stands here; give an integer from 0 to 10000.")]
    [InlineData(
        "adapter: {rankPattern: {q_proj: 2.5}}", "adapter.rankPattern.q_proj: \"2.5\" is not an integer; give a number from 1 to 4096.")]
    [InlineData(
        "adapter: {rankPattern: {'q(': 2}}",
        "adapter.rankPattern.q(: q( is not a valid regular expression; give the end of a layer's name, such as down_proj.")]
    [InlineData(
        "adapter: {alphaPattern: {q_proj: 0}}",
        "adapter.alphaPattern.q_proj: 0 is out of range; give a number above 0 and at most 1000000.")]
    [InlineData("adapter: {alphaPattern: [q_proj]}", "adapter.alphaPattern: a list stands here; give a mapping such as {down_proj: 4}.")]
    [InlineData("adapter: {from: given, rank: 4}", "adapter.rank: comes from the adapter that from names; remove it.")]
    [InlineData("adapter: {from: given, start: anchored}", "adapter.start: comes from the adapter that from names; remove it.")]
    [InlineData("adapter: {targetModules: [q, q]}", "adapter.targetModules[1]: q is in the list already; remove it.")]
    [InlineData("adapter: {initA: stable}", "adapter.initA: stable needs a value; give stable: 64.")]
    [InlineData(
        "adapter: {initA: cross}", "adapter.initA: \"cross\" is not known; give one of zero, kaimingUniform, identity, "
            + "sharedKaimingUniform, pissa, olora, svd, subspace, gaussian: 0.02, stable: 64, constant: 1.")]
    [InlineData("adapter: {initA: {stable: 0}}", "adapter.initA.stable: 0 is out of range; give a number above 0 and at most 1000000.")]
    [InlineData("adapter: {initA: {law: stable}}", "adapter.initA.value: missing; give gamma, such as 64.")]
    [InlineData("adapter: {initA: {law: kaimingUniform, value: 3}}", "adapter.initA.value: unknown key; known here: law.")]
    [InlineData(
        "adapter: {initA: {stable: 1, gaussian: 1}}",
        "adapter.initA: a mapping stands here; give one of zero, kaimingUniform, identity, "
            + "sharedKaimingUniform, pissa, olora, svd, subspace, gaussian: 0.02, stable: 64, constant: 1.")]
    [InlineData("checkpoints: {keepLast: 0}", "checkpoints.keepLast: 0 is out of range; give a number from 1 to 2147483647.")]
    [InlineData("adapter: {dropout: {p: 1}}", "adapter.dropout.p: 1 is out of range; give a number at least 0 and below 1.")]
    [InlineData("adapter: {dropout: 0.1}", "adapter.dropout: \"0.1\" is not a section; give keys with values below it.")]
    [InlineData("adapter: {trainsA: yes}", "adapter.trainsA: \"yes\" is not a flag; give true or false.")]
    [InlineData("adapter: {alpha: .nan}", "adapter.alpha: \".nan\" is not a number; give a number above 0 and at most 1000000.")]
    [InlineData("training: {steps: \"10\"}", "training.steps: \"10\" in quotes is not an integer; give a number from 1 to 100000.")]
    [InlineData("training: {steps: 99999999999}", "training.steps: 99999999999 is out of range; give a number from 1 to 100000.")]
    [InlineData("training: {steps: [1]}", "training.steps: a list stands here; give a number from 1 to 100000.")]
    [InlineData("training: {steps: }", "training.steps: an empty value stands here; give a number from 1 to 100000.")]
    [InlineData("training: {lr: 1}", "training.lr: unknown key; did you mean learningRate?")]
    [InlineData("strategy: {rounds: 0}", "strategy.rounds: 0 is out of range; give a number from 1 to 100000.")]
    [InlineData("strategy: {num_rounds: 3}", "strategy.num_rounds: unknown key; did you mean rounds?")]
    [InlineData(
        "strategy: {deadline: 0s}",
        "strategy.deadline: 0s is out of range; give a time such as 30s, 5m, 2h or 00:05:00, above 0 and at most 30 days.")]
    [InlineData("strategy: {deadline: 90}", "strategy.deadline: \"90\" is not a time; give a time such as 30s, 5m, 2h or 00:05:00.")]
    [InlineData(
        "strategy: {aggregation: medain}",
        "strategy.aggregation.rule: \"medain\" is not known; did you mean median? Give one of geometricMedian, krum, mean, median, "
            + "multiKrum, normBound, trimmedMean.")]
    [InlineData(
        "strategy: {aggregation: {rule: trimmedMean, trim: 0.5}}",
        "strategy.aggregation.trim: 0.5 is out of range; give a number between 0 and 0.5.")]
    [InlineData(
        "strategy: {aggregation: {rule: krum, byzantine: -1}}",
        "strategy.aggregation.byzantine: -1 is out of range; give a number from 0 to 1000000.")]
    [InlineData(
        "strategy: {aggregation: {rule: normBound, maxNorm: 0}}",
        "strategy.aggregation.maxNorm: 0 is out of range; give a number above 0 and at most 1000000.")]
    [InlineData("strategy: {aggregation: [mean]}", "strategy.aggregation: a list is not a section; give keys with values below it.")]
    [InlineData("faults: nan", "faults: \"nan\" is not a list; give a list of faults, each with kind and clients or share.")]
    [InlineData("faults: [nan]", "faults[0]: \"nan\" is not a fault; give kind and clients or share.")]
    [InlineData("faults: [{share: 0.3}]", "faults[0].kind: missing; give what goes wrong.")]
    [InlineData(
        "faults: [{kind: signflop, share: 0.3}]",
        "faults[0].kind: \"signflop\" is not known; did you mean signFlip? Give one of absent, silent, delay, fail, nan, huge, "
            + "zero, signFlip, wrongShape.")]
    [InlineData("faults: [{kind: nan, share: 1.5}]", "faults[0].share: 1.5 is out of range; give a number above 0 and at most 1.")]
    [InlineData(
        "faults: [{kind: nan, share: 0.5, probability: 0}]",
        "faults[0].probability: 0 is out of range; give a number above 0 and at most 1.")]
    [InlineData(
        "faults: [{kind: nan, share: 0.5, rounds: {from: 0}}]",
        "faults[0].rounds.from: 0 is out of range; give a number from 1 to 100000.")]
    [InlineData(
        "faults: [{kind: delay, share: 0.5, delay: 3}]",
        "faults[0].delay: \"3\" is not a time; give a time such as 30s, 5m, 2h or 00:05:00.")]
    [InlineData(
        "faults: [{kind: nan, share: 0.5, who: a}]",
        "faults[0].who: unknown key; known here: kind, clients, share, probability, rounds, delay, scale.")]
    [InlineData("strategy: {serverOptimizer: adom}",
        "strategy.serverOptimizer.rule: \"adom\" is not known; did you mean adam? Give one of adagrad, adam, momentum, sgd, yogi.")]
    [InlineData(
        "strategy: {selection: {fraction: 0}}", "strategy.selection.fraction: 0 is out of range; give a number above 0 and at most 1.")]
    [InlineData("evaluation: {everyRounds: 0}", "evaluation.everyRounds: 0 is out of range; give a number from 1 to 100000.")]
    [InlineData("evaluation: !!python/object {}", "evaluation: the tag tag:yaml.org,2002:python/object is not supported; remove it.")]
    [InlineData(
        "wandb: true",
        "wandb: unknown key; known here: name, seed, sharing, model, adapter, training, strategy, tasks, clients, evaluation, "
            + "checkpoints, telemetry, store, faults.")]
    [InlineData("[a]: b", "a key is a word, not a list or a mapping.")]
    public void A_wrong_value_is_one_problem(string line, string expected)
    {
        var problem = Assert.Single(PlanReader.Read($"{Minimal}\n{line}\n", "demo.yaml").Problems);

        var methods = string.Join(", ", AdapterCatalog.Methods.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(expected.Replace("METHODS", methods, StringComparison.Ordinal), problem.Message);
        Assert.Equal(5, problem.Line);
    }

    [Theory]
    [InlineData(
        "{id: ., task: t, data: {train: t}}",
        "clients[0].id: \".\" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores, the first no dot.")]
    [InlineData(
        "{id: .hidden, task: t, data: {train: t}}",
        "clients[0].id: \".hidden\" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores, the first no dot.")]
    [InlineData(
        "{id: a/b, task: t, data: {train: t}}",
        "clients[0].id: \"a/b\" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores, the first no dot.")]
    [InlineData(
        "{id: a, task: t, site: .., data: {train: t}}",
        "clients[0].site: \"..\" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores, the first no dot.")]
    [InlineData(
        "{id: a, task: \"x\\n\", data: {train: t}}", "clients[0].task: \"x\\u000a\" cannot be used; give 1 to 64 characters on one line.")]
    [InlineData("{id: a, task: t, data: t.jsonl}", "clients[0].data: \"t.jsonl\" is not a section; give keys with values below it.")]
    [InlineData(
        "{id: a, task: t, data: }", "clients[0].data: an empty value stands here; give the client's rows: {train: file, test: file}.")]
    [InlineData("{id: a, task: t, data: {tran: t}}", "clients[0].data.tran: unknown key; did you mean train?")]
    [InlineData(
        "{id: a, task: t, data: {train: t}, weight: 0}",
        "clients[0].weight: 0 is out of range; give a number above 0 and at most 1000000.")]
    [InlineData("{id: a, task: t, data: {train: t}, rank: 4}", "clients[0].rank: not available in this version; remove it.")]
    [InlineData("a", "clients[0]: \"a\" is not a client; give id, task and data.")]
    public void A_wrong_client_is_one_problem(string client, string expected)
    {
        var problem = Assert.Single(PlanReader.Read($"name: n\nmodel: m\nclients:\n  - {client}\n", "demo.yaml").Problems);

        Assert.Equal(expected, problem.Message);
        Assert.Equal(4, problem.Line);
    }

    [Fact]
    public void A_long_name_is_refused()
    {
        Assert.Empty(PlanReader.Read(Minimal.Replace("demo", new string('n', 64), StringComparison.Ordinal), "p").Problems);
        Assert.Single(PlanReader.Read(Minimal.Replace("demo", new string('n', 65), StringComparison.Ordinal), "p").Problems);
    }

    [Theory]
    [InlineData("30s", 30)]
    [InlineData("1.5m", 90)]
    [InlineData("2h", 7200)]
    [InlineData("1d", 86400)]
    [InlineData("500ms", 0.5)]
    [InlineData("00:05:00", 300)]
    [InlineData("1.00:00:01", 86401)]
    public void A_deadline_is_a_number_with_a_unit_or_a_clock(string text, double seconds) =>
        Assert.Equal(
            TimeSpan.FromSeconds(seconds), PlanReader.Require($"{Minimal}\nstrategy: {{deadline: {text}}}", "p").Strategy.Deadline);

    [Fact]
    public void Empty_optional_values_are_absent()
    {
        var plan = PlanReader.Require($"{Minimal}\nadapter:\ntraining: ~\nstrategy: {{deadline: null}}\nevaluation: {{maxRows: }}", "p");

        Assert.Null(plan.Strategy.Deadline);
        Assert.Null(plan.Evaluation.MaxRows);
        Assert.Equal("r-lora-federated", plan.Adapter.Method);
    }

    [Fact]
    public void Aliases_share_what_clients_have_in_common()
    {
        var plan = PlanReader.Require("""
            name: n
            model: m
            clients:
              - {id: a, task: t, data: &rows {train: t.jsonl}}
              - {id: b, task: t, data: *rows}
            """, "p");

        Assert.Equal(plan.Clients[0].Data, plan.Clients[1].Data);
    }

    [Theory]
    [InlineData("- &a {id: a, task: t, site: n, data: {train: t.jsonl}}", "- {<<: *a, id: b}")]
    [InlineData("- &a {id: a, task: t, site: n, data: {train: t.jsonl}}", "- {id: b, <<: *a}")]
    [InlineData("- &a {id: a, task: t, site: n, data: {train: t.jsonl}}", "- <<: [*a]\n    id: b")]
    [InlineData("- {id: a, task: t, site: n, data: &d {train: t.jsonl}}", "- {id: b, task: t, site: n, data: {<<: *d}}")]
    [InlineData(
        "- &a {id: a, task: t, site: n, data: &d {train: t.jsonl, rows: 3}}", "- {id: b, <<: [{site: n, data: {train: t.jsonl}}, *a]}")]
    [InlineData("- &a {id: a, <<: &c {task: t, site: n}, data: {train: t.jsonl}}", "- {id: b, <<: [*c, *a]}")]
    public void A_merge_key_fills_in_what_a_mapping_does_not_say(string first, string second)
    {
        var clients = PlanReader.Require($"name: n\nmodel: m\nclients:\n  {first}\n  {second}", "p").Clients;

        Assert.Equal(
            ("b", "t", "n", new DataSpec { Train = "t.jsonl" }), (clients[1].Id, clients[1].Task, clients[1].Site, clients[1].Data));
        Assert.Equal("a", clients[0].Id);
    }

    [Theory]
    [InlineData("- {<<: x, id: b, task: t, data: {train: t.jsonl}}", "clients[1].<<: \"x\" is no mapping to merge")]
    [InlineData("- {<<: [[]], id: b, task: t, data: {train: t.jsonl}}", "clients[1].<<: a list is no mapping to merge")]
    [InlineData("- {<<: *a, <<: *a, id: b}", "clients[1].<<: given twice")]
    [InlineData("- {\"<<\": *a, id: b, task: t, data: {train: t.jsonl}}", "clients[1].<<: unknown key")]
    [InlineData("- {<<: {colour: red}, id: b, task: t, data: {train: t.jsonl}}", "clients[1].colour: unknown key")]
    public void What_cannot_be_merged_is_a_problem(string second, string problem) =>
        Assert.StartsWith(problem, Assert.Single(PlanReader.Read(
            $"name: n\nmodel: m\nclients:\n  - &a {{id: a, task: t, data: {{train: t.jsonl}}}}\n  {second}", "p").Problems).Message,
            StringComparison.Ordinal);

    [Fact]
    public void Merged_keys_count_towards_the_bound_of_a_plan()
    {
        var map = string.Join(", ", Enumerable.Range(0, 3000).Select(static key => $"k{key}: 1"));
        var merges = string.Join("\n", Enumerable.Repeat("  - <<: *m", 2000));

        var problem = PlanReader.Read($"name: n\nmodel: m\nclients:\n  - &m {{{map}}}\n{merges}", "p").Problems[0];

        Assert.Contains("more than 3000000 values", problem.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_task_has_labels_with_the_answers_that_stand_for_them()
    {
        var tasks = PlanReader.Require($$$"""
            {{{Minimal}}}
            tasks:
              sst2: {labels: {positive: [good, fine], negative: bad, "3": }}
            """, "p").Tasks;

        Assert.Equal(["positive", "negative", "3"], tasks["sst2"].Labels!.Select(static label => label.Name));
        Assert.Equal(["good fine", "bad", ""], tasks["sst2"].Labels!.Select(static label => string.Join(' ', label.Answers)));
        Assert.Null(PlanReader.Require($"{Minimal}\ntasks: {{sst2: {{}}}}", "p").Tasks["sst2"].Labels);
    }

    [Theory]
    [InlineData("{sst2: {labels: [yes]}}", "tasks.sst2.labels: one label leaves nothing to choose")]
    [InlineData("{sst2: {labels: [a  b, a b]}}", "tasks.sst2.labels: \"a  b\" and \"a b\" are one label")]
    [InlineData("{sst2: {labels: [yes, yes, no]}}", "tasks.sst2.labels[1]: yes is in the list already")]
    [InlineData("{sst2: {labels: {p: [x, y], n: [y]}}}", "tasks.sst2.labels: \"p\" and \"n\" share an answer")]
    [InlineData("{sst2: {labels: {p: [x, n], n: }}}", "tasks.sst2.labels: \"p\" and \"n\" share an answer")]
    [InlineData("{sst2: {labels: yes}}", "tasks.sst2.labels: \"yes\" stands here; give a list such as [yes, no]")]
    [InlineData("{sst2: {labels: {p: {x: y}, n: z}}}", "tasks.sst2.labels.p: a mapping stands here; give an answer or a list of answers")]
    [InlineData("{sst2: {label: [yes, no]}}", "tasks.sst2.label: unknown key; did you mean labels?")]
    [InlineData("{other: {labels: [yes, no]}}", "tasks.other: no client has this task")]
    public void Labels_that_cannot_be_told_apart_are_problems(string tasks, string problem) => Assert.StartsWith(
        problem, Assert.Single(PlanReader.Read($"{Minimal}\ntasks: {tasks}", "p").Problems).Message, StringComparison.Ordinal);

    [Fact]
    public void Values_that_a_plan_leaves_open_are_held_against_what_a_round_was_made_with()
    {
        var plan = PlanReader.Require(Minimal, "p");
        string Engine(FederationPlan read) => new EngineFingerprint("lib", "avx2 MKL_CBWR=x", 2, "adapter", PlanText.ValuesOf(read)).Text;

        PlanText.RequireValues(plan, "runs/a", Engine(plan with { Name = "other", Strategy = new() { Rounds = 99 } }));
        PlanText.RequireValues(plan, "runs/a", new EngineFingerprint("lib", "avx2", 2).Text); // not recorded
        foreach (var other in new[]
        {
            plan with { Training = plan.Training with { LearningRate = 2e-4 } },
            plan with { Adapter = plan.Adapter.With("B", static heads => heads with { Init = Init.Stable(64) }) },
        })
        {
            var refused = Assert.Throws<BadInputException>(() => PlanText.RequireValues(plan, "runs/a", Engine(other)));
            Assert.StartsWith("runs/a: this version reads other values of adapter or training", refused.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(null, null)]
    [InlineData("aa", null)]
    [InlineData(null, "bb")]
    [InlineData("aa", "bb")]
    public void An_engine_is_read_from_its_text(string? given, string? values)
    {
        var engine = new EngineFingerprint("lib 1, torch 2", "X64 avx2", 2, given, values);

        Assert.Equal(engine, EngineFingerprint.Parse(engine.Text));
        Assert.Null(EngineFingerprint.Parse(engine.Text + "; more"));
    }

    [Fact]
    public void A_misspelt_method_raises_no_second_problem_about_its_fields() =>
        Assert.Equal(
            "adapter.method",
            Assert.Single(
                PlanReader.Read($"{Minimal}\nadapter: {{method: ffa-lra, initB: zero, heads: 3}}", "p").Problems).Message.Split(':')[0]);

    public static TheoryData<string> Methods => [.. AdapterCatalog.Methods.Keys];

    [Theory]
    [MemberData(nameof(Methods))]
    public void Every_method_of_the_catalogue_is_a_valid_plan(string method) =>
        Assert.Equal(AdapterCatalog.Methods[method].Spec, PlanReader.Require($"{Minimal}\nadapter: {method}", "p").Adapter);
}
