using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary>Reads the section <c>adapter</c>: a method of the catalogue, and what the plan changes of it.</summary>
internal static class AdapterReader
{
    private const string DefaultMethod = "r-lora-federated";

    // What an adapter given by from decides, beside laws and seeds.
    private static readonly string[] GivenByAdapter =
    [
        "rank", "alpha", "scaling", "targetModules", "excludeModules", "layersToTransform", "layersPattern", "rankPattern", "alphaPattern",
        "decomposed",
    ];

    private static readonly string[] Drawn = ["init", "seed"];

    private static readonly string[] InitForms =
    [
        "zero", "kaimingUniform", "identity", "sharedKaimingUniform", "pissa", "olora", "svd", "subspace", "gaussian: 0.02", "stable: 64",
        "constant: 1",
    ];

    // Those that stand with their value, by their examples.
    private static readonly Dictionary<string, (InitLaw Law, string Example)> InitsOfValue = new(StringComparer.OrdinalIgnoreCase)
    {
        ["gaussian"] = (InitLaw.Gaussian, "gaussian: 0.02"), ["stable"] = (InitLaw.Stable, "stable: 64"),
        ["constant"] = (InitLaw.Constant, "constant: 1"),
    };

    public static AdapterSpec Read(PlanSection? adapter)
    {
        if (adapter is null)
            return AdapterCatalog.Methods[DefaultMethod].Spec;
        adapter.RefuseYet("branches", "headMask", "space", "reducer");
        string[] methods = [.. AdapterCatalog.Methods.Keys.Order(StringComparer.Ordinal)];
        var spec = AdapterCatalog.Methods[adapter.Name("method", DefaultMethod, methods)].Spec;
        var layers = adapter.Names(
            "targetModules", "a layer, such as q_proj", "all-linear", "[q_proj, v_proj], all-linear or a regular expression");
        spec = spec with
        {
            From = adapter.OptionalText("from", Bounds.PathLength),
            Rank = adapter.Integer("rank", spec.Rank, 1, 4096),
            Alpha = adapter.Number("alpha", spec.Alpha, Above(0, Bounds.Many)),
            Scaling = adapter.Choice("scaling", spec.Scaling),
            TargetModules = layers.Names ?? spec.TargetModules,
            TargetPattern = layers.Pattern,
            ExcludeModules = adapter.Names("excludeModules", "a layer, such as lm_head").Names ?? spec.ExcludeModules,
            LayersToTransform = adapter.Integers("layersToTransform", 0, 10_000) ?? spec.LayersToTransform,
            LayersPattern = adapter.Names("layersPattern", "the list of layers, such as layers").Names ?? spec.LayersPattern,
            RankPattern = adapter.Pairs("rankPattern", Closed(1, 4096), whole: true, static value => (int)value) ?? spec.RankPattern,
            AlphaPattern = adapter.Pairs("alphaPattern", Above(0, Bounds.Many), whole: false, static value => value) ?? spec.AlphaPattern,
            Decomposed = adapter.Flag("decomposed", spec.Decomposed),
            Heads = adapter.Integer("heads", spec.Heads, 1, 64),
            Downs = adapter.Choice("downs", spec.Downs),
            Core = adapter.Section("core", spec.Core, static core => new(
                core.Choice("form", CoreForm.Full), core.Flag("perHead", false), core.OptionalInteger("rank", 1, 4096)), shorthand: "form"),
            HeadScale = adapter.Choice("headScale", spec.HeadScale),
            TaskBranch = adapter.Section("taskBranch", spec.TaskBranch, static pair => new(
                pair.Integer("rank", 4, 0, 4096), pair.Number("scale", 4, Above(0, Bounds.Many)),
                pair.OptionalInteger("blocks", 1, 10_000)),
                shorthand: "rank"),
            Routing = Routing(adapter, spec.Routing),
            Objectives = OrNone(ObjectiveReader.Read(adapter, spec.Objectives)),
            Lifecycle = OrNone(LifecycleReader.Read(adapter, spec.Lifecycle)),
            SubspaceFrom = OrNone(adapter.Names("subspaceFrom", "an adapter's folder").Names ?? spec.SubspaceFrom),
            Start = adapter.Choice("start", spec.Start),
            Dropout = Dropout(adapter.Section("dropout"), spec.Dropout),
            Weighting = adapter.Choice("weighting", spec.Weighting),
        };
        spec = Tensors(adapter, spec);
        if (spec.From is not null)
            spec = Given(adapter, spec);
        adapter.Close();
        if (adapter.IsUnreadable("method"))
            adapter.MarkUnreadable();
        return spec;
    }

    // Records compare lists by reference: that of nothing is one.
    private static IReadOnlyList<T> OrNone<T>(IReadOnlyList<T> list) => list.Count == 0 ? [] : list;

    // A rule's name, or {topK: {k: 2}}.
    private static Routing Routing(PlanSection adapter, Routing fallback) =>
        adapter.Rule("routing", AdapterParts.Routings, fallback);

