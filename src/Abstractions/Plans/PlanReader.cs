using System.Buffers;
using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// YAML to <see cref="FederationPlan"/>. Checks every value by itself, then asks <see cref="PlanValidator"/> whether they go
/// together, and reports every problem in one pass. A plan's digest is the SHA-256 of the text, so there is no writer.
/// </summary>
public static class PlanReader
{
    /// <summary>Longest plan name, client id and site.</summary>
    public const int MaxIdentifierLength = Identifiers.MaxLength;

    private const int MaxLength = 64 << 20;
    private const int MaxPathLength = 1024;
    private const int Many = 1_000_000;
    private const string NotYet = "not available in this version; remove it.";

    // What an adapter given by from decides.
    private static readonly string[] GivenByAdapter =
    [
        "rank", "alpha", "scaling", "targetModules", "excludeModules", "layersToTransform", "layersPattern", "rankPattern", "alphaPattern", "decomposed",
        "initA", "initB", "seedA", "seedB", "start",
    ];

    // The parser would skip them, or end there: control characters, but for tab, line feed, carriage return and next line.
    private static readonly SearchValues<char> NoText =
        SearchValues.Create([.. Enumerable.Range(0, 0xA0).Select(static code => (char)code)
            .Where(static c => char.IsControl(c) && c is not ('\t' or '\n' or '\r' or '\u0085'))]);

    private static readonly string[] InitForms = ["zero", "kaimingUniform", "gaussian: 0.02", "stable: 64"];

    /// <summary>Reads a plan.</summary>
    /// <param name="yaml">The text.</param>
    /// <param name="fileName">What the problems call the file.</param>
    public static PlanReadResult Read(string yaml, string fileName)
    {
        var problems = new ProblemList(fileName);
        if (yaml.Length > MaxLength)
            problems.Add(Place.Start, "", $"{yaml.Length} characters are too many for a plan; the bound is {MaxLength}.");
        else if (yaml.AsSpan().IndexOfAny(NoText) is >= 0 and var at)
            problems.Add(PlaceAt(yaml, at), "", $"the character U+{(int)yaml[at]:X4} is none of a text file; remove it.");
        var plan = problems.IsEmpty ? ReadUpToTheBound(yaml, problems) : null;
        return new() { Plan = problems.IsEmpty ? plan : null, Problems = problems.Sorted };
    }

    private static Place PlaceAt(string yaml, int at)
    {
        var before = yaml.AsSpan(0, at);
        return new(before.Count('\n') + 1, at - before.LastIndexOf('\n'));
    }

    private static FederationPlan? ReadUpToTheBound(string yaml, ProblemList problems)
    {
        try
        {
            return Read(yaml, problems);
        }
        catch (TooManyProblems)
        {
            return null;
        }
    }

    private static FederationPlan? Read(string yaml, ProblemList problems)
    {
        FederationPlan? plan = null;
        switch (new PlanNodeReader(problems).Read(yaml))
        {
            case null:
                break;
            case MapNode map:
                plan = Plan(new(map, "", problems));
                foreach (var conflict in PlanValidator.Conflicts(plan))
                    problems.Add(conflict);
                if (plan.Sharing == Sharing.None)
                    plan = plan with { Adapter = plan.Adapter.Unshared() };
                break;
            case var other:
                problems.Add(other.Place, "", $"{PlanSection.Shown(other)} is not a plan; a plan needs at least name, model and clients.");
                break;
        }

        return plan;
    }

    /// <summary>Reads a plan that has to be right.</summary>
    /// <exception cref="PlanException">It is not; the message has one line for each problem.</exception>
    public static FederationPlan Require(string yaml, string fileName)
    {
        var result = Read(yaml, fileName);
        return result.Plan ?? throw new PlanException(result.Problems);
    }

