using static FedRLora.Abstractions.Plans.LowRankFactors;
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
    public static IReadOnlyDictionary<string, CatalogEntry> Methods { get; } =
        new SortedDictionary<string, CatalogEntry>(StringComparer.Ordinal)
        {
            ["fedsa-lora"] = Entry(new(),
                "Shared A is aggregated, every client keeps its own B", "FedSA-LoRA, arXiv 2410.01463"),
            ["fedsa-lora-task-heads"] = Entry(HeadsByTask(new()),
                "A is aggregated over all clients, B over the clients of each task", "FedSA-LoRA, arXiv 2410.01463"),
            ["lora"] = Entry(Averaged(new()),
                "FedIT: A and B are both averaged, weighted by training rows", "FedIT, arXiv 2305.05644; LoRA, arXiv 2106.09685"),
            ["rslora"] = Entry(Averaged(new() { Scaling = Scaling.AlphaOverSqrtRank }),
                "LoRA with scaling alpha/sqrt(r), A and B averaged", "rsLoRA, arXiv 2312.03732"),
            ["dora"] = Entry(Averaged(new() { Decomposed = true }),
                "A, B and the magnitudes of the decomposed weight are averaged", "DoRA, arXiv 2402.09353"),
            ["ffa-lora"] = Entry(Averaged(new()).With(A, static a => a with { Trains = false, Scope = Scope.Seed }),
                "A is frozen at its seed, only B trains and is averaged: the mean is exact", "FFA-LoRA, arXiv 2403.12313"),
            ["lora-fa"] = Entry(new AdapterSpec().With(A, static a => a with
                { Trains = false, Scope = Scope.Seed, Seed = SeedPolicy.PerClient }),
                "A is frozen as each client drew it, only B trains and stays with its client", "LoRA-FA, arXiv 2308.03303"),
            ["pissa"] = Entry(
                Averaged(new() { Start = Start.Anchored }).WithEach(static tensor => tensor with { Init = new(InitLaw.Pissa) }),
                "As lora, from the leading singular triples of the weight, which are subtracted again", "PiSSA, arXiv 2404.02948"),
            ["olora"] = Entry(
                Averaged(new() { Start = Start.Anchored }).WithEach(static tensor => tensor with { Init = new(InitLaw.Olora) }),
                "As lora, from the QR decomposition of the weight, which is subtracted again", "OLoRA, arXiv 2406.01775"),
            ["lora-xs"] = Entry(SquareCore,
                "A and B are frozen at the weight's singular triples; an r x r core between them trains and is averaged",
                "LoRA-XS, arXiv 2405.17604"),
            ["cora"] = Entry(
                new AdapterSpec().With(A, static a => a with { Init = Init.Zero, Scope = Scope.Client })
                    .With(B, static heads => heads with { Init = new(InitLaw.Subspace), Trains = false, Scope = Scope.Job }),
                "B is frozen at a subspace that related adapters, or the weight, have in common; each client trains its own A",
                "CoRA, arXiv 2409.02119"),
            ["vera"] = Entry(SharedVectors,
                "One frozen random pair for all layers; a vector before and one behind it train and are averaged",
                "VeRA, arXiv 2310.11454"),
            ["rolora"] = Entry(
                Averaged(new() { Lifecycle = [In("odd", new LifecycleAction.Train([B])), In("even", new LifecycleAction.Train([A]))] }),
                "B trains and is averaged in odd rounds, A in even ones: each mean is exact", "RoLoRA, arXiv 2502.01755"),
            ["chain-of-lora"] = Entry(Averaged(new() { Lifecycle = [In("every 2", new LifecycleAction.MergeAndRedraw())] }),
                "As lora; after every second round the pair joins a chain of frozen ones and a fresh one begins",
                "Chain of LoRA, arXiv 2401.04151"),
            ["lori-d"] = Entry(RandomA, "A is frozen as it was drawn for the task, each client trains its own B", "LoRI, arXiv 2504.07448"),
            ["lori-s"] = Entry(RandomA with { Lifecycle = [In("1", new LifecycleAction.CalibrateMask())] },
                "As lori-d; after round 1 the largest tenth of B is marked, and B begins again where only that trains",
                "LoRI, arXiv 2504.07448"),
            ["hydra-lora"] = Entry(
                new AdapterSpec { Heads = 3, Routing = new Routing.Softmax(), Dropout = Dropout.Input(PerHead, 0.05) }
                    .With(Routing.Softmax.Router, static router => router with { Init = Init.KaimingUniform }),
                "One A, N heads mixed by a router, dropout on the input of each head", "HydraLoRA, arXiv 2404.19245"),
            ["r-lora"] = Entry(RandomHeads(new Routing.Softmax()),
                "Multi-head random initialization and multi-head dropout, heads mixed by a router", "R-LoRA, arXiv 2502.15455"),
            ["m-lora"] = Entry(RandomHeads(new Routing.Mean()),
                "R-LoRA without the router: the mean of the heads, exact to merge", "Align-LoRA, arXiv 2508.05078"),
            ["align-lora"] = Entry(
                Averaged(new() { Objectives = [new Objective.Alignment()] }),
                "LoRA averaged, with a term that brings tasks' features together, known by their moments", "Align-LoRA, arXiv 2508.05078"),
            ["multilora"] = Entry(
                new AdapterSpec { Heads = 3, Downs = Downs.PerHead, HeadScale = HeadScaleForm.PerOutput, Routing = new Routing.Sum() }
                    .With(B, static heads => heads with { Init = Init.KaimingUniform, Scope = Scope.Job }),
                "Pairs side by side are aggregated, each client scales every output of each pair", "MultiLoRA, arXiv 2311.11501"),
            ["mtl-lora"] = Entry(
                new AdapterSpec { Heads = 3, Core = new(CoreForm.Full), Routing = new Routing.TaskSoftmax(0.1) }
                    .With(B, static heads => heads with { Scope = Scope.Job }),
                "A and all heads are aggregated, a client keeps a core between them and the weights of the heads",
                "MTL-LoRA, arXiv 2410.09437"),
            ["mtlora"] = Entry(
                new AdapterSpec { Scaling = Scaling.Constant, Alpha = 4, TaskBranch = new(4, 4) }
                    .With(B, static heads => heads with { Scope = Scope.Job }),
                "A shared pair on all layers is aggregated, the last blocks have a second pair of the client's own",
                "MTLoRA, arXiv 2403.20320"),
            ["r-lora-federated"] = Entry(SmallHeads,
                "One R-LoRA head per client on a shared A: anchored random start, small enough to learn at plain LoRA's rate",
                "R-LoRA, arXiv 2502.15455; FedSA-LoRA, arXiv 2410.01463"),
            ["r-lora-federated-task-heads"] = Entry(HeadsByTask(SmallHeads),
                "r-lora-federated with one head per task, drawn for it and aggregated over its clients",
                "R-LoRA, arXiv 2502.15455; FedSA-LoRA, arXiv 2410.01463"),
            ["meteora"] = Entry(
                OfAll(new()
                {
                    Heads = 4, Downs = Downs.PerHead, HeadScale = HeadScaleForm.Scalar, Routing = new Routing.TopK(),
                    Objectives = [new Objective.GateLoss()], Dropout = Dropout.Input(AllHeads, 0.1),
                }).With(HeadScale.Role, static scale => scale with { Init = Init.Constant(1), Trains = false, Scope = Scope.Seed }),
                "Every client has the adapters of all tasks; a gate mixes the 2 best for each token and is taught the client's task",
                "MeteoRA, arXiv 2405.13053"),
            ["malora"] = Entry(
                new AdapterSpec { Heads = 4, Core = new(CoreForm.Full, PerHead: true, Rank: 16), Routing = new Routing.TopK() }
                    .With(Core.Role, static core => core with { Init = Init.KaimingUniform })
                    .With(Routing.TopK.Gate, static gate => gate with { Init = Init.KaimingUniform }),
                "A shared subspace A, aggregated; experts of wider rank turn it by cores of their own, the 2 best for each token",
                "MALoRA, arXiv 2410.22782"),
            ["smora"] = Entry(
                OfAll(new() { Routing = new Routing.RankTopK(K: 2) })
                    .With(Routing.RankTopK.Balance, static balance => balance with { Scope = Scope.Client }),
                "Each rank is an expert, the 2 best for each token; a balance keeps all of them in use (published: rank 64, k 8)",
                "SMoRA, arXiv 2501.15103"),
            ["mixlora"] = Entry(
                OfAll(new() { Routing = new Routing.Pool(K: 2) }),
                "A pool of rank-1 factors, of which each text uses 2 pairs: factors of B chosen by those of A, weighted by their scores",
                "Conditional mixture of LoRA, arXiv 2402.15896"),
        }.ToDictionary(static pair => pair.Key, static pair => pair.Value with { Spec = pair.Value.Spec with { Method = pair.Key } },
            StringComparer.Ordinal);

    // Not the paper's values: these learn as plain LoRA does, at its rate (docs/decisions/0018-default-method.md).
    private static AdapterSpec SmallHeads =>
        OwnHeads(new() { Start = Start.Anchored, Dropout = Dropout.Hidden(PerHead, 0) }, Init.Stable(100_000));

    private static AdapterSpec RandomA => new AdapterSpec().With(A, static a => a with
    {
        Trains = false, Scope = Scope.Seed, Seed = SeedPolicy.PerTask,
    });

    private static LifecycleStep In(string rounds, LifecycleAction what) => new(RoundSet.Parse(rounds)!, what);

    // The core's deviation is the paper's.
    private static AdapterSpec SquareCore => Averaged(new() { Core = new(CoreForm.Full), Start = Start.Anchored })
        .With(A, static a => a with { Init = new(InitLaw.Svd), Trains = false })
        .With(B, static heads => heads with { Init = new(InitLaw.Svd), Trains = false })
        .With(Core.Role, static core => core with { Init = Init.Gaussian(1e-5) });

    private static AdapterSpec SharedVectors =>
        Averaged(new() { Core = new(CoreForm.Diagonal), HeadScale = HeadScaleForm.PerOutput, Scaling = Scaling.Constant, Alpha = 1 })
            .With(A, static a => OfSeed(a)).With(B, static heads => OfSeed(heads))
            .With(Core.Role, static core => core with { Init = Init.Constant(0.1) });

    private static TensorPolicy OfSeed(TensorPolicy tensor) =>
        tensor with { Init = new(InitLaw.SharedKaimingUniform), Trains = false, Scope = Scope.Seed };

    // Heads that each client drew are drawn for each task: clients that aggregate one start from one value.
    private static AdapterSpec HeadsByTask(AdapterSpec spec) => spec.With(B, static heads => heads with
    {
        Scope = Scope.Task, Seed = heads.Seed == SeedPolicy.PerClient ? SeedPolicy.PerTask : heads.Seed,
    });

    // FedIT: every tensor is averaged, by training rows.
    private static AdapterSpec Averaged(AdapterSpec spec) => OfAll(spec with { Weighting = Weighting.Samples });

    private static AdapterSpec OfAll(AdapterSpec spec) => spec.WithEach(static tensor => tensor with { Scope = Scope.Job });

    private static AdapterSpec OwnHeads(AdapterSpec spec, Init init) =>
        spec.With(B, heads => heads with { Init = init, Seed = SeedPolicy.PerClient });

    private static AdapterSpec RandomHeads(Routing routing) => OwnHeads(
        new()
        {
            Heads = 3, Routing = routing, Start = Start.Anchored, Dropout = Dropout.Hidden(PerHead, 0.2),
            Scaling = Scaling.AlphaOverSqrtRank,
        },
        Init.Stable(64)).With(A, static a => a with { Init = Init.Stable(64) });

    private static CatalogEntry Entry(AdapterSpec spec, string summary, string source) => new(spec, summary, source);
}
