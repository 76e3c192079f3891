using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>The factor s in front of B A.</summary>
public enum Scaling
{
    /// <summary>alpha / r, as in LoRA.</summary>
    AlphaOverRank,

    /// <summary>alpha / sqrt(r), as in rsLoRA (arXiv 2312.03732).</summary>
    AlphaOverSqrtRank,

    /// <summary>alpha, whatever the rank, as in MTLoRA (arXiv 2403.20320).</summary>
    Constant,
}

/// <summary>How a fresh adapter leaves the base unchanged.</summary>
public enum Start
{
    /// <summary>One factor is zero.</summary>
    Exact,

    /// <summary>The same at the frozen start is subtracted; the start is redrawn from the seed, never stored.</summary>
    Anchored,
}

/// <summary>A client's share in the weighted mean, before normalization over the closed cohort.</summary>
public enum Weighting
{
    /// <summary>The number of training rows.</summary>
    Samples,

    /// <summary>The same for all.</summary>
    Uniform,

    /// <summary>The same for every task, divided evenly among the task's clients in the cohort.</summary>
    UniformPerTask,

    /// <summary>
    /// The Frobenius norm of the client's product s (B A - B^0 A^0), summed over layers in quadrature (HetLoRA, arXiv 2401.06432).
    /// </summary>
    ProductNorm,

    /// <summary>1 / sqrt(1 + staleness), staleness in rounds since the client's base version (FedBuff, arXiv 2106.06639).</summary>
    Staleness,
}

/// <summary>
/// A method as a value: its parts, and the policy of each tensor that they bring. A [R, D_in] is the down-projection, B [N, D_out, R]
/// the heads, a routing mixes them: y = W0 x + s sum_i g_i(x) B_i D(A x), minus the same at the frozen start where that is anchored.
/// </summary>
public sealed record AdapterSpec
{
    private static readonly LowRankFactors Factors = new();
    private static readonly Decomposition Norms = new();
    private static readonly HeadMask Mask = new();

    private ChosenPolicies _chosen = ChosenPolicies.None;

    /// <summary>The catalogue name this started from.</summary>
    public string Method { get; init; } = "fedsa-lora";

    /// <summary>R, from 1 to the smaller side of every target where that bounds it (<see cref="IsRankBounded"/>).</summary>
    public int Rank { get; init; } = 8;

    /// <summary>The numerator of the scaling.</summary>
    public double Alpha { get; init; } = 16;

    /// <summary>alpha/r or alpha/sqrt(r).</summary>
    public Scaling Scaling { get; init; } = Scaling.AlphaOverRank;

    /// <summary>
    /// An adapter folder in PEFT's layout whose tensors are the start: rank, alpha, scaling, targets and patterns are then those of
    /// the folder. Null draws the start from the seed.
    /// </summary>
    public string? From { get; init; }

    /// <summary>Suffixes of the adapted layers, for example <c>q_proj</c>; empty means every linear layer but the LM head.</summary>
    public IReadOnlyList<string> TargetModules { get; init; } = [];

    /// <summary>
    /// A regular expression that the whole name of an adapted layer matches; stands in the place of <see cref="TargetModules"/>.
    /// </summary>
    public string? TargetPattern { get; init; }

    /// <summary>Suffixes of layers that are left out again.</summary>
    public IReadOnlyList<string> ExcludeModules { get; init; } = [];

    /// <summary>
    /// A regular expression that the whole name of a layer matches that is left out again; a given adapter may have one, a plan not.
    /// </summary>
    public string? ExcludePattern { get; init; }

    /// <summary>Numbers of the decoder layers that are adapted; empty means all.</summary>
    public IReadOnlyList<int> LayersToTransform { get; init; } = [];

    /// <summary>Names that may stand before the layer's number in a module's name; empty for any.</summary>
    public IReadOnlyList<string> LayersPattern { get; init; } = [];

    /// <summary>
    /// Ranks that differ, by a name's suffix or a regular expression for its end; the first that matches counts (PEFT's rank_pattern).
    /// </summary>
    public IReadOnlyList<KeyValuePair<string, int>> RankPattern { get; init; } = [];

    /// <summary>Alphas that differ, likewise.</summary>
    public IReadOnlyList<KeyValuePair<string, double>> AlphaPattern { get; init; } = [];

    /// <summary>Whether the method is around a <see cref="Decomposition"/> of the weight.</summary>
    public bool Decomposed { get; init; }