    private static FederationPlan Plan(PlanSection plan)
    {
        plan.Refuse(NotYet, "privacy", "telemetry");
        var result = new FederationPlan
        {
            Name = plan.RequiredIdentifier("name", "the run's name"),
            Seed = plan.Unsigned("seed", 0),
            Sharing = plan.Choice("sharing", Sharing.Method),
            Model = Model(plan),
            Adapter = Adapter(plan.Section("adapter", shorthand: "method")),
            Training = Training(plan.Section("training")),
            Strategy = Strategy(plan.Section("strategy")),
            Tasks = Tasks(plan.Section("tasks")),
            Clients = Clients(plan),
            Evaluation = Evaluation(plan.Section("evaluation")),
            Checkpoints = Checkpoints(plan.Section("checkpoints")),
            Store = Store(plan.Section("store")),
            Faults = Faults(plan),
        };
        plan.Close();
        return result;
    }

    private static ModelSpec Model(PlanSection plan)
    {
        const string What = "the folder of the base model";
        if (plan.Require("model", What) is ScalarNode { IsNull: true } empty)
            return plan.Wrong(empty, "model", $"an empty value stands here; give {What}.", new ModelSpec { Path = "" });
        if (plan.Section("model", shorthand: "path") is not { } model)
            return new() { Path = "" };
        var result = new ModelSpec { Path = model.RequiredText("path", What, MaxPathLength), Storage = model.Choice("storage", WeightStorage.Float32) };
        model.Close();
        return result;
    }

    private static AdapterSpec Adapter(PlanSection? adapter)
    {
        const string Default = "r-lora-federated";
        if (adapter is null)
            return AdapterCatalog.Methods[Default].Spec;
        adapter.Refuse(NotYet, "branches", "core", "downs", "headScale", "headMask", "scopeCore", "scopeHeadScale", "lifecycle", "objective", "space", "reducer");
        var spec = AdapterCatalog.Methods[adapter.Name("method", Default, [.. AdapterCatalog.Methods.Keys.Order(StringComparer.Ordinal)])].Spec;
        var layers = adapter.Names("targetModules", "a layer, such as q_proj", "all-linear", "[q_proj, v_proj], all-linear or a regular expression");
        spec = spec with
        {
            From = adapter.OptionalText("from", MaxPathLength),
            Rank = adapter.Integer("rank", spec.Rank, 1, 4096),
            Alpha = adapter.Number("alpha", spec.Alpha, Above(0, Many)),
            Scaling = adapter.Choice("scaling", spec.Scaling),
            TargetModules = layers.Names ?? spec.TargetModules,
            TargetPattern = layers.Pattern,
            ExcludeModules = adapter.Names("excludeModules", "a layer, such as lm_head").Names ?? spec.ExcludeModules,
            LayersToTransform = adapter.Integers("layersToTransform", 0, 10_000) ?? spec.LayersToTransform,
            LayersPattern = adapter.Names("layersPattern", "the list of layers, such as layers").Names ?? spec.LayersPattern,
            RankPattern = adapter.Pairs("rankPattern", Closed(1, 4096), whole: true, static value => (int)value) ?? spec.RankPattern,
            AlphaPattern = adapter.Pairs("alphaPattern", Above(0, Many), whole: false, static value => value) ?? spec.AlphaPattern,
            Decomposed = adapter.Flag("decomposed", spec.Decomposed),
            Heads = adapter.Integer("heads", spec.Heads, 1, 64),
            Routing = adapter.Choice("routing", spec.Routing),
            InitA = Init(adapter, "initA", spec.InitA),
            InitB = Init(adapter, "initB", spec.InitB),
            InitRouter = Init(adapter, "initRouter", spec.InitRouter),
            SeedA = adapter.Choice("seedA", spec.SeedA),
            SeedB = adapter.Choice("seedB", spec.SeedB),
            Start = adapter.Choice("start", spec.Start),
            Dropout = Dropout(adapter.Section("dropout"), spec.Dropout),
            TrainsA = adapter.Flag("trainsA", spec.TrainsA),
            TrainsB = adapter.Flag("trainsB", spec.TrainsB),
            ScopeA = adapter.Choice("scopeA", spec.ScopeA),
            ScopeB = adapter.Choice("scopeB", spec.ScopeB),
            ScopeRouter = adapter.Choice("scopeRouter", spec.ScopeRouter),
            ScopeMagnitude = adapter.Choice("scopeMagnitude", spec.ScopeMagnitude),
            Weighting = adapter.Choice("weighting", spec.Weighting),
        };
        if (spec.From is not null)
            spec = Given(adapter, spec);
        adapter.Close();
        if (adapter.IsUnreadable("method"))
            adapter.MarkUnreadable();
        return spec;
    }

