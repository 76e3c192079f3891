using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters;

/// <summary>One tensor of an adapter.</summary>
/// <param name="Target">The layer that it is on.</param>
/// <param name="Role">What it is there.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Policy">How it begins, whether it moves, and who has it.</param>
internal sealed record AdapterTensor(LinearShape Target, TensorRole Role, IReadOnlyList<long> Shape, TensorPolicy Policy)
{
    /// <summary><c>{module}.{role}</c>.</summary>
    public string Name { get; } = NameOf(Target.Module, Role.Name);

    /// <summary>Who owns it.</summary>
    public Scope Scope => Policy.Scope;

    /// <summary>Whether it is trained; what is redrawn from the seed never is.</summary>
    public bool Trains => Policy is { Trains: true, Scope: not Scope.Seed };

    /// <summary>The name of a tensor in a state.</summary>
    public static string NameOf(string module, string role) => $"{module}.{role}";
}

/// <summary>A start that was computed once and lies in every round's shared state, where no round moves it.</summary>
/// <param name="Tensor">What begins with it.</param>
/// <param name="Name"><c>{module}.A0</c>.</param>
internal sealed record AdapterConstant(AdapterTensor Tensor, string Name);

/// <summary>Which tensors a spec has on the linears of a model, who owns each, and how each begins.</summary>
internal sealed class AdapterLayout
{
    private readonly AdapterStart _start;
    private readonly AdapterMethod _withoutBranch;
    private readonly Dictionary<string, AdapterTarget> _targetOf;
    private readonly Dictionary<string, string> _constantOf;

    private AdapterLayout(
        AdapterSpec spec, AdapterMethod method, AdapterMethod withoutBranch,
        IReadOnlyList<(TensorRole Role, TensorPolicy Policy)> roles, IReadOnlyList<AdapterTarget> targets, AdapterStart start)
    {
        (Spec, Method, _withoutBranch, Roles, Targets, _start) =
            (spec, method, withoutBranch, [.. roles.Select(static tensor => tensor.Role)], targets, start);
        Tensors = [.. TensorsOf(roles)];
        _targetOf = targets.ToDictionary(static target => target.Module, StringComparer.Ordinal);
        Constants = [.. Tensors.Where(IsKeptApart)
            .Select(static tensor => new AdapterConstant(tensor,
                AdapterTensor.NameOf(tensor.Target.Module, Anchored.AtStart(tensor.Role.Name))))];
        _constantOf = Constants.ToDictionary(static constant => constant.Tensor.Name, static constant => constant.Name,
            StringComparer.Ordinal);
        start.RequireFits(Tensors);
    }

    public AdapterSpec Spec { get; }

    /// <summary>The algebra of the method, with all of its parts: what it says of itself holds on every layer.</summary>
    public AdapterMethod Method { get; }

    /// <summary>The algebra on a layer, which may lack a part.</summary>
    public AdapterMethod MethodOf(AdapterTarget target) => target.HasTaskBranch ? Method : _withoutBranch;

    /// <summary>What the method has on a layer.</summary>
    public IEnumerable<TensorRole> RolesOn(AdapterTarget target)
    {
        var own = MethodOf(target).Shapes(target).Select(static tensor => tensor.Role).ToHashSet(StringComparer.Ordinal);
        return Roles.Where(role => own.Contains(role.Name));
    }

    /// <summary>What the method has on each layer.</summary>
    public IReadOnlyList<TensorRole> Roles { get; }

    /// <summary>The adapted layers, in the model's order.</summary>
    public IReadOnlyList<AdapterTarget> Targets { get; }

    public IReadOnlyList<AdapterTensor> Tensors { get; }

    /// <summary>
    /// Starts computed from the frozen weight that the shared state of every round holds beside the tensors of scope Job: those of tensors
    /// that do not lie there, and those of tensors that move away from them while the start is needed.
    /// </summary>
    public IReadOnlyList<AdapterConstant> Constants { get; }