    // A policy stands below tensors, or in a short key of its own: tensors: {A: {scope: job}} is scopeA: job.
    private static AdapterSpec Tensors(PlanSection adapter, AdapterSpec spec)
    {
        var section = adapter.Section("tensors");
        foreach (var role in AdapterParts.Chosen)
        {
            string[] keys = [.. ((string[])["init", "seed", "trains", "scope"]).Where(key => key != "init" || role.IsDrawn)];
            var below = section?.Section(role.Name);
            if (section?.Has(role.Name) == true && !MayHave(spec, role))
            {
                section.Wrong<string>(
                    section.Node(role.Name)!, role.Name,
                    $"the method has no {role.Name} as it stands; remove it, or give {role.ComesWith}.");
            }

            var policy = spec.Tensor(role.Name);
            foreach (var key in keys)
            {
                var shortKey = key + role.KeyEnd;
                var (isBelow, isShort) = (below?.Has(key) == true, adapter.Has(shortKey));
                if (isBelow && isShort)
                    adapter.Wrong<string>(adapter.Node(shortKey)!, shortKey,
                        $"stands below tensors.{role.Name} too; remove one of the two.");
                policy = Policy(below, key, key, policy, isRead: isBelow);
                policy = Policy(adapter, key, shortKey, policy, isRead: isShort && !isBelow);
            }

            below?.Close();
            if (policy != spec.Tensor(role.Name))
                spec = spec.With(role.Name, _ => policy);
        }

        section?.Close();
        return spec;
    }

    // An adapter that from names may have magnitudes.
    private static bool MayHave(AdapterSpec spec, TensorRole role) => spec.Has(role.Name) || (spec.From is not null && !role.IsDrawn);

    // Known keys are asked for even where nothing stands, so that a slip of the pen is shown the right one.
    private static TensorPolicy Policy(PlanSection? values, string key, string name, TensorPolicy policy, bool isRead)
    {
        if (!isRead)
        {
            values?.Node(name);
            return policy;
        }

        return key switch
        {
            "init" => policy with { Init = Init(values!, name, policy.Init) },
            "seed" => policy with { Seed = values!.Choice(name, policy.Seed) },
            "trains" => policy with { Trains = values!.Flag(name, policy.Trains) },
            _ => policy with { Scope = values!.Choice(name, policy.Scope) },
        };
    }

    /// <summary>An adapter that is given brings its own shape and is its own start.</summary>
    private static AdapterSpec Given(PlanSection adapter, AdapterSpec spec)
    {
        RefuseGiven(adapter,
            [.. GivenByAdapter, .. AdapterParts.Chosen.SelectMany(static role => Drawn.Select(key => key + role.KeyEnd)), "start"]);
        foreach (var role in AdapterParts.Chosen)
        {
            if (adapter.Node("tensors") is MapNode && adapter.Section("tensors")?.Section(role.Name) is { } below)
                RefuseGiven(below, Drawn);
        }

        return (spec with { Start = Start.Exact }).WithEach(static tensor => tensor with { Seed = SeedPolicy.Common });
    }

    private static void RefuseGiven(PlanSection section, IEnumerable<string> keys)
    {
        foreach (var key in keys.Where(section.Has))
            section.Wrong<string>(section.Node(key)!, key, "comes from the adapter that from names; remove it.");
    }

    /// <summary><c>zero</c>, <c>stable: 64</c> or <c>{law: stable, value: 64}</c>.</summary>
    private static Init Init(PlanSection adapter, string key, Init fallback)
    {
        switch (adapter.Node(key))
        {
            case null:
                return fallback;
            case ScalarNode { IsNull: false } word when InitsOfValue.TryGetValue(word.Value, out var valued):
                return adapter.Wrong(word, key, $"{word.Value} needs a value; give {valued.Example}.", fallback);
            case ScalarNode { IsNull: false } word:
                return Enum.TryParse<InitLaw>(word.Value, ignoreCase: true, out var named) && Enum.IsDefined(named)
                    && !char.IsAsciiDigit(word.Value[0]) && !word.Value.Contains(',', StringComparison.Ordinal)
                    ? new Init(named)
                    : adapter.Wrong(word, key, PlanSection.Unknown(word, InitForms), fallback);
            case MapNode map when map.Entries.Any(static entry => entry.Key is "law" or "value"):
                return LawAndValue(adapter.Section(key)!, fallback);
            case MapNode { Entries: [var only] } when InitsOfValue.TryGetValue(only.Key, out var law):
                return new Init(law.Law, adapter.Section(key)!.Number(only.Key, 0, BoundOf(law.Law)));
            case var other:
                return adapter.Wrong(
                    other, key, $"{PlanSection.Shown(other)} stands here; give one of {string.Join(", ", InitForms)}.", fallback);
        }
    }

    private static Init LawAndValue(PlanSection init, Init fallback)
    {
        init.Require(
            "law",
            "one of zero, kaimingUniform, identity, sharedKaimingUniform, pissa, olora, svd, subspace, gaussian, stable, constant");
        var law = init.Choice("law", fallback.Law);
        var takesValue = new Init(law).HasValue || !init.Has("law") || init.IsUnreadable("law");
        if (takesValue)
        {
            init.Require("value", law switch
            {
                InitLaw.Stable => "gamma, such as 64",
                InitLaw.Constant => "a number, such as 1",
                _ => "a standard deviation, such as 0.02",
            });
        }

        var result = new Init(law, takesValue ? init.Number("value", 1, BoundOf(law)) : 0);
        init.Close();
        return result;
    }

    private static Interval BoundOf(InitLaw law) => law == InitLaw.Constant ? Closed(-Bounds.Many, Bounds.Many) : Above(0, Bounds.Many);

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