    /// <summary>An adapter that is given brings its own shape and is its own start.</summary>
    private static AdapterSpec Given(PlanSection adapter, AdapterSpec spec)
    {
        foreach (var key in GivenByAdapter)
        {
            if (adapter.Node(key) is { } node)
                adapter.Wrong<string>(node, key, "comes from the adapter that from names; remove it.");
        }

        return spec with { Start = Plans.Start.Exact, SeedA = SeedPolicy.Common, SeedB = SeedPolicy.Common };
    }

    /// <summary><c>zero</c>, <c>stable: 64</c> or <c>{law: stable, value: 64}</c>.</summary>
    private static Init Init(PlanSection adapter, string key, Init fallback)
    {
        switch (adapter.Node(key))
        {
            case null:
                return fallback;
            case ScalarNode { IsNull: false } word:
                return word.Value.ToUpperInvariant() switch
                {
                    "ZERO" => Plans.Init.Zero,
                    "KAIMINGUNIFORM" => Plans.Init.KaimingUniform,
                    "STABLE" or "GAUSSIAN" => adapter.Wrong(word, key, $"{word.Value} needs a value; give {(word.Value.Length == 6 ? "stable: 64" : "gaussian: 0.02")}.", fallback),
                    _ => adapter.Wrong(word, key, PlanSection.Unknown(word, InitForms), fallback),
                };
            case MapNode map when map.Entries.Any(static entry => entry.Key is "law" or "value"):
                return LawAndValue(adapter.Section(key)!, fallback);
            case MapNode { Entries: [{ Key: "stable" or "gaussian" } only] }:
                var law = adapter.Section(key)!;
                var value = law.Number(only.Key, 0, Above(0, Many));
                return only.Key == "stable" ? Plans.Init.Stable(value) : Plans.Init.Gaussian(value);
            case var other:
                return adapter.Wrong(other, key, $"{PlanSection.Shown(other)} stands here; give one of {string.Join(", ", InitForms)}.", fallback);
        }
    }

    private static Init LawAndValue(PlanSection init, Init fallback)
    {
        init.Require("law", "one of zero, kaimingUniform, gaussian, stable");
        var law = init.Choice("law", fallback.Law);
        var takesValue = law is InitLaw.Gaussian or InitLaw.Stable || !init.Has("law") || init.IsUnreadable("law");
        if (takesValue)
            init.Require("value", law is InitLaw.Stable ? "gamma, such as 64" : "a standard deviation, such as 0.02");
        var result = new Init(law, takesValue ? init.Number("value", 1, Above(0, Many)) : 0);
        init.Close();
        return result;
    }

    private static Dropout Dropout(PlanSection? dropout, Dropout fallback)
    {
        if (dropout is null)
            return fallback;
        var site = dropout.Choice("site", fallback.Site);
        var result = new Dropout(
            site,
            dropout.Choice("masks", fallback.Masks),
            dropout.Number("p", site == DropoutSite.None ? 0 : fallback.P, Below(0, 1)));
        dropout.Close();
        return result;
    }

