using System.Collections.Concurrent;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data;
using FedRLora.Training.Devices;
using FedRLora.Training.Inputs;
using FedRLora.Training.Kernels;
using FedRLora.Training.Lanes;
using FedRLora.Training.Metrics;
using FedRLora.Training.Models;
using FedRLora.Training.Objectives;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>Takes what a person has to know of an input that is used as it is.</summary>
/// <param name="note">One line.</param>
public delegate void NoteSink(string note);

/// <summary>Where a trainer finds files and how much it remembers.</summary>
public sealed record LocalTrainerOptions
{
    /// <summary>What relative paths of a plan are relative to.</summary>
    public string Root { get; init; } = ".";

    /// <summary>A device's name (<see cref="DeviceNames"/>), for example <c>cpu</c> or <c>cuda:0</c>.</summary>
    public string Device { get; init; } = DeviceNames.Cpu;

    /// <summary>
    /// Groups and scorings that run side by side; null for as many as there are processors, one on a GPU. No bit depends on it.
    /// </summary>
    public int? Lanes { get; init; }

    /// <summary>
    /// Memory that groups and scorings may have together, by estimate; null for three quarters of what the process may use, or of what is
    /// free on a GPU. What does not fit waits.
    /// </summary>
    public long? LaneBytes { get; init; }

    /// <summary>Encoded rows kept in memory between rounds.</summary>
    public long MaxCachedBytes { get; init; } = 1L << 30;

    /// <summary>Gets what is to be known of the adapter that a plan starts from, when its folder is read.</summary>
    public NoteSink? Note { get; init; }

    /// <summary>Gets how long training and scoring will take, once for each run, where that is long.</summary>
    public ForecastSink? Forecast { get; init; }
}

/// <summary>
/// Trains and scores clients on one device: a frozen base for all, the members of a group trained in one batched pass, groups side by side
/// in lanes. Everything is a function of plan, round and the members whose data could be read, so the same call gives the same bits.
/// Prompts are let in between steps and batches, and change no bit of either.
/// </summary>
public sealed partial class LocalTrainer : ITrainer, IPrompter, IDisposable
{
    // With the score of each row, four million rows.
    private const long MaxScoreBytes = 64L << 20;

    private readonly LocalTrainerOptions _options;
    private readonly DeviceLanes _lanes;
    private readonly FrozenBases _bases;
    private readonly BoundedCache _cache;
    private readonly BoundedCache _scores = new(MaxScoreBytes);
    private readonly AdapterSource _adapters;
    private readonly TaskCache _tasks;
    private readonly ConcurrentDictionary<string, bool> _said = new(StringComparer.Ordinal);
    private int _scorings;

    /// <summary>Starts the device's lanes; models are loaded when they are first needed.</summary>
    /// <exception cref="InvalidOperationException">A GPU is not there, or cannot be told to give equal bits each time.</exception>
    public LocalTrainer(LocalTrainerOptions options)
    {
        _options = options;
        var device = DeviceNames.DeviceOf(options.Device);
        Determinism.Require(device);
        _lanes = new DeviceLanes(device, options.Lanes, options.LaneBytes);
        _cache = new BoundedCache(options.MaxCachedBytes);
        _adapters = new AdapterSource(options.Root, options.Note);
        _bases = new FrozenBases(_lanes, new LocalInputs(options.Root));
        _tasks = new TaskCache(_cache, PathOf);
    }

    /// <summary>How often rows went through the model for a score; equal tensors on equal rows do once.</summary>
    internal int Scorings => Volatile.Read(ref _scorings);

    /// <summary>How often a model was mapped.</summary>
    internal int Loads => _bases.Loads;

    /// <summary>Memory that its lanes may have.</summary>
    internal long LaneBytes => _lanes.Bytes;

    /// <summary>Notes and forecasts are said again: another run begins.</summary>
    internal void ForgetWhatWasSaid() => _said.Clear();