    /// <summary>The layout on a model's layers.</summary>
    /// <exception cref="BadInputException">
    /// A target that the model does not have or the method cannot be on, or a rank that a target cannot hold.
    /// </exception>
    public static AdapterLayout For(AdapterSpec spec, IReadOnlyList<LinearShape> layers, AdapterStart? start = null)
    {
        var layout = Unbounded(spec, layers, start);
        RefuseEntriesWithoutLayer(spec, layers);
        foreach (var key in spec.RankPattern.Select(static entry => entry.Key).Concat(spec.AlphaPattern.Select(static entry => entry.Key)))
        {
            if (!layout.Targets.Any(target => ModuleRules.FitsPattern(key, target.Module)))
                throw new BadInputException($"rankPattern, alphaPattern: {key} fits no adapted layer; "
                    + $"they are {NamesOf([.. layout.Targets.Select(static target => target.Layer)])}");
        }

        foreach (var (target, rank, _, isBranched) in layout.Targets)
        {
            var bound = Math.Min(target.InWidth, target.OutWidth);
            if (rank < 1 || (rank > bound && spec.IsRankBounded))
                throw new BadInputException(
                    $"rank: {rank} is outside 1 to {bound}, the smaller side of {target.Module} ({target.InWidth} -> {target.OutWidth})");
            if (spec.TaskBranch.Rank is var branch && isBranched && branch > bound)
                throw new BadInputException($"taskBranch.rank: {branch} is above {bound}, the smaller side of {target.Module}");
            if (spec.Routing.WhyNot(rank) is { } why) throw new BadInputException($"routing: {target.Module}: {why}");
        }

        return layout;
    }

    // An entry that fits nothing is a slip of the pen that would train something else than was meant.
    private static void RefuseEntriesWithoutLayer(AdapterSpec spec, IReadOnlyList<LinearShape> layers)
    {
        if (spec.ExcludeModules.FirstOrDefault(suffix => !layers.Any(layer => ModuleRules.EndsIn(layer.Module, suffix))) is { } excluded)
            throw new BadInputException($"excludeModules: the model has no linear layer {excluded}; its layers are {NamesOf(layers)}");
        bool Numbers(string name) =>
            layers.Any(layer => ModuleRules.LayerOf(spec with { LayersPattern = [name] }, layer.Module) is not null);
        if (spec.LayersPattern.FirstOrDefault(name => !Numbers(name)) is { } pattern)
        {
            var example = layers.FirstOrDefault(static layer => layer.Kind is LayerKind.Linear or LayerKind.Conv1D)?.Module;
            throw new BadInputException($"layersPattern: no layer's name has {pattern} before a number; one is {example}");
        }

        if (spec.LayersToTransform.Count == 0) return;
        var wherever = ModuleRules.Targets(spec with { LayersToTransform = [] }, layers);
        var numbers = wherever.Select(target => ModuleRules.LayerOf(spec, target.Module)).OfType<int>().Distinct().Order().ToList();
        foreach (var number in spec.LayersToTransform.Where(number => !numbers.Contains(number)))
            throw new BadInputException($"layersToTransform: no target is in layer {number}; they are in {string.Join(", ", numbers)}");
    }

    /// <summary>Without the bound on ranks: an exported adapter holds its frozen start as rank beyond it.</summary>
    /// <exception cref="BadInputException">A target that the model does not have or the method cannot be on.</exception>
    public static AdapterLayout Unbounded(AdapterSpec spec, IReadOnlyList<LinearShape> layers, AdapterStart? start = null)
    {
        var targets = ModuleRules.Targets(spec, layers);
        foreach (var suffix in spec.TargetModules)
        {
            if (!layers.Any(layer => ModuleRules.EndsIn(layer.Module, suffix)))
                throw new BadInputException($"targetModules: the model has no linear layer {suffix}; its layers are {NamesOf(layers)}");
        }

        if (targets.Count == 0)
            throw new BadInputException($"targetModules: no layer of the model is chosen; its layers are {NamesOf(layers)}");
        if (spec.TaskBranch.Exists && !targets.Any(static target => target.HasTaskBranch))
        {
            throw new BadInputException($"taskBranch: none of the adapted layers is in one of the last blocks, which have the task pair; "
                + "give more taskBranch.blocks, or adapt layers of those");
        }

        if (targets.FirstOrDefault(static target => target.Layer.Kind == LayerKind.Embedding) is { } embedding
            && spec.Parts.Select(static part => part.KeepsOffEmbeddings).OfType<string>().FirstOrDefault() is { } part)
        {
            throw new BadInputException($"targetModules: {embedding.Module} is an embedding, which {part} cannot be on; leave it out");
        }

        if (targets.FirstOrDefault(static target => target.Layer.Kind == LayerKind.LmHead) is { } head && spec.Routing.SeesSequences)
        {
            throw new BadInputException($"targetModules: {head.Module} is the LM head, which training gives the rows with loss alone, and "
                + $"{spec.Routing.Rule} looks at whole sequences; leave it out");
        }

        var roles = spec.Roles.Select(role => (role, spec.Tensor(role.Name))).ToList();
        return new(
            spec, AdapterMethods.Of(spec), AdapterMethods.Of(spec with { TaskBranch = TaskBranch.None }), roles, targets,
            start ?? AdapterStart.Drawn);
    }