    private static TrainingSpec Training(PlanSection? training)
    {
        var spec = new TrainingSpec();
        if (training is null)
            return spec;
        spec = new()
        {
            Steps = training.Integer("steps", spec.Steps, 1, 100_000),
            BatchSize = training.Integer("batchSize", spec.BatchSize, 1, 65_536),
            MaxTokens = training.Integer("maxTokens", spec.MaxTokens, 2, 131_072),
            LearningRate = training.Number("learningRate", spec.LearningRate, Above(0, 10)),
            WarmupSteps = training.OptionalInteger("warmupSteps", 0, Many),
            Schedule = training.Choice("schedule", spec.Schedule),
            WeightDecay = training.Number("weightDecay", spec.WeightDecay, Closed(0, 10)),
            Beta1 = training.Number("beta1", spec.Beta1, Below(0, 1)),
            Beta2 = training.Number("beta2", spec.Beta2, Below(0, 1)),
            Epsilon = training.Number("epsilon", spec.Epsilon, Above(0, 1)),
            ClipNorm = training.Number("clipNorm", spec.ClipNorm, Closed(0, Many)),
            WarmHeadSteps = training.Integer("warmHeadSteps", spec.WarmHeadSteps, 0, 100_000),
            Moments = training.Choice("moments", spec.Moments),
            GroupSize = training.IntegerOrAuto("groupSize", 1, 1024),
            PassMemoryMb = training.Integer("passMemoryMb", spec.PassMemoryMb, 1, int.MaxValue),
            ActivationCheckpointing = training.Flag("activationCheckpointing", spec.ActivationCheckpointing),
            Threads = training.Integer("threads", spec.Threads, 0, 1024),
        };
        training.Close();
        return spec;
    }

    private static StrategySpec Strategy(PlanSection? strategy)
    {
        var spec = new StrategySpec();
        if (strategy is null)
            return spec;
        strategy.Refuse(NotYet, "updateTransforms", "transforms", "secureAggregation");
        spec = new()
        {
            Rounds = strategy.Integer("rounds", spec.Rounds, 1, 100_000),
            Selection = Selection(strategy.Section("selection", shorthand: "rule")),
            Aggregation = Aggregation(strategy.Section("aggregation", shorthand: "rule")),
            ServerOptimizer = ServerOptimizer(strategy.Section("serverOptimizer", shorthand: "rule")),
            Deadline = strategy.Duration("deadline", TimeSpan.FromDays(30)),
            Quorum = strategy.Number("quorum", spec.Quorum, Above(0, 1)),
            MaxAttempts = strategy.Integer("maxAttempts", spec.MaxAttempts, 1, 100),
            SiteLoss = strategy.Choice("siteLoss", spec.SiteLoss),
            Trigger = Trigger(strategy.Section("trigger", shorthand: "rule")),
            TimeBudget = TimeBudget(strategy.Section("timeBudget", shorthand: "factor")),
            Quarantine = Quarantine(strategy.Section("quarantine", shorthand: "after")),
            ClientRetries = strategy.Integer("clientRetries", spec.ClientRetries, 0, 10),
        };
        strategy.Close();
        return spec;
    }

    private static SelectionSpec Selection(PlanSection? selection)
    {
        var spec = new SelectionSpec();
        if (selection is null)
            return spec;
        spec = new() { Rule = selection.Choice("rule", spec.Rule), Fraction = selection.Number("fraction", spec.Fraction, Above(0, 1)), Overselect = selection.Number("overselect", spec.Overselect, Closed(1, 10)) };
        selection.Close();
        return spec;
    }

    private static TriggerSpec Trigger(PlanSection? trigger)
    {
        var spec = new TriggerSpec();
        if (trigger is null)
            return spec;
        spec = new()
        {
            Rule = trigger.Choice("rule", spec.Rule),
            BufferSize = trigger.Integer("bufferSize", spec.BufferSize, 1, 100_000),
            Concurrency = trigger.OptionalInteger("concurrency", 1, 100_000),
            StalenessExponent = trigger.Number("stalenessExponent", spec.StalenessExponent, Closed(0, 10)),
            MaxStaleness = trigger.OptionalInteger("maxStaleness", 0, 100_000),
        };
        trigger.Close();
        return spec;
    }

