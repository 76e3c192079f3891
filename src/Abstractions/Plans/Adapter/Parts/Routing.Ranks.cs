namespace FedRLora.Abstractions.Plans;

// Rules that choose among the rows of A.
public abstract partial record Routing
{
    /// <summary>
    /// Each row of A with its column of B is an expert (SMoRA, arXiv 2501.15103): of g = sigmoid(router x) + balance the K largest are
    /// kept, of equal ones the lower, and weigh in proportion, K in sum. The balance enters the weight too, as in the released code; after
    /// each step it moves by the rate towards experts that were used less than the mean.
    /// </summary>
    /// <param name="K">Experts that a token uses.</param>
    /// <param name="Partition">Neighbouring rows that share a row of the router.</param>
    /// <param name="Rate">What the balance moves by in a step.</param>
    public sealed record RankTopK(int K = 8, int Partition = 1, double Rate = 1e-5) : Routing
    {
        /// <summary>The router, <c>[R / partition, D_in]</c>.</summary>
        public const string Router = "rankRouter";

        /// <summary>The balance, <c>[R]</c>.</summary>
        public const string Balance = "balance";

        private static readonly TensorRole[] Tensors =
        [
            new(Router, new() { Init = Init.KaimingUniform })
            {
                Summary = "the router's weights", Shape = "[r / partition, inputs]", ComesWith = "routing: rankTopK",
            },
            new(Balance, new() { Trains = false })
            {
                Summary = "what balances the use of the rows", Shape = "[r]", IsCounted = true, ComesWith = "routing: rankTopK",
            },
        ];

        /// <inheritdoc/>
        public override string Rule => "rankTopK";

        /// <inheritdoc/>
        public override IReadOnlyList<TensorRole> Roles => Tensors;

        /// <inheritdoc/>
        public override string? KeepsOffEmbeddings => "a router";

        /// <inheritdoc/>
        public override bool IsStatic => false;

        /// <inheritdoc/>
        public override int? ActiveRank => K;

        /// <inheritdoc/>
        public override string? WhyNot(int rank) => TooMany(K, rank) ?? (rank % Partition == 0 ? null
            : $"rank {rank} is not divided by {Partition}; give a rank that is, or another partition.");

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            foreach (var conflict in OneLowRank(spec, this)) yield return conflict;
            if (K == 1)
            {
                foreach (var conflict in WithoutGradient(
                    spec, Tensors[0], "one expert weighs 1", "k: 2 or more", "adapter.routing.rankTopK.k"))
                {
                    yield return conflict;
                }
            }

            if (spec.Tensor(Balance).Scope != Scope.Client)
            {
                yield return new(
                    "the balance counts what its own client's rows use; give scopeBalance: client.",
                    [.. AdapterChecks.PathsOf(Balance, "scope"), "adapter.routing"]);
            }