    /// <summary>The layout of a method that no spec can name yet.</summary>
    /// <param name="method">The method, decorated.</param>
    /// <param name="spec">Layers, ranks, dropout and start.</param>
    /// <param name="roles">What the method has on each layer, under the policies of the roles.</param>
    /// <param name="layers">Of the model.</param>
    /// <param name="start">As for <see cref="For"/>.</param>
    public static AdapterLayout Of(
        AdapterMethod method, AdapterSpec spec, IReadOnlyList<TensorRole> roles, IReadOnlyList<LinearShape> layers,
        AdapterStart? start = null)
    {
        var targets = ModuleRules.Targets(spec, layers);
        return new(spec, method, method, [.. roles.Select(static role => (role, role.Default))], targets, start ?? AdapterStart.Drawn);
    }

    /// <summary>Whether a tensor's frozen start is subtracted: of an anchored start all that a law draws, but for the gate's.</summary>
    public bool HasStart(AdapterTensor tensor) => HasStart(tensor.Role.Name);

    /// <inheritdoc cref="HasStart(AdapterTensor)"/>
    public bool HasStart(string role) =>
        Spec.Start == Start.Anchored && Roles.Any(own => own.Name == role && own.IsDrawn && own.Follows is null)
        && !Spec.Routing.Roles.Any(own => own.Name == role);

    /// <summary>The last component of a module's name.</summary>
    public static string LastPart(string module) => module[(module.LastIndexOf('.') + 1)..];

    /// <summary>
    /// The initial values of the tensors that <paramref name="which"/> takes, for a client; without one for what is common to all, or to
    /// the clients of a task.
    /// </summary>
    /// <param name="seed">The plan's.</param>
    /// <param name="client">The client; null where there is none.</param>
    /// <param name="which">Which tensors.</param>
    /// <param name="task">The task; the client's where there is one.</param>
    /// <param name="shared">A round's shared state, which has the starts that were computed once; null where they are computed now.</param>
    public AdapterState Initial(
        ulong seed, ClientSpec? client, Func<AdapterTensor, bool> which, string? task = null, AdapterState? shared = null) =>
        new(Tensors.Where(which).Select(tensor => KeyValuePair.Create(
            tensor.Name, InitialOf(tensor, seed, OwnerOf(tensor, client?.Id, client?.Task ?? task), shared))));

    /// <summary>A tensor drawn by its law when it begins again, also where it began from something else before.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <param name="seed">The plan's.</param>
    /// <param name="client">As in <see cref="Initial"/>.</param>
    /// <param name="task">As in <see cref="Initial"/>.</param>
    /// <param name="link">Of a chain, how many links were merged before; 0 for what the first link began with.</param>
    public NamedArray DrawAgain(AdapterTensor tensor, ulong seed, ClientSpec? client, string? task, int link) =>
        Initializers.Draw(tensor, seed, OwnerOf(tensor, client?.Id, client?.Task ?? task), WholeOf(tensor), link);

    /// <summary>How often factors have begun again before the layout's round.</summary>
    public int Restarts => Spec.Links + (Spec.IsMasked ? 1 : 0);

    /// <summary>Whether a tensor is one of those that have begun again: both factors of a chain, the heads under a mask.</summary>
    public bool BeginsAgain(AdapterTensor tensor) =>
        (Spec.Links > 0 && tensor.Role.Name is LowRankFactors.A or LowRankFactors.B)
        || (Spec.IsMasked && tensor.Role.Name == LowRankFactors.B);

