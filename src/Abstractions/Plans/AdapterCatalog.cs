using static FedRLora.Abstractions.Plans.MaskSharing;

namespace FedRLora.Abstractions.Plans;

/// <summary>One named method: its values, what it is, and where it comes from.</summary>
/// <param name="Spec">The values.</param>
/// <param name="Summary">One line.</param>
/// <param name="Source">The paper.</param>
public sealed record CatalogEntry(AdapterSpec Spec, string Summary, string Source);

/// <summary>The zoo on one page: every named method is one line of values (only the differences from the default).</summary>
public static class AdapterCatalog
{
    /// <summary>All methods by name.</summary>
    public static IReadOnlyDictionary<string, CatalogEntry> Methods { get; } = new SortedDictionary<string, CatalogEntry>(StringComparer.Ordinal)
    {
        ["fedsa-lora"] = Entry(new(),
            "Shared A is aggregated, every client keeps its own B", "FedSA-LoRA, arXiv 2410.01463"),
        ["lora"] = Entry(new() { ScopeB = Scope.Job, Weighting = Weighting.Samples },
            "FedIT: A and B are both averaged, weighted by training rows", "FedIT, arXiv 2305.05644; LoRA, arXiv 2106.09685"),
        ["rslora"] = Entry(new() { ScopeB = Scope.Job, Weighting = Weighting.Samples, Scaling = Scaling.AlphaOverSqrtRank },
            "LoRA with scaling alpha/sqrt(r), A and B averaged", "rsLoRA, arXiv 2312.03732"),
        ["dora"] = Entry(new() { Decomposed = true, ScopeB = Scope.Job, ScopeMagnitude = Scope.Job, Weighting = Weighting.Samples },
            "A, B and the magnitudes of the decomposed weight are averaged", "DoRA, arXiv 2402.09353"),
        ["ffa-lora"] = Entry(new() { TrainsA = false, ScopeA = Scope.Seed, ScopeB = Scope.Job, Weighting = Weighting.Samples },
            "A is frozen at its seed, only B trains and is averaged: the mean is exact", "FFA-LoRA, arXiv 2403.12313"),
        ["hydra-lora"] = Entry(new() { Heads = 3, Routing = Routing.Softmax, InitRouter = Init.KaimingUniform, Dropout = Dropout.Input(PerHead, 0.05) },
            "One A, N heads mixed by a router, dropout on the input of each head", "HydraLoRA, arXiv 2404.19245"),
        ["r-lora"] = Entry(new()
        {
            Heads = 3, Routing = Routing.Softmax, InitA = Init.Stable(64), InitB = Init.Stable(64), SeedB = SeedPolicy.PerClient,
            Start = Start.Anchored, Dropout = Dropout.Hidden(PerHead, 0.2), Scaling = Scaling.AlphaOverSqrtRank,
        }, "Multi-head random initialization and multi-head dropout, heads mixed by a router", "R-LoRA, arXiv 2502.15455"),
        ["m-lora"] = Entry(new()
        {
            Heads = 3, Routing = Routing.Mean, InitA = Init.Stable(64), InitB = Init.Stable(64), SeedB = SeedPolicy.PerClient,
            Start = Start.Anchored, Dropout = Dropout.Hidden(PerHead, 0.2), Scaling = Scaling.AlphaOverSqrtRank,
        }, "R-LoRA without the router: the mean of the heads, exact to merge", "Align-LoRA, arXiv 2508.05078"),
        ["r-lora-federated"] = Entry(new()
        {
            // Not the paper's values: these learn as plain LoRA does, at its rate (docs/decisions/0018-default-method.md).
            InitB = Init.Stable(100_000), SeedB = SeedPolicy.PerClient, Start = Start.Anchored, Dropout = Dropout.Hidden(PerHead, 0),
        }, "One R-LoRA head per client on a shared A: anchored random start, small enough to learn at plain LoRA's rate",
            "R-LoRA, arXiv 2502.15455; FedSA-LoRA, arXiv 2410.01463"),
    }.ToDictionary(static pair => pair.Key, static pair => pair.Value with { Spec = pair.Value.Spec with { Method = pair.Key } }, StringComparer.Ordinal);

    private static CatalogEntry Entry(AdapterSpec spec, string summary, string source) => new(spec, summary, source);
}
