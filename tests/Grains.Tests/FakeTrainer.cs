using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Grains.Tests;

/// <summary>Numbers that depend on the seed, the round, the client and what it started from, without a model.</summary>
internal sealed class FakeTrainer(int elements = 4) : ITrainer, IAdapterExporter, IPrompter
{
    /// <summary>Called before a group trains; a test holds or fails it here.</summary>
    public Func<TrainingGroup, CancellationToken, Task> BeforeTraining { get; set; } = static (_, _) => Task.CompletedTask;

    /// <summary>Changes a result on its way out.</summary>
    public Func<TrainingGroup, TrainingResult, TrainingResult> Afterwards { get; set; } = static (_, result) => result;

    /// <summary>The elements of every update; null where each has an array of its own.</summary>
    public float[]? Lent { get; init; }

    /// <summary>Every (round, client) that trained, as often as it did.</summary>
    public ConcurrentQueue<(int Round, string Client)> Trained { get; } = new();

    /// <summary>What the engine says it is.</summary>
    public EngineFingerprint Engine { get; set; } = new("fake", "none", 1);

    public Task<EngineFingerprint> FingerprintAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        Task.FromResult(Engine);

    public Task<int> GroupSizeAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        Task.FromResult(plan.Training.GroupSize ?? 1);

    public Task<AdapterState> InitialSharedAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        Task.FromResult(new AdapterState([.. Filled("A", 0), .. Statistics ?? StatisticsOf(plan, 0)]));

    /// <summary>What the shared state of any plan begins with beside tensors; null for what the plan declares.</summary>
    public AdapterState? Statistics { get; set; }

    /// <summary>What a round begins with in the place of what was committed.</summary>
    public Func<int, string?, AdapterState, AdvancedState>? Advance { get; set; }

    public Task<AdvancedState> AdvanceAsync(
        FederationPlan plan, int round, AdapterState state, string? task, CancellationToken cancellationToken = default) =>
        Task.FromResult(Advance?.Invoke(round, task, state) ?? new AdvancedState(state, new HashSet<string>()));

    public Task<AdapterState> InitialOfTaskAsync(FederationPlan plan, string task, CancellationToken cancellationToken = default) =>
        Task.FromResult(HasTaskHead(plan) ? Filled("B", 0) : AdapterState.Empty);

    public async Task<IReadOnlyList<TrainingResult>> TrainAsync(TrainingGroup group, CancellationToken cancellationToken = default)
    {
        await BeforeTraining(group, cancellationToken);
        return [.. group.Members.Select(member => Afterwards(group, Train(group, member)))];
    }

    /// <summary>What a scoring says of each row; nothing by default.</summary>
    public Func<TrainingGroup, IReadOnlyList<RowScore>> Rows { get; set; } = static _ => [];

    /// <summary>Clients that cannot be scored.</summary>
    public ISet<string> Unscorable { get; } = new HashSet<string>();

    public Task<IReadOnlyList<EvaluationResult>> EvaluateAsync(TrainingGroup group, CancellationToken cancellationToken = default) =>
        Task.FromResult<IReadOnlyList<EvaluationResult>>([.. group.Members.Select(member => Unscorable.Contains(member.Client.Id)
            ? new() { ClientId = member.Client.Id, Failure = "b.jsonl: no such file" }
            : new EvaluationResult
            {
                ClientId = member.Client.Id, Rows = 10, Metric = "accuracy", Loss = 1,
                Score = group.Shared["A"].Data[0] + HeadOf(group, member), MajorityShare = 0.5, RowScores = Rows(group),
            })]);

    /// <summary>Called before an adapter is exported, the last that a run does of its own.</summary>
    public Action BeforeExport { get; set; } = static () => { };

    public ExportedAdapter Export(
        FederationPlan plan, int round, ClientSpec client, AdapterState shared, AdapterState? head, ExportForm? form = null)
    {
        BeforeExport();
        return new("{}", shared);
    }

    public async IAsyncEnumerable<string> PromptAsync(
        TrainingGroup group, Prompt prompt, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (prompt.Text.Length == 0) throw new BadInputException("prompt: there is none");
        await Task.Yield();
        yield return $"{group.Members.Single().Client.Id} in round ";
        yield return $"{group.Round}";
    }

    /// <summary>What the adapter that plans start from is; null where they start from a seed.</summary>
    public string? Given { get; set; }

    public string? DigestOfGiven(FederationPlan plan) => Given;

    private TrainingResult Train(TrainingGroup group, GroupMember member)
    {
        Trained.Enqueue((group.Round, member.Client.Id));
        var drawn = Seed.For(group.Plan.Seed, group.Round, member.Client.Id, "fake") / (float)ulong.MaxValue;
        var adapter = group.Plan.AdapterAt(group.Round);
        AdapterState Moved(string name, float value) => !adapter.Moves(name) ? AdapterState.Empty
            : Lent is { } lent ? new([new(name, new NamedArray([elements], lent))]) : Filled(name, value);
        var head = HeadOf(group, member);
        return new TrainingResult
        {
            ClientId = member.Client.Id,
            Numbers = new() { Samples = 10, Steps = 1, MeanLoss = drawn, LastLoss = drawn, ProductNorm = 1 },
            Update = new(
            [
                .. Moved("A", 0.1f * (drawn - group.Shared["A"].Data[0])), .. Moved("B", drawn), .. StatisticsOf(group.Plan, drawn),
            ]),
            Head = HasTaskHead(group.Plan) ? AdapterState.Empty : Single("B", head + drawn), Optimizer = Single("m", drawn),
        };
    }

    private IEnumerable<KeyValuePair<string, NamedArray>> StatisticsOf(FederationPlan plan, float value) =>
        plan.StatisticFamilies.SelectMany(family => Filled(family.NameOf("A"), value));

    // Of scope task where the plan says so, else the client's own.
    private static float HeadOf(TrainingGroup group, GroupMember member) =>
        (HasTaskHead(group.Plan) ? member.OfTask : member.Head)?["B"].Data[0] ?? 0;

    private static bool HasTaskHead(FederationPlan plan) => plan.Adapter.Tensor("B").Scope == Scope.Task;

    private AdapterState Filled(string name, float value)
    {
        var data = GC.AllocateUninitializedArray<float>(elements);
        data.AsSpan().Fill(value);
        return new AdapterState([new(name, new NamedArray([elements], data))]);
    }

    private static AdapterState Single(string name, float value) => new([new(name, new NamedArray([1], [value]))]);
}