    /// <summary>What every client shares when a run begins: tensors of scope Job, and the starts that are kept beside them.</summary>
    /// <param name="seed">The plan's.</param>
    public AdapterState InitialShared(ulong seed) => new(
    [
        .. Initial(seed, client: null, static tensor => tensor.Scope == Scope.Job),
        .. Constants.Select(constant => KeyValuePair.Create(constant.Name, InitialOf(constant.Tensor, seed, "", shared: null))),
    ]);

    /// <summary>
    /// Refuses a state that does not have exactly the tensors of a scope, in their shapes; statistics beside them are not looked at.
    /// </summary>
    /// <exception cref="BadInputException">A tensor is missing, unknown, or has another shape.</exception>
    public void Check(AdapterState state, Scope scope, string what)
    {
        var expected = Tensors.Where(tensor => tensor.Scope == scope)
            .ToDictionary(static tensor => tensor.Name, static tensor => tensor.Shape, StringComparer.Ordinal);
        if (scope == Scope.Job)
        {
            foreach (var constant in Constants) expected.Add(constant.Name, constant.Tensor.Shape);
        }

        foreach (var (name, shape) in expected)
        {
            if (!state.TryGetValue(name, out var array)) throw new BadInputException($"{what}: tensor {name} is missing");
            if (!array.Shape.SequenceEqual(shape))
                throw new BadInputException($"{what}: tensor {name} has shape [{string.Join(", ", array.Shape)}], "
                    + $"the plan asks for [{string.Join(", ", shape)}]");
        }

        if (state.Keys.FirstOrDefault(name => !expected.ContainsKey(name) && !StatisticFamily.IsStatistic(name)) is { } unknown)
            throw new BadInputException($"{what}: tensor {unknown} does not belong to scope {scope} of this plan");
    }

    // Of what lies in the shared state and never moves, the value there is the start too.
    private bool IsKeptApart(AdapterTensor tensor) => IsFromWeight(tensor)
        && (tensor.Scope != Scope.Job
            || (HasStart(tensor) && (tensor.Policy.Trains || Spec.Lifecycle.Any(static step => step.What is LifecycleAction.Train))));

    // A given adapter is its own start.
    private bool IsFromWeight(AdapterTensor tensor) => Spec.From is null && tensor.Role.IsDrawn && tensor.Policy.Init.IsFromWeight;

    private NamedArray InitialOf(AdapterTensor tensor, ulong seed, string owner, AdapterState? shared)
    {
        if (BeginsAgain(tensor)) return Initializers.Draw(tensor, seed, owner, WholeOf(tensor), Spec.Links);
        if (shared is not null && IsFromWeight(tensor)) return shared[_constantOf.GetValueOrDefault(tensor.Name, tensor.Name)];
        return _start.ValueOf(tensor, _targetOf[tensor.Target.Module], Method)
            ?? Initializers.Draw(tensor, seed, owner, WholeOf(tensor));
    }

    // The smallest shape that holds the tensor of every layer.
    private IReadOnlyList<long> WholeOf(AdapterTensor tensor) => tensor.Policy.Init.Law != InitLaw.SharedKaimingUniform ? tensor.Shape
        : [.. Enumerable.Range(0, tensor.Shape.Count)
            .Select(dimension => Tensors.Where(other => other.Role == tensor.Role).Max(other => other.Shape[dimension]))];

    // What is aggregated has one initial value, whatever the policy says.
    private static string OwnerOf(AdapterTensor tensor, string? client, string? task)
    {
        if (tensor.Scope == Scope.Job) return "";
        return tensor.Policy.Seed switch { SeedPolicy.PerClient => client, SeedPolicy.PerTask => task, _ => null } ?? "";
    }

    private static string NamesOf(IReadOnlyList<LinearShape> layers) =>
        string.Join(", ", layers.Select(static layer => LastPart(layer.Module)).Distinct());

    private IEnumerable<AdapterTensor> TensorsOf(IReadOnlyList<(TensorRole Role, TensorPolicy Policy)> roles)
    {
        foreach (var target in Targets)
        {
            var shapes = MethodOf(target).Shapes(target)
                .ToDictionary(static tensor => tensor.Role, static tensor => tensor.Shape, StringComparer.Ordinal);
            foreach (var (role, policy) in roles)
            {
                if (shapes.TryGetValue(role.Name, out var shape)) yield return new(target.Layer, role, shape, policy);
            }
        }
    }
}
