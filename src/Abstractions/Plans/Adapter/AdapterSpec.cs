using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>The factor s in front of B A.</summary>
public enum Scaling
{
    /// <summary>alpha / r, as in LoRA.</summary>
    AlphaOverRank,

    /// <summary>alpha / sqrt(r), as in rsLoRA (arXiv 2312.03732).</summary>
    AlphaOverSqrtRank,
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

    private ChosenPolicies _chosen = ChosenPolicies.None;

    /// <summary>The catalogue name this started from.</summary>
    public string Method { get; init; } = "fedsa-lora";

    /// <summary>R, from 1 to the smaller side of every target.</summary>
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

    /// <summary>How heads are mixed.</summary>
    public Routing Routing { get; init; } = new Routing.ByTask();

    /// <summary>How the start is kept equal to the base.</summary>
    public Start Start { get; init; } = Start.Exact;

    /// <summary>Dropout.</summary>
    public Dropout Dropout { get; init; } = Dropout.Input(MaskSharing.AllHeads, 0.05);

    /// <summary>A client's share in the mean.</summary>
    public Weighting Weighting { get; init; } = Weighting.UniformPerTask;

    /// <summary>The parts that the method is put together from.</summary>
    [JsonIgnore]
    public IReadOnlyList<IAdapterPart> Parts => [Factors, Routing, .. Decomposed ? [Norms] : (IAdapterPart[])[]];

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
    public TensorPolicy Tensor(string role) => _chosen.Find(role) ?? AdapterParts.Role(role).Default;

    /// <summary>The same with another policy for a tensor.</summary>
    /// <exception cref="ArgumentException">No part has such a tensor.</exception>
    public AdapterSpec With(string role, Func<TensorPolicy, TensorPolicy> change) =>
        this with { _chosen = _chosen.With(AdapterParts.Role(role), change(Tensor(role))) };

    /// <summary>The same with another policy for every tensor that the method has.</summary>
    public AdapterSpec WithEach(Func<TensorPolicy, TensorPolicy> change) =>
        Roles.Aggregate(this, (spec, role) => spec.With(role.Name, change));

    /// <summary>The same method with nothing aggregated: tensors of scope Job or Task stay with their client.</summary>
    public AdapterSpec Unshared() =>
        WithEach(static tensor => tensor.IsAggregated ? tensor with { Scope = Scope.Client } : tensor);

    /// <summary>s where no pattern changes it.</summary>
    public double ScalingFactor => ScalingOf(Rank, Alpha);

    /// <summary>s: alpha/r or alpha/sqrt(r).</summary>
    public double ScalingOf(int rank, double alpha) => Scaling == Scaling.AlphaOverRank ? alpha / rank : alpha / Math.Sqrt(rank);

    /// <summary>
    /// Whether the mix of heads does not depend on the input, so that the adapter is a static low rank and exports exactly.
    /// </summary>
    public bool IsStatic => Routing.IsStatic || Heads == 1;

    /// <summary>Whether anything is aggregated; a plan without it is local training in rounds.</summary>
    public bool SharesAnything => Tensors.Values.Any(static tensor => tensor.IsAggregated);

    /// <summary>
    /// The tensors that may differ between clients of a task: those that stay with their client, and those that each client draws.
    /// </summary>
    [JsonIgnore]
    public IReadOnlyList<TensorRole> OfClients => [.. Roles.Where(role => Tensor(role.Name) is
        { Scope: Scope.Client, Trains: true } or { Scope: Scope.Client or Scope.Seed, Seed: SeedPolicy.PerClient })];

    /// <summary>Whether it has a tensor of a scope.</summary>
    public bool Has(Scope scope) => Tensors.Values.Any(tensor => tensor.Scope == scope);
}
