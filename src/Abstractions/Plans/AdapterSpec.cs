namespace FedRLora.Abstractions.Plans;

/// <summary>How the heads of a layer are mixed.</summary>
public enum Routing
{
    /// <summary>One-hot: the head of the client's own task. With one head this is plain LoRA.</summary>
    ByTask,

    /// <summary>The mean of all heads; input-independent, so the adapter merges.</summary>
    Mean,

    /// <summary>The sum of all heads; input-independent.</summary>
    Sum,

    /// <summary>Dense softmax over a linear router of the layer input, per token (R-LoRA, HydraLoRA).</summary>
    Softmax,
}

/// <summary>The factor s in front of B A.</summary>
public enum Scaling
{
    /// <summary>alpha / r, as in LoRA.</summary>
    AlphaOverRank,

    /// <summary>alpha / sqrt(r), as in rsLoRA (arXiv 2312.03732).</summary>
    AlphaOverSqrtRank,
}

/// <summary>The law a tensor is drawn from.</summary>
public enum InitLaw
{
    /// <summary>All zero.</summary>
    Zero,

    /// <summary>Uniform on (-1/sqrt(d_in), +1/sqrt(d_in)): Kaiming with a = sqrt 5, PEFT's default for A.</summary>
    KaimingUniform,

    /// <summary>Normal with the given standard deviation.</summary>
    Gaussian,

    /// <summary>d_out^(1/4) / sqrt(gamma) times Normal(0, 1/fan), fan = d_in for A and d_out for B (R-LoRA, table 1).</summary>
    Stable,
}

/// <summary>An initialization: a law with its parameter.</summary>
/// <param name="Law">The law.</param>
/// <param name="Value">Standard deviation for <see cref="InitLaw.Gaussian"/>, gamma for <see cref="InitLaw.Stable"/>, else unused.</param>
public sealed record Init(InitLaw Law, double Value = 0)
{
    /// <summary>All zero.</summary>
    public static Init Zero { get; } = new(InitLaw.Zero);

    /// <summary>PEFT's default for A.</summary>
    public static Init KaimingUniform { get; } = new(InitLaw.KaimingUniform);

    /// <summary>R-LoRA's random start.</summary>
    public static Init Stable(double gamma) => new(InitLaw.Stable, gamma);

    /// <summary>Normal(0, std^2).</summary>
    public static Init Gaussian(double std) => new(InitLaw.Gaussian, std);
}

/// <summary>Whether all clients draw the same initial tensor.</summary>
public enum SeedPolicy
{
    /// <summary>One draw for all clients.</summary>
    Common,

    /// <summary>Each client draws its own.</summary>
    PerClient,

    /// <summary>Clients of one task draw the same.</summary>
    PerTask,
}

/// <summary>How a fresh adapter leaves the base unchanged.</summary>
public enum Start
{
    /// <summary>One factor is zero.</summary>
    Exact,

    /// <summary>Frozen twins of the initial factors are subtracted (METHODS-CORE 1.9); they are redrawn from the seed, never stored.</summary>
    Anchored,
}

/// <summary>Where dropout sits in a layer.</summary>
public enum DropoutSite
{
    /// <summary>No dropout.</summary>
    None,

    /// <summary>On the layer input, in front of A (LoRA).</summary>
    Input,

    /// <summary>On A x, between A and B (R-LoRA's multi-head dropout).</summary>
    Hidden,
}

/// <summary>Whether heads share a dropout mask.</summary>
public enum MaskSharing
{
    /// <summary>One mask for all heads.</summary>
    AllHeads,

    /// <summary>An independent mask for each head.</summary>
    PerHead,
}

/// <summary>Inverted dropout of an adapter.</summary>
/// <param name="Site">Where it sits.</param>
/// <param name="Masks">Whether heads share the mask.</param>
/// <param name="P">Probability of a zero, in [0, 1).</param>
public sealed record Dropout(DropoutSite Site, MaskSharing Masks, double P)
{
    /// <summary>No dropout.</summary>
    public static Dropout None { get; } = new(DropoutSite.None, MaskSharing.AllHeads, 0);

    /// <summary>Dropout in front of A.</summary>
    public static Dropout Input(MaskSharing masks, double p) => new(DropoutSite.Input, masks, p);

    /// <summary>Dropout between A and B.</summary>
    public static Dropout Hidden(MaskSharing masks, double p) => new(DropoutSite.Hidden, masks, p);
}

/// <summary>Who owns a tensor.</summary>
public enum Scope
{
    /// <summary>Redrawn from the plan's seed wherever it is needed; never trained, never travels.</summary>
    Seed,

    /// <summary>Aggregated by the coordinator; the same on all clients at the start of a round.</summary>
    Job,

    /// <summary>Stays with its client.</summary>
    Client,
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