    /// <summary>N, heads of each client.</summary>
    public int Heads { get; init; } = 1;

    /// <summary>Down-projections: one, or one for each head.</summary>
    public Downs Downs { get; init; } = Downs.One;

    /// <summary>What stands between A and the heads.</summary>
    public Core Core { get; init; } = Core.None;

    /// <summary>What heads are multiplied with.</summary>
    public HeadScaleForm HeadScale { get; init; } = HeadScaleForm.None;

    /// <summary>A second pair of factors on the last blocks.</summary>
    public TaskBranch TaskBranch { get; init; } = TaskBranch.None;

    /// <summary>How heads are mixed.</summary>
    public Routing Routing { get; init; } = new Routing.ByTask();

    /// <summary>How the start is kept equal to the base.</summary>
    public Start Start { get; init; } = Start.Exact;

    /// <summary>Dropout.</summary>
    public Dropout Dropout { get; init; } = Dropout.Input(MaskSharing.AllHeads, 0.05);

    /// <summary>A client's share in the mean.</summary>
    public Weighting Weighting { get; init; } = Weighting.UniformPerTask;

    /// <summary>Terms of what training minimizes beside the completion's cross-entropy.</summary>
    public IReadOnlyList<Objective> Objectives { get; init; } = [];

    /// <summary>What happens to the method in some rounds.</summary>
    public IReadOnlyList<LifecycleStep> Lifecycle { get; init; } = [];

    /// <summary>
    /// Folders of adapters in PEFT's layout whose changes span what <see cref="InitLaw.Subspace"/> begins with; empty for the weight.
    /// </summary>
    public IReadOnlyList<string> SubspaceFrom { get; init; } = [];

    /// <summary>Merged links that are there in the round that this is the method of.</summary>
    [JsonIgnore]
    public int Links { get; private init; }

    /// <summary>Whether a mask has been calibrated by the round that this is the method of.</summary>
    [JsonIgnore]
    public bool IsMasked { get; private init; }

    /// <summary>The parts that the method is put together from.</summary>
    [JsonIgnore]
    public IReadOnlyList<IAdapterPart> Parts =>
    [
        Factors, Core, new HeadScale(HeadScale), Routing, TaskBranch, .. Decomposed ? [Norms] : (IAdapterPart[])[],
        .. Links > 0 ? [new FrozenLinks(Links)] : (IAdapterPart[])[],
        .. IsMasked ? [Mask] : (IAdapterPart[])[],
    ];

    /// <summary>What the method has on each layer, in the order of its parts.</summary>
    [JsonIgnore]
    public IReadOnlyList<TensorRole> Roles => [.. Parts.SelectMany(static part => part.Roles)];

    /// <summary>The policy of each tensor by its role.</summary>
    public IReadOnlyDictionary<string, TensorPolicy> Tensors =>
        Roles.ToDictionary(static role => role.Name, role => Tensor(role.Name), StringComparer.Ordinal);

    /// <summary>Whether the method has a tensor.</summary>
    public bool Has(string role) => Roles.Any(own => own.Name == role);

    /// <summary>The policy of a tensor, also of one that the method does not have.</summary>
    /// <exception cref="ArgumentException">No part has such a tensor.</exception>
    public TensorPolicy Tensor(string role)
    {
        if (_chosen.Find(role) is { } chosen) return chosen;
        var known = AdapterParts.Role(role);
        if (known.Follows is not { } followed) return known.Default;
        var scope = Tensor(followed).Scope;
        return known.Default with { Scope = scope == Scope.Seed ? Scope.Client : scope };
    }

    /// <summary>The same with another policy for a tensor.</summary>
    /// <exception cref="ArgumentException">No part has such a tensor.</exception>
    public AdapterSpec With(string role, Func<TensorPolicy, TensorPolicy> change) =>
        this with { _chosen = _chosen.With(AdapterParts.Role(role), change(Tensor(role))) };

    /// <summary>The same with another policy for every tensor that the method has.</summary>
    public AdapterSpec WithEach(Func<TensorPolicy, TensorPolicy> change) =>
        Roles.Aggregate(this, (spec, role) => spec.With(role.Name, change));

    /// <summary>
    /// The same method with nothing aggregated: tensors of scope Job or Task stay with their client. What trains in a round is what it was.
    /// </summary>
    public AdapterSpec Unshared() => (this with { Lifecycle = [.. Lifecycle.Select(Named)] })
        .WithEach(static tensor => tensor.IsAggregated ? tensor with { Scope = Scope.Client } : tensor);