    private static TimeBudgetSpec? TimeBudget(PlanSection? budget)
    {
        if (budget is null)
            return null;
        var spec = new TimeBudgetSpec();
        spec = new() { Factor = budget.Number("factor", spec.Factor, Closed(1, 1000)), AtLeast = budget.Duration("atLeast", TimeSpan.FromDays(30)) ?? spec.AtLeast };
        budget.Close();
        return spec;
    }

    private static QuarantineSpec? Quarantine(PlanSection? quarantine)
    {
        if (quarantine is null)
            return null;
        var spec = new QuarantineSpec();
        spec = new() { After = quarantine.Integer("after", spec.After, 1, 1000), Rounds = quarantine.OptionalInteger("rounds", 1, 100_000) };
        quarantine.Close();
        return spec;
    }

    private static AggregationSpec Aggregation(PlanSection? aggregation)
    {
        var spec = new AggregationSpec();
        if (aggregation is null)
            return spec;
        spec = new()
        {
            Rule = aggregation.Name("rule", spec.Rule, StrategyNames.Aggregations),
            Trim = aggregation.OptionalNumber("trim", Between(0, 0.5)),
            Byzantine = aggregation.OptionalInteger("byzantine", 0, Many),
            Keep = aggregation.OptionalInteger("keep", 1, Many),
            MaxNorm = aggregation.OptionalNumber("maxNorm", Above(0, Many)),
            Iterations = aggregation.OptionalInteger("iterations", 1, 10_000),
            PerTask = aggregation.Flag("perTask", spec.PerTask),
        };
        aggregation.Close();
        if (aggregation.IsUnreadable("rule"))
            aggregation.MarkUnreadable();
        return spec;
    }

    private static ServerOptimizerSpec ServerOptimizer(PlanSection? optimizer)
    {
        var spec = new ServerOptimizerSpec();
        if (optimizer is null)
            return spec;
        spec = new() { Rule = optimizer.Name("rule", spec.Rule, StrategyNames.ServerOptimizers), LearningRate = optimizer.Number("learningRate", spec.LearningRate, Above(0, 100)) };
        optimizer.Close();
        return spec;
    }

    private static Dictionary<string, TaskSpec> Tasks(PlanSection? tasks)
    {
        var specs = new Dictionary<string, TaskSpec>(StringComparer.Ordinal);
        foreach (var name in tasks?.Keys ?? [])
        {
            if (tasks!.Section(name) is not { } task) continue;
            specs.Add(name, new TaskSpec { Labels = task.Labels("labels") });
            task.Close();
        }

        return specs;
    }

    private static List<ClientSpec> Clients(PlanSection plan)
    {
        const string Example = "a list of clients, each with id, task and data";
        plan.Require("clients", Example);
        var clients = new List<ClientSpec>();
        var items = plan.List("clients", Example);
        for (var i = 0; i < items.Count; i++)
        {
            var key = ProblemList.Item("clients", i);
            clients.Add(items[i] is MapNode map
                ? Client(plan.Item(map, key))
                : plan.Wrong(items[i], key, $"{PlanSection.Shown(items[i])} is not a client; give id, task and data.", new ClientSpec { Id = "", Task = "", Data = new() { Train = "" } }));
        }

        return clients;
    }

    private static ClientSpec Client(PlanSection client)
    {
        client.Refuse(NotYet, "rank");
        var result = new ClientSpec
        {
            Id = client.RequiredIdentifier("id", "the client's id"),
            Task = client.RequiredText("task", "the client's task", MaxIdentifierLength),
            Site = client.Identifier("site", "local"),
            Data = Data(client),
            Steps = client.OptionalInteger("steps", 1, 100_000),
            LearningRate = client.OptionalNumber("learningRate", Above(0, 10)),
            Weight = client.Number("weight", 1, Above(0, Many)),
        };
        client.Close();
        return result;
    }

