using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// A term of what training minimizes beside the cross-entropy of the completion tokens; in JSON its name with its values.
/// </summary>
[JsonConverter(typeof(RuleJson<Objective>))]
public abstract record Objective : IPlanRule
{
    /// <summary>The term's name in a plan.</summary>
    public abstract string Rule { get; }

    /// <summary>The statistics that it needs of all clients; null for none.</summary>
    [JsonIgnore]
    public virtual StatisticFamily? Statistics => null;

    /// <summary>What does not go together with it.</summary>
    public virtual IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => [];

    /// <summary>
    /// mu/2 |w - w0|^2 over the tensors that are aggregated, w0 as the round began with them (FedProx, arXiv 1812.06127).
    /// </summary>
    /// <param name="Mu">Its weight.</param>
    public sealed record Proximal(double Mu = 0.01) : Objective
    {
        /// <inheritdoc/>
        public override string Rule => "proximal";

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => NothingShared(spec, Rule);
    }

    /// <summary>
    /// The gradient of aggregated tensors is corrected by c - c_k, the control variates of all clients and of the client (SCAFFOLD, arXiv
    /// 1910.06378, option II).
    /// </summary>
    public sealed record ControlVariates : Objective
    {
        /// <inheritdoc/>
        public override string Rule => "controlVariates";

        /// <inheritdoc/>
        public override StatisticFamily Statistics => new("variates", Clip: null, IsCarried: true);

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => NothingShared(spec, Rule);
    }

    /// <summary>
    /// The distance between what A makes of the client's task and of other tasks, the others known by the moments of the round before
    /// (Align-LoRA, arXiv 2508.05078).
    /// </summary>
    /// <param name="Kind">Which distance.</param>
    /// <param name="Lambda">Its weight.</param>
    /// <param name="Clip">
    /// The largest norm of what leaves a client's site of a layer, its moments behind a 1; more than 1, or nothing of them would be left.
    /// </param>
    public sealed record Alignment(AlignmentKind Kind = AlignmentKind.Kl, double Lambda = 0.2, double Clip = 100) : Objective
    {
        /// <inheritdoc/>
        public override string Rule => "alignment";

        /// <inheritdoc/>
        public override StatisticFamily Statistics => new("alignment", Clip, IsCarried: false);

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            foreach (var conflict in NothingShared(spec, Rule)) yield return conflict;
            if (spec.SharesAnything
                && spec.Tensor(LowRankFactors.A) is not ({ Scope: Scope.Job } or { Scope: Scope.Seed, Seed: SeedPolicy.Common }))
            {
                yield return new(
                    "alignment compares what one A makes of each task's rows, and here each client or task has an A of its own; give "
                    + "scopeA: job.", ["adapter.objectives", .. AdapterChecks.PathsOf(LowRankFactors.A, "scope"), "adapter.method"]);
            }
        }
    }

    /// <summary>
    /// gamma |A A0^T|^2 over layers: rows of A that do not overlap with those of the layer's other pair, a merged link or the shared pair
    /// of a task branch (O-LoRA, arXiv 2310.14152).
    /// </summary>
    /// <param name="Gamma">Its weight.</param>
    public sealed record Orthogonality(double Gamma = 0.5) : Objective
    {
        /// <inheritdoc/>
        public override string Rule => "orthogonality";

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            if (!spec.TaskBranch.Exists && !spec.Lifecycle.Any(static step => step.What is LifecycleAction.MergeAndRedraw))
            {
                yield return new(
                    "orthogonality is between two pairs of a layer, and the method has one; give taskBranch, or a lifecycle with "
                    + "mergeAndRedraw.", "adapter.objectives");
            }
        }
    }

    /// <summary>
    /// beta times the cross-entropy of a top-k gate against the head of the client's task, the mean over gated layers and over all but the
    /// last token of each sequence (MeteoRA, arXiv 2405.13053). Tasks stand for heads in the ordinal order of their names.
    /// </summary>
    /// <param name="Beta">Its weight.</param>
    public sealed record GateLoss(double Beta = 1) : Objective
    {
        /// <inheritdoc/>
        public override string Rule => "gateLoss";

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            if (spec.Routing is not Routing.TopK)
                yield return new("gateLoss is of a gate; give routing: topK.", "adapter.objectives", "adapter.routing");
        }
    }

    /// <summary>
    /// lambda |B[:, gamma r:]| |A[gamma r:, :]|, Frobenius norms, so that ranks behind a share of them wither (HetLoRA, arXiv 2401.06432).
    /// </summary>
    /// <param name="Lambda">Its weight.</param>
    /// <param name="Gamma">The share of ranks that is let be.</param>
    public sealed record RankPrune(double Lambda = 5e-4, double Gamma = 0.5) : Objective
    {
        /// <inheritdoc/>
        public override string Rule => "rankPrune";

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            if (Math.Floor(Gamma * spec.Rank) >= spec.Rank)
            {
                yield return new(
                    $"gamma {Gamma} lets all {spec.Rank} ranks be; give a smaller one.", "adapter.objectives", "adapter.rank");
            }
        }
    }

    private static IEnumerable<PlanConflict> NothingShared(AdapterSpec spec, string rule)
    {
        if (!spec.SharesAnything)
        {
            yield return new(
                $"{rule} is about what clients aggregate, and the method aggregates nothing; remove it, or give scopeA: job.",
                "adapter.objectives");
        }
    }
}

/// <summary>A distance between two tasks' features.</summary>
public enum AlignmentKind
{
    /// <summary>The symmetric Kullback-Leibler divergence of Gaussians with the tasks' moments.</summary>
    Kl,

    /// <summary>The maximum mean discrepancy under a sum of 19 Gaussian kernels of variance 1e-6 to 1e6.</summary>
    Mmd,
}