    /// <inheritdoc/>
    public DeviceNow? Device
    {
        get
        {
            var engine = Engine.Fingerprint(_lanes.Device, threads: 1);
            var (busy, queued) = _lanes.Load;
            return new(_options.Device, $"{engine.Library}; {engine.Kernels}", _lanes.Count, busy, queued);
        }
    }

    /// <inheritdoc/>
    public Task<EngineFingerprint> FingerprintAsync(FederationPlan plan, CancellationToken cancellationToken = default) => Task.Run(
        () => Engine.Fingerprint(
            _lanes.Device, LaneDemand.ThreadsOf(plan.Training.Threads), plan.Training.Compute, plan.Model.Storage) with
        {
            Given = _adapters.Given(plan)?.Sha256, Values = PlanText.ValuesOf(plan),
        }, cancellationToken);

    /// <inheritdoc/>
    public Task<int> GroupSizeAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        Task.Run(() => GroupSizing.Of(plan, PathOf(plan.Model.Path)), cancellationToken);

    /// <inheritdoc/>
    public async Task<AdapterState> InitialSharedAsync(FederationPlan plan, CancellationToken cancellationToken = default)
    {
        // What training would stumble over is said before the first round, once for all tasks.
        ComputeUnits.Require(plan.Training, _lanes.Device);
        await Task.Run(() => FrozenBase.Check(PathOf(plan.Model.Path)), cancellationToken);
        return await InitialAsync(plan, Scope.Job, task: null, cancellationToken);
    }

    /// <inheritdoc/>
    public async Task<AdapterState> InitialOfTaskAsync(
        FederationPlan plan, string task, CancellationToken cancellationToken = default) =>
        plan.Adapter.Has(Scope.Task) ? await InitialAsync(plan, Scope.Task, task, cancellationToken) : AdapterState.Empty;