            if (spec.Tensor(Balance).Trains)
            {
                yield return new(
                    "the balance moves by counts and has no gradient; give trainsBalance: false.",
                    [.. AdapterChecks.PathsOf(Balance, "trains"), "adapter.routing"]);
            }
        }
    }

    /// <summary>
    /// Pools of R rank-1 factors on both sides, of which K pairs are chosen for each sequence by the mean of its inputs (conditional
    /// mixture of LoRA, arXiv 2402.15896).
    /// </summary>
    /// <param name="K">Pairs that a sequence uses.</param>
    /// <param name="Choice">How the B side is chosen.</param>
    /// <param name="Weighted">
    /// The chosen factors weigh by their scores, through which the routers learn; else all weigh 1, as published, and routers stay.
    /// </param>
    /// <param name="Lambda">The weight of what the chosen factors of A say, in a conditional choice.</param>
    public sealed record Pool(
        int K = 4, PoolChoice Choice = PoolChoice.Conditional, bool Weighted = true, double Lambda = 1) : Routing
    {
        /// <summary>Chooses on the A side, <c>[R, D_in]</c>.</summary>
        public const string RouterA = "poolRouterA";

        /// <summary>Chooses on the B side, <c>[R, D_in]</c>.</summary>
        public const string RouterB = "poolRouterB";

        /// <summary>What a chosen factor of A says of the B side, <c>[K, R, D_in]</c>.</summary>
        public const string RouterQ = "poolRouterQ";

        private static readonly TensorRole[] Tensors =
        [
            Role(RouterA, "the router of the A side", "[r, inputs]"), Role(RouterB, "the router of the B side", "[r, inputs]"),
            Role(RouterQ, "the router from chosen factors to the B side", "[k, r, inputs]"),
        ];

        /// <inheritdoc/>
        public override string Rule => "pool";

        /// <inheritdoc/>
        public override IReadOnlyList<TensorRole> Roles => Choice switch
        {
            PoolChoice.SharedIndex => Tensors[..1],
            PoolChoice.Independent => Tensors[..2],
            _ => Tensors,
        };

        /// <inheritdoc/>
        public override string? KeepsOffEmbeddings => "a router";

        /// <inheritdoc/>
        public override bool IsStatic => false;

        /// <inheritdoc/>
        public override int? ActiveRank => K;

        /// <inheritdoc/>
        public override string? WhyNot(int rank) => TooMany(K, rank);

        /// <inheritdoc/>
        public override bool SeesSequences => true;

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            foreach (var conflict in OneLowRank(spec, this)) yield return conflict;
            foreach (var router in Weighted && K > 1 ? [] : Roles)
            {
                foreach (var conflict in WithoutGradient(spec, router, Weighted ? "one pair weighs 1" : "a choice without weights",
                    Weighted ? "k: 2 or more" : "weighted: true", Weighted ? "adapter.routing.pool.k" : "adapter.routing.pool.weighted"))
                {
                    yield return conflict;
                }
            }
        }

        private static TensorRole Role(string name, string summary, string shape) =>
            new(name, new() { Init = Init.KaimingUniform }) { Summary = summary, Shape = shape, ComesWith = "routing: pool" };
    }

    // Decay alone would move it.
    private static IEnumerable<PlanConflict> WithoutGradient(AdapterSpec spec, TensorRole router, string why, string instead, string path)
    {
        if (spec.Tensor(router.Name) is { Trains: true, Scope: not Scope.Seed })
        {
            yield return new(
                $"{why}, so that {router.Name} has no gradient; give {instead}, or scope{router.KeyEnd}: seed and "
                + $"trains{router.KeyEnd}: false.",
                [path, .. AdapterChecks.PathsOf(router.Name, "trains"), "adapter.routing"]);
        }
    }

    private static string? TooMany(int chosen, int rank) => chosen <= rank ? null
        : $"{chosen} rows of {rank} cannot be chosen; give k: {rank} or less, or a larger rank.";

    private static IEnumerable<PlanConflict> OneLowRank(AdapterSpec spec, Routing routing)
    {
        var rule = routing.Rule;
        if (spec.Heads > 1 || spec.Downs != Downs.One || spec.Core.Form != CoreForm.None)
        {
            yield return new(
                $"{rule} chooses among the rows of one low rank; give heads: 1, downs: one and core: none.",
                "adapter.routing", "adapter.heads", "adapter.downs", "adapter.core");
        }

        // An adapter that from names brings its ranks, which are looked at with it.
        if (spec.From is not null) yield break;
        foreach (var (rank, path) in spec.RankPattern.Select(static entry => (entry.Value, "adapter.rankPattern"))
            .Prepend((spec.Rank, "adapter.rank")).DistinctBy(static entry => entry.Item1))
        {
            if (routing.WhyNot(rank) is { } why)
                yield return new(why, $"adapter.routing.{rule}.k", $"adapter.routing.{rule}.partition", path, "adapter.routing");
        }
    }
}

/// <summary>How the B side of a pool is chosen.</summary>
public enum PoolChoice
{
    /// <summary>By a router of its own and by what the chosen factors of A say.</summary>
    Conditional,

    /// <summary>By a router of its own.</summary>
    Independent,

    /// <summary>The places that were chosen on the A side.</summary>
    SharedIndex,
}
