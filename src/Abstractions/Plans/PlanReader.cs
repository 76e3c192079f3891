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
        plan.RefuseYet("privacy", "telemetry");
        var result = new FederationPlan
        {
            Name = plan.RequiredIdentifier("name", "the run's name"),
            Seed = plan.Unsigned("seed", 0),
            Sharing = plan.Choice("sharing", Sharing.Method),
            Model = ModelReader.Read(plan),
            Adapter = Adapter(plan.Section("adapter", shorthand: "method")),
            Training = TrainingReader.Read(plan),
            Strategy = StrategyReader.Read(plan),
            Tasks = TaskReader.Read(plan),
            Clients = ClientReader.Read(plan),
            Evaluation = EvaluationReader.Read(plan),
            Checkpoints = CheckpointReader.Read(plan),
            Store = StoreReader.Read(plan),
            Faults = FaultReader.Read(plan),
        };
        plan.Close();
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
}
