using static FedRLora.Abstractions.Plans.LowRankFactors;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// The values of an adapter in the form whose digest is recorded with each round. The form stays as it is however the types change:
/// only another value may give another digest, or runs of earlier builds could no longer be exported or forked.
/// </summary>
internal static class RecordedValues
{
    // Those that stand in the form by name; what else a method has comes after it.
    private static readonly string[] Named = [A, B, Routing.Softmax.Router, Decomposition.Magnitude];

    public static IReadOnlyDictionary<string, object?> Of(AdapterSpec spec)
    {
        var (a, b) = (spec.Tensor(A), spec.Tensor(B));
        var (router, magnitude) = (spec.Tensor(Routing.Softmax.Router), spec.Tensor(Decomposition.Magnitude));
        var rule = spec.Routing.Rule;
        var form = new OrderedDictionary<string, object?>(StringComparer.Ordinal)
        {
            ["Method"] = spec.Method, ["Rank"] = spec.Rank, ["Alpha"] = spec.Alpha, ["Scaling"] = spec.Scaling, ["From"] = spec.From,
            ["TargetModules"] = spec.TargetModules, ["TargetPattern"] = spec.TargetPattern, ["ExcludeModules"] = spec.ExcludeModules,
            ["ExcludePattern"] = spec.ExcludePattern, ["LayersToTransform"] = spec.LayersToTransform,
            ["LayersPattern"] = spec.LayersPattern, ["RankPattern"] = spec.RankPattern, ["AlphaPattern"] = spec.AlphaPattern,
            ["Decomposed"] = spec.Decomposed, ["Heads"] = spec.Heads, ["Routing"] = char.ToUpperInvariant(rule[0]) + rule[1..],
            ["InitA"] = a.Init, ["InitB"] = b.Init, ["InitRouter"] = router.Init, ["SeedA"] = a.Seed, ["SeedB"] = b.Seed,
            ["Start"] = spec.Start, ["Dropout"] = spec.Dropout, ["TrainsA"] = a.Trains, ["TrainsB"] = b.Trains,
            ["ScopeA"] = a.Scope, ["ScopeB"] = b.Scope, ["ScopeRouter"] = router.Scope, ["ScopeMagnitude"] = magnitude.Scope,
            ["Weighting"] = spec.Weighting, ["ScalingFactor"] = spec.ScalingFactor, ["HasRouter"] = spec.Has(Routing.Softmax.Router),
            ["IsStatic"] = spec.IsStatic, ["SharesAnything"] = spec.SharesAnything,
        };
        if (spec.Routing.HasValues) form["RoutingValues"] = spec.Routing;
        if (router.Seed != SeedPolicy.Common || !router.Trains) form["Router"] = router;
        if (magnitude.Seed != SeedPolicy.Common || !magnitude.Trains) form["Magnitude"] = magnitude;
        foreach (var (role, policy) in spec.Tensors.Where(static tensor => !Named.Contains(tensor.Key))) form[role] = policy;
        // Values that came after the form was made, where they are not what every method had before.
        var before = new AdapterSpec();
        foreach (var property in typeof(AdapterSpec).GetProperties().Where(static property => property.CanWrite))
        {
            var value = property.GetValue(spec);
            if (!form.ContainsKey(property.Name) && !Equals(value, property.GetValue(before))) form[property.Name] = value;
        }

        return form;
    }
}