    // Heads and what is shared, which scopes tell apart, by the names of the tensors.
    private LifecycleStep Named(LifecycleStep step) => step.What is not LifecycleAction.Train train ? step : step with
    {
        What = new LifecycleAction.Train([.. Roles.Where(role => train.Has(role, Tensor(role.Name))).Select(static role => role.Name)]),
    };

    /// <summary>
    /// The method as it is in a round: which links and mask there are, and what trains. What happens after rounds has happened in those
    /// before.
    /// </summary>
    /// <param name="round">From 1; 0 for the start.</param>
    /// <param name="rounds">Of the run.</param>
    public AdapterSpec At(int round, int rounds)
    {
        if (Lifecycle.Count == 0) return this;
        int Happened<T>() where T : LifecycleAction => Lifecycle.Where(static step => step.What is T)
            .SelectMany(step => Enumerable.Range(1, Math.Max(0, round - 1)).Where(before => step.Rounds.Contains(before, rounds)))
            .Distinct().Count();
        var now = this with
        {
            Links = Happened<LifecycleAction.MergeAndRedraw>(), IsMasked = Happened<LifecycleAction.CalibrateMask>() > 0,
        };
        if (Lifecycle.LastOrDefault(step => step.What is LifecycleAction.Train && step.Rounds.Contains(round, rounds)) is not
            { What: LifecycleAction.Train trained }) return now;
        return Roles.Where(role => !trained.Has(role, Tensor(role.Name)))
            .Aggregate(now, static (spec, role) => spec.With(role.Name, static tensor => tensor with { Trains = false }));
    }

    /// <summary>Whether a round moves a tensor that is aggregated, of the method as it is in that round.</summary>
    public bool Moves(string role) => Has(role) && Tensor(role) is { IsAggregated: true, Trains: true };

    /// <summary>s where no pattern changes it.</summary>
    public double ScalingFactor => ScalingOf(Rank, Alpha);

    /// <summary>s: alpha/r, alpha/sqrt(r) or alpha; r the rows of A that one input uses.</summary>
    public double ScalingOf(int rank, double alpha) => Scaling switch
    {
        Scaling.AlphaOverRank => alpha / (Routing.ActiveRank ?? rank),
        Scaling.AlphaOverSqrtRank => alpha / Math.Sqrt(Routing.ActiveRank ?? rank),
        _ => alpha,
    };

    /// <summary>
    /// Whether the mix of heads does not depend on the input, so that the adapter is a static low rank and exports exactly.
    /// </summary>
    public bool IsStatic => Routing.IsStatic;

    /// <summary>
    /// Whether more rows of A than a layer is wide would say nothing new. Not where each row is an expert of which an input uses some, and
    /// not where a frozen pair stands around a trained number for each row, as in VeRA.
    /// </summary>
    [JsonIgnore]
    public bool IsRankBounded => BeginsFromWeight
        || (Routing.ActiveRank is null
            && (Core.Form != CoreForm.Diagonal || Tensor(LowRankFactors.A).Trains || Tensor(LowRankFactors.B).Trains));

    /// <summary>Whether a tensor begins from the frozen weight, or from that of related adapters.</summary>
    [JsonIgnore]
    public bool BeginsFromWeight => Roles.Any(role => role.IsDrawn && Tensor(role.Name).Init.IsFromWeight);

    /// <summary>Whether anything is aggregated; a plan without it is local training in rounds.</summary>
    public bool SharesAnything => Tensors.Values.Any(static tensor => tensor is { IsAggregated: true, Trains: true });

    /// <summary>The statistics that its objectives need of all clients; none where nothing is aggregated.</summary>
    [JsonIgnore]
    public IReadOnlyList<StatisticFamily> Statistics => !SharesAnything ? []
        : [.. Objectives.Select(static term => term.Statistics).OfType<StatisticFamily>()];

    /// <summary>
    /// The tensors that may differ between clients of a task: those that stay with their client, and those that each client draws.
    /// </summary>
    [JsonIgnore]
    public IReadOnlyList<TensorRole> OfClients => [.. Roles.Where(role => role.IsCounted || Tensor(role.Name) is
        { Scope: Scope.Client, Trains: true } or { Scope: Scope.Client or Scope.Seed, Seed: SeedPolicy.PerClient })];

    /// <summary>Whether it has a tensor of a scope.</summary>
    public bool Has(Scope scope) => Tensors.Values.Any(tensor => tensor.Scope == scope);
}