    private static DataSpec Data(PlanSection client)
    {
        const string What = "the client's rows: {train: file, test: file}";
        if (client.Require("data", What) is ScalarNode { IsNull: true } empty)
            return client.Wrong(empty, "data", $"an empty value stands here; give {What}.", new DataSpec { Train = "" });
        if (client.Section("data") is not { } data)
            return new() { Train = "" };
        var result = new DataSpec
        {
            Train = data.RequiredText("train", "a JSON Lines file with training rows", MaxPathLength),
            Test = data.OptionalText("test", MaxPathLength),
            Offset = data.Integer("offset", 0, 0, int.MaxValue),
            Rows = data.OptionalInteger("rows", 1, int.MaxValue),
            ShuffleLabels = data.Flag("shuffleLabels", false),
        };
        data.Close();
        return result;
    }

    private static EvaluationSpec Evaluation(PlanSection? evaluation)
    {
        var spec = new EvaluationSpec();
        if (evaluation is null)
            return spec;
        spec = new()
        {
            EveryRounds = evaluation.Integer("everyRounds", spec.EveryRounds, 1, 100_000),
            Metric = evaluation.Choice("metric", spec.Metric),
            MaxRows = evaluation.OptionalInteger("maxRows", 1, int.MaxValue),
            MaxNewTokens = evaluation.OptionalInteger("maxNewTokens", 1, 4096),
            LocalOnly = evaluation.Flag("localOnly", spec.LocalOnly),
        };
        evaluation.Close();
        return spec;
    }

    private static CheckpointSpec Checkpoints(PlanSection? checkpoints)
    {
        var spec = new CheckpointSpec();
        if (checkpoints is null)
            return spec;
        spec = new()
        {
            Export = checkpoints.Flag("export", spec.Export),
            KeepLast = checkpoints.OptionalInteger("keepLast", 1, int.MaxValue),
            KeepEvery = checkpoints.OptionalInteger("keepEvery", 1, int.MaxValue),
        };
        checkpoints.Close();
        return spec;
    }

    private static StoreSpec Store(PlanSection? store)
    {
        if (store is null)
            return new();
        var (mode, durability) = (store.Name("mode", "", StoreSpec.Modes), store.Name("durability", "", StoreSpec.Durabilities));
        store.Close();
        return StoreSpec.Of(mode, durability);
    }

    private static List<FaultSpec> Faults(PlanSection plan)
    {
        var faults = new List<FaultSpec>();
        var items = plan.List("faults", "a list of faults, each with kind and clients or share");
        for (var i = 0; i < items.Count; i++)
        {
            var key = ProblemList.Item("faults", i);
            faults.Add(items[i] is MapNode map
                ? Fault(plan.Item(map, key))
                : plan.Wrong(items[i], key, $"{PlanSection.Shown(items[i])} is not a fault; give kind and clients or share.", new FaultSpec { Kind = FaultKind.Fail }));
        }

        return faults;
    }

    private static FaultSpec Fault(PlanSection fault)
    {
        fault.Require("kind", "what goes wrong");
        var result = new FaultSpec
        {
            Kind = fault.Choice("kind", FaultKind.Fail),
            Clients = fault.Names("clients", "a client").Names ?? [],
            Share = fault.OptionalNumber("share", Above(0, 1)),
            Probability = fault.Number("probability", 1, Above(0, 1)),
            Rounds = FaultRounds(fault.Section("rounds")),
            Delay = fault.Duration("delay", TimeSpan.FromDays(30)),
            Scale = fault.OptionalNumber("scale", Above(0, 1e30)),
        };
        fault.Close();
        return result;
    }

    private static FaultRounds FaultRounds(PlanSection? rounds)
    {
        var spec = new FaultRounds();
        if (rounds is null)
            return spec;
        const int MostRounds = 100_000;
        spec = new()
        {
            From = rounds.Integer("from", spec.From, 1, MostRounds),
            To = rounds.OptionalInteger("to", 1, MostRounds),
            Every = rounds.OptionalInteger("every", 1, MostRounds),
            Lasting = rounds.OptionalInteger("lasting", 1, MostRounds),
        };
        rounds.Close();
        return spec;
    }
}