    /// <summary>The Frobenius norm of the client's product s (B A - B^0 A^0), summed over layers in quadrature (HetLoRA, arXiv 2401.06432).</summary>
    ProductNorm,

    /// <summary>1 / sqrt(1 + staleness), staleness in rounds since the client's base version (FedBuff, arXiv 2106.06639).</summary>
    Staleness,
}

/// <summary>
/// A method as a value: the fields of METHODS-CORE 7.2 that this version computes. A [R, D_in] is the shared down-projection,
/// B [N, D_out, R] the heads, the router [N, D_in] mixes them. y = W0 x + s sum_i g_i(x) B_i D(A x), minus frozen twins when
/// anchored.
/// </summary>
public sealed record AdapterSpec
{
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

    /// <summary>A regular expression that the whole name of an adapted layer matches; stands in the place of <see cref="TargetModules"/>.</summary>
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

    /// <summary>Ranks that differ, by a name's suffix or a regular expression for its end; the first that matches counts (PEFT's rank_pattern).</summary>
    public IReadOnlyList<KeyValuePair<string, int>> RankPattern { get; init; } = [];

    /// <summary>Alphas that differ, likewise.</summary>
    public IReadOnlyList<KeyValuePair<string, double>> AlphaPattern { get; init; } = [];

    /// <summary>
    /// DoRA (arXiv 2402.09353): each output row of the weight is brought to unit norm and multiplied by a trained magnitude. The norm
    /// carries no gradient, and what dropout hides is hidden from the low rank alone.
    /// </summary>
    public bool Decomposed { get; init; }

    /// <summary>N, heads of each client.</summary>
    public int Heads { get; init; } = 1;

    /// <summary>How heads are mixed.</summary>
    public Routing Routing { get; init; } = Routing.ByTask;

    /// <summary>Initial A.</summary>
    public Init InitA { get; init; } = Init.KaimingUniform;

    /// <summary>Initial heads, drawn independently for each head.</summary>
    public Init InitB { get; init; } = Init.Zero;

    /// <summary>Initial router logits' weights.</summary>
    public Init InitRouter { get; init; } = Init.Zero;

    /// <summary>Who shares the draw of A.</summary>
    public SeedPolicy SeedA { get; init; } = SeedPolicy.Common;

    /// <summary>Who shares the draw of the heads.</summary>
    public SeedPolicy SeedB { get; init; } = SeedPolicy.Common;

    /// <summary>How the start is kept equal to the base.</summary>
    public Start Start { get; init; } = Start.Exact;

    /// <summary>Dropout.</summary>
    public Dropout Dropout { get; init; } = Dropout.Input(MaskSharing.AllHeads, 0.05);

    /// <summary>Whether A is trained.</summary>
    public bool TrainsA { get; init; } = true;

    /// <summary>Whether the heads are trained.</summary>
    public bool TrainsB { get; init; } = true;

    /// <summary>Who owns A.</summary>
    public Scope ScopeA { get; init; } = Scope.Job;

    /// <summary>Who owns the heads.</summary>
    public Scope ScopeB { get; init; } = Scope.Client;

    /// <summary>Who owns the router.</summary>
    public Scope ScopeRouter { get; init; } = Scope.Client;

    /// <summary>Who owns the magnitudes of a decomposed weight.</summary>
    public Scope ScopeMagnitude { get; init; } = Scope.Client;

    /// <summary>A client's share in the mean.</summary>
    public Weighting Weighting { get; init; } = Weighting.UniformPerTask;

    /// <summary>The same method with nothing aggregated: tensors of scope Job stay with their client.</summary>
    public AdapterSpec Unshared() => this with { ScopeA = Kept(ScopeA), ScopeB = Kept(ScopeB), ScopeRouter = Kept(ScopeRouter), ScopeMagnitude = Kept(ScopeMagnitude) };

    /// <summary>s where no pattern changes it.</summary>
    public double ScalingFactor => ScalingOf(Rank, Alpha);

    /// <summary>s: alpha/r or alpha/sqrt(r).</summary>
    public double ScalingOf(int rank, double alpha) => Scaling == Scaling.AlphaOverRank ? alpha / rank : alpha / Math.Sqrt(rank);

    /// <summary>Whether the layer has a router: more than one head and routing by the input.</summary>
    public bool HasRouter => Routing == Routing.Softmax;

    /// <summary>Whether the mix of heads does not depend on the input, so that the adapter is a static low rank and exports exactly.</summary>
    public bool IsStatic => Routing != Routing.Softmax || Heads == 1;

    /// <summary>Whether anything is aggregated; a plan without it is local training in rounds.</summary>
    public bool SharesAnything => ScopeA == Scope.Job || ScopeB == Scope.Job || (HasRouter && ScopeRouter == Scope.Job) || (Decomposed && ScopeMagnitude == Scope.Job);

    private static Scope Kept(Scope scope) => scope == Scope.Job ? Scope.Client : scope;
}