    /// <inheritdoc/>
    public async Task<AdvancedState> AdvanceAsync(
        FederationPlan plan, int round, AdapterState state, string? task, CancellationToken cancellationToken = default)
    {
        var adapter = plan.AdapterAt(round);
        if (adapter is { Links: 0, IsMasked: false }) return new(state, new HashSet<string>());
        var scope = task is null ? Scope.Job : Scope.Task;
        return await _lanes.RunBetweenAsync(LaneDemand.ThreadsOf(plan.Training.Threads), (_, _) =>
        {
            var layout = _adapters.LayoutOf(plan with { Adapter = adapter }, FrozenBase.LayersOf(PathOf(plan.Model.Path)), NoModel);
            return AdapterLifecycle.Advance(layout, state, scope, plan.Seed, client: null, task);
        }, cancellationToken);

        static CausalLanguageModel NoModel() => throw new InvalidOperationException("a lifecycle looks at no weight");
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<TrainingResult>> TrainAsync(TrainingGroup group, CancellationToken cancellationToken = default)
    {
        ComputeUnits.Require(group.Plan.Training, _lanes.Device);
        var (model, layout) = await PrepareAsync(group, cancellationToken);
        ObjectiveTerms.Check(group.Plan, layout, group.Shared);
        var rows = new List<(GroupMember Member, TrainingRows Rows)>();
        var results = new Dictionary<string, TrainingResult>(StringComparer.Ordinal);
        foreach (var member in group.Members)
        {
            var failed = await GuardAsync<TrainingResult?>(
                async () =>
                {
                    rows.Add((member, await TrainingRowsAsync(group.Plan, member.Client, model, cancellationToken)));
                    return null;
                },
                failure => new TrainingResult { ClientId = member.Client.Id, Failure = failure });
            if (failed is not null) results.Add(member.Client.Id, failed);
        }

        if (rows.Count > 0)
        {
            var bytes = WorkMemory.OfTraining(group.Plan, layout, model.Model, [.. rows.Select(static member => member.Rows)]);
            var (trained, waited) = await _lanes.RunAsync(
                DemandOf(group, bytes), stopped => Train(group, rows, model, layout, stopped), cancellationToken);
            foreach (var (id, result) in trained)
                results.Add(id, result with { Numbers = result.Numbers with { WaitedSeconds = waited.TotalSeconds } });
        }

        return [.. group.Members.Select(member => results[member.Client.Id])];
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<EvaluationResult>> EvaluateAsync(TrainingGroup group, CancellationToken cancellationToken = default)
    {
        var (model, layout) = await PrepareAsync(group, cancellationToken);
        var digests = new ConcurrentDictionary<NamedArray, string>(ReferenceEqualityComparer.Instance);
        return await Task.WhenAll(group.Members.Select(member => GuardAsync(
            () => EvaluateAsync(group, member, model, layout, digests, cancellationToken),
            failure => new EvaluationResult { ClientId = member.Client.Id, Failure = failure })));
    }

    /// <summary>Ends the lanes, with the step that each is at, and frees the models; returns when they have ended.</summary>
    public void Dispose()
    {
        // Under a thread that is still at work, weights are not freed: the process ends without.
        if (!_lanes.Close()) return;
        _bases.Dispose();
        _lanes.Dispose();
    }

    private async Task<AdapterState> InitialAsync(FederationPlan plan, Scope scope, string? task, CancellationToken cancellationToken)
    {
        var folder = PathOf(plan.Model.Path);
        var given = await Task.Run(() => _adapters.Given(plan), cancellationToken);
        var fromWeights = given is null && plan.Adapter.BeginsFromWeight;
        var looksAtWeights = plan.Adapter.Decomposed || fromWeights || given is { Spec.Decomposed: true } || given?.BaseTensors.Count > 0
            || given?.Base is not null;
        var model = looksAtWeights ? await BaseAsync(plan, cancellationToken) : null;
        if (given is not null) await Task.Run(() => given.CheckBiases(ModelConfig.Load(folder)), cancellationToken);
        var (initial, _) = await _lanes.RunAsync(new(plan.Name, LaneDemand.ThreadsOf(plan.Training.Threads), Bytes: 0), _ =>
        {
            if (model is not null) given?.CheckBase(model.Model);
            var other = model is null ? null : given?.Base?.OtherThan(model.Model, model.Parts!.Weights, plan.Model.Storage);
            var line = $"{given?.Folder}: was trained on another base: {other}";
            if (other is not null && _said.TryAdd(line, true)) _options.Note?.Invoke(line);
            var layout = _adapters.LayoutOf(plan, FrozenBase.LayersOf(folder), () => model!.Model);
            return scope != Scope.Job ? layout.Initial(plan.Seed, client: null, tensor => tensor.Scope == scope, task)
                : new([.. layout.InitialShared(plan.Seed), .. ObjectiveTerms.Vectors(plan, layout)
                    .Select(static vector => KeyValuePair.Create(vector.Key, new NamedArray(
                        vector.Value, new float[NamedArray.Count(vector.Value)])))]);
        }, cancellationToken);
        return initial;
    }

    private IReadOnlyDictionary<string, TrainingResult> Train(
        TrainingGroup group, List<(GroupMember Member, TrainingRows Rows)> members, FrozenBase model, AdapterLayout layout,
        CancellationToken cancellationToken)
    {
        using var scope = NewDisposeScope();
        var forecast = ForecastOf(group, members);
        return GroupTraining.Run(model, group, layout, members, _lanes.Device, cancellationToken, Between(forecast));
    }

    // After each step or batch.
    private Action<double> Between(Forecast forecast) => share =>
    {
        forecast.Reached(share);
        _lanes.LetIn();
    };

    // Of the run's first group alone: what follows takes about as long.
    private Forecast ForecastOf(TrainingGroup group, List<(GroupMember Member, TrainingRows Rows)> members)
    {
        var plan = group.Plan;
        int StepsOf(ClientSpec client) => client.Steps ?? plan.Training.Steps;
        var (own, round) = (members.Sum(member => (long)StepsOf(member.Member.Client)), plan.Clients.Sum(client => (long)StepsOf(client)));
        var lanes = Math.Min(_lanes.Count, (int)Math.Ceiling((double)plan.Clients.Count / members.Count));
        return new(Sink("training", group), time => $"training {members.Count} clients in round {group.Round} takes about "
            + $"{Forecast.Shown(time)}; {plan.Strategy.Rounds} rounds of all {plan.Clients.Count} about "
            + Forecast.Shown(time * ((double)round / own / lanes * plan.Strategy.Rounds)));
    }

    private ForecastSink? Sink(string work, TrainingGroup group) => _options.Forecast is not { } sink ? null : line =>
    {
        if (_said.TryAdd($"{work} {group.Run ?? group.Plan.Name}", true)) sink(line);
    };

    private async Task<EvaluationResult> EvaluateAsync(
        TrainingGroup group, GroupMember member, FrozenBase model, AdapterLayout layout, ConcurrentDictionary<NamedArray, string> digests,
        CancellationToken cancellationToken)
    {
        if (member.Client.Data.Test is not { } path) return new EvaluationResult { ClientId = member.Client.Id };
        var rows = await TestRowsAsync(group, member.Client, path, model, cancellationToken);
        var (adapter, _) = await _lanes.RunAsync(
            DemandOf(group, bytes: 0), _ => AdapterFactory.Of(group, layout, member), cancellationToken);
        var digest = await Task.Run(() => adapter.Digest(digests), cancellationToken);
        var score = await ScoreAsync(group, model, digest is null ? null : adapter, digest, rows, cancellationToken);
        var result = Scoring.For(member.Client.Id, rows, score);
        var frozen = await OfBaseAsync(group, model, rows, cancellationToken);
        return frozen is null ? result : Scoring.Beside(result, frozen);
    }

    private Task<EvaluationResult> ScoreAsync(
        TrainingGroup group, FrozenBase model, ClientAdapter? adapter, string? digest, TestRows test,
        CancellationToken cancellationToken) =>
        _scores.GetAsync(
            ScoreKey(group.Plan, model, test, digest),
            async () => (await _lanes.RunAsync(
                DemandOf(group, WorkMemory.OfScoring(model.Model, adapter?.Layout)),
                stopped => Score(group, model, adapter, test, stopped), cancellationToken)).Result,
            SizeOf, cancellationToken);

    // The frozen base on the same rows; null where it computes no score, which is kept too.
    private async Task<EvaluationResult?> OfBaseAsync(
        TrainingGroup group, FrozenBase model, TestRows test, CancellationToken cancellationToken)
    {
        var frozen = await _scores.GetAsync(
            $"base {ScoreKey(group.Plan, model, test, adapter: null)}",
            async () =>
            {
                try
                {
                    return new BaseScore(await ScoreAsync(group, model, adapter: null, digest: null, test, cancellationToken));
                }
                catch (BadInputException)
                {
                    // The client's own score says what is wrong with rows; a base that overflows is not the doing of a client.
                    return new BaseScore(null);
                }
            },
            static frozen => SizeOf(frozen.Score), cancellationToken);
        return frozen.Score;
    }

    private sealed record BaseScore(EvaluationResult? Score);

    // Null scores the frozen base.
    private EvaluationResult Score(
        TrainingGroup group, FrozenBase model, ClientAdapter? adapter, TestRows test, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _scorings);
        using var scope = NewDisposeScope();
        using var pass = adapter is null ? null : AdapterPass.Evaluating(PlacedAdapter.Create(adapter, _lanes.Device), model.Model);
        var plan = group.Plan;
        var forecast = new Forecast(Sink("scoring", group),
            time => $"scoring the {test.Rows.Count} rows of a client takes about {Forecast.Shown(time)}");
        var rows = new ScoredRows(model, pass, EncoderOf(plan, model), test, plan.Evaluation)
        {
            Progress = Between(forecast), Between = _lanes.LetIn,
        };
        return Scoring.Of(rows, cancellationToken);
    }

    // Which rows are scored is in their digest. What stands here without need costs a scoring; what is forgotten here gives a client
    // the score of another.
    private string ScoreKey(FederationPlan plan, FrozenBase model, TestRows rows, string? adapter)
    {
        var evaluation = JsonSerializer.Serialize(plan.Evaluation with { EveryRounds = 1, MaxRows = null, LocalOnly = false });
        var threads = LaneDemand.ThreadsOf(plan.Training.Threads);
        return $"{BaseKey(plan, model)} {plan.Model.Storage} threads {threads} rows {rows.Digest} adapter {adapter ?? "none"} {evaluation}";
    }

    private static long SizeOf(EvaluationResult? score) => 2048 + 16L * (score?.RowScores.Count ?? 0);

    private async Task<(FrozenBase Model, AdapterLayout Layout)> PrepareAsync(TrainingGroup group, CancellationToken cancellationToken)
    {
        var model = await BaseAsync(group.Plan, cancellationToken);
        var plan = group.Plan with { Adapter = group.Plan.AdapterAt(group.Round) };
        var layout = _adapters.LayoutOf(plan, model.Model.AdaptableLayers, () => model.Model);
        // A round is sent what was committed before it.
        var shared = (await AdvanceAsync(group.Plan, group.Round, group.Shared, task: null, cancellationToken)).State;
        layout.Check(shared, Scope.Job, "shared state");
        return (model, layout);
    }

    private Task<FrozenBase> BaseAsync(FederationPlan plan, CancellationToken cancellationToken) =>
        _bases.GetAsync(plan, PathOf(plan.Model.Path), cancellationToken);

    private static LaneDemand DemandOf(TrainingGroup group, long bytes) =>
        new(group.Run ?? group.Plan.Name, LaneDemand.ThreadsOf(group.Plan.Training.Threads), bytes);

    private Task<TrainingRows> TrainingRowsAsync(
        FederationPlan plan, ClientSpec client, FrozenBase model, CancellationToken cancellationToken)
    {
        var path = PathOf(client.Data.Train);
        var shuffled = client.Data.ShuffleLabels ? $"{plan.Seed} {client.Id}" : "";
        var key = $"train {KeyOf(plan, path, model)} {client.Data.Offset} {client.Data.Rows} {shuffled}";
        return _cache.GetAsync(
            key,
            () => Task.Run(
                () => ClientData.TrainingAsync(path, client, plan.Seed, EncoderOf(plan, model), cancellationToken),
                cancellationToken),
            static rows => rows.SizeBytes, cancellationToken);
    }

    private async Task<TestRows> TestRowsAsync(
        TrainingGroup group, ClientSpec client, string test, FrozenBase model, CancellationToken cancellationToken)
    {
        var plan = group.Plan;
        var (version, task) = await _tasks.GetAsync(group, client, cancellationToken);
        var path = PathOf(test);
        var key = $"test {KeyOf(plan, path, model)} {plan.Evaluation.MaxRows} of {client.Id} in {version}";
        return await _cache.GetAsync(
            key,
            () => Task.Run(
                () => ClientData.TestAsync(path, plan.Evaluation.MaxRows, client, task, EncoderOf(plan, model), cancellationToken),
                cancellationToken),
            static rows => rows.SizeBytes, cancellationToken);
    }

    private string KeyOf(FederationPlan plan, string path, FrozenBase model) => $"{TaskCache.VersionOf(path)} {BaseKey(plan, model)}";

    private string BaseKey(FederationPlan plan, FrozenBase model) => $"{PathOf(plan.Model.Path)} {model.Parts} {plan.Training.MaxTokens}";

    private static RowEncoder EncoderOf(FederationPlan plan, FrozenBase model) => model.Encoder(plan.Training.MaxTokens);

    private string PathOf(string path) => Path.GetFullPath(path, Path.GetFullPath(_options.Root));

    // A member's bad file or diverged training is data of the round.
    private static async Task<T> GuardAsync<T>(Func<Task<T>> work, Func<string, T> failed)
    {
        try
        {
            return await work();
        }
        catch (BadInputException exception)
        {
            return failed(exception.Message);
        }
    }
}
