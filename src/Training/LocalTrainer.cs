using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data;
using FedRLora.Training.Inputs;
using FedRLora.Training.Metrics;
using FedRLora.Training.Models;
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

    /// <summary>A libtorch device, for example <c>cpu</c> or <c>cuda:0</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Encoded rows kept in memory between rounds.</summary>
    public long MaxCachedBytes { get; init; } = 1L << 30;

    /// <summary>Gets what is to be known of the adapter that a plan starts from, when its folder is read.</summary>
    public NoteSink? Note { get; init; }
}

/// <summary>
/// Trains and scores clients on one device: a frozen base for all, one lane, the members of a group trained in one batched pass. Everything
/// is a function of plan, round and the members whose data could be read, so the same call gives the same bits.
/// </summary>
public sealed class LocalTrainer : ITrainer, IDisposable
{
    // With the score of each row, four million rows.
    private const long MaxScoreBytes = 64L << 20;

    private readonly LocalTrainerOptions _options;
    private readonly DeviceLane _lane;
    private readonly BoundedCache _cache;
    private readonly BoundedCache _scores = new(MaxScoreBytes);
    private readonly AdapterSource _adapters;
    private readonly LocalInputs _inputs;
    private readonly TaskCache _tasks;
    private readonly ConcurrentDictionary<(string Folder, WeightStorage Storage), FrozenBase> _bases = new();
    private int _scorings;
    private bool _disposed;

    /// <summary>Starts the device's lane; models are loaded when they are first needed.</summary>
    public LocalTrainer(LocalTrainerOptions options)
    {
        _options = options;
        _lane = new DeviceLane(device(options.Device));
        _cache = new BoundedCache(options.MaxCachedBytes);
        _adapters = new AdapterSource(options.Root, options.Note);
        _inputs = new LocalInputs(options.Root);
        _tasks = new TaskCache(_cache, PathOf);
    }

    /// <summary>How often rows went through the model for a score; equal tensors on equal rows do once.</summary>
    internal int Scorings => Volatile.Read(ref _scorings);

    /// <inheritdoc/>
    public Task<EngineFingerprint> FingerprintAsync(FederationPlan plan, CancellationToken cancellationToken = default) => Task.Run(
        () => Engine.Fingerprint(_lane.Device, DeviceLane.ThreadsOf(plan.Training.Threads)) with
        {
            Given = _adapters.Given(plan)?.Sha256, Values = PlanText.ValuesOf(plan),
        }, cancellationToken);

    /// <inheritdoc/>
    public async Task<AdapterState> InitialSharedAsync(FederationPlan plan, CancellationToken cancellationToken = default)
    {
        var folder = PathOf(plan.Model.Path);
        await Task.Run(() => FrozenBase.Check(folder), cancellationToken); // what training would stumble over is said before the first round
        var given = await Task.Run(() => _adapters.Given(plan), cancellationToken);
        var looksAtWeights = plan.Adapter.Decomposed || given is { Spec.Decomposed: true } || given?.BaseTensors.Count > 0;
        var model = looksAtWeights ? await BaseAsync(plan, cancellationToken) : null;
        if (given is not null) await Task.Run(() => given.CheckBiases(ModelConfig.Load(folder)), cancellationToken);
        return await _lane.RunAsync(() =>
        {
            if (model is not null) given?.CheckBase(model.Model);
            var layout = _adapters.LayoutOf(plan, FrozenBase.LayersOf(folder), () => model!.Model);
            return layout.Initial(plan.Seed, null, static tensor => tensor.Scope == Scope.Job);
        }, plan.Training.Threads, cancellationToken);
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<TrainingResult>> TrainAsync(TrainingGroup group, CancellationToken cancellationToken = default)
    {
        var (model, layout) = await PrepareAsync(group, cancellationToken);
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
            foreach (var (id, result) in await _lane.RunAsync(() => Train(group, rows, model, layout, cancellationToken), group.Plan.Training.Threads, cancellationToken))
                results.Add(id, result);
        }

        return [.. group.Members.Select(member => results[member.Client.Id])];
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<EvaluationResult>> EvaluateAsync(TrainingGroup group, CancellationToken cancellationToken = default)
    {
        var (model, layout) = await PrepareAsync(group, cancellationToken);
        var results = new List<EvaluationResult>(group.Members.Count);
        var digests = new Dictionary<NamedArray, string>(ReferenceEqualityComparer.Instance);
        foreach (var member in group.Members)
        {
            results.Add(await GuardAsync(
                async () =>
                {
                    if (member.Client.Data.Test is not { } path) return new EvaluationResult { ClientId = member.Client.Id };
                    var rows = await TestRowsAsync(group, member.Client, path, model, cancellationToken);
                    var adapter = await _lane.RunAsync(
                        () => AdapterFactory.Parts(group.Plan, layout, member.Client, group.Shared, member.Head),
                        group.Plan.Training.Threads, cancellationToken);
                    var digest = await Task.Run(() => adapter.Digest(digests), cancellationToken);
                    var score = await ScoreAsync(group.Plan, model, digest is null ? null : adapter, digest, rows, cancellationToken);
                    var result = Scoring.For(member.Client.Id, rows, score);
                    var frozen = await OfBaseAsync(group.Plan, model, rows, cancellationToken);
                    return frozen is null ? result : Scoring.Beside(result, frozen);
                },
                failure => new EvaluationResult { ClientId = member.Client.Id, Failure = failure }));
        }

        return results;
    }

    /// <summary>Frees the models and ends the lane after the work that it has; returns when it has ended.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, true)) return;
        _ = _lane.RunAsync(() =>
        {
            foreach (var model in _bases.Values) model.Dispose();
            return true;
        }, 0, CancellationToken.None);
        _lane.Dispose();
    }

    private IReadOnlyDictionary<string, TrainingResult> Train(
        TrainingGroup group, List<(GroupMember Member, TrainingRows Rows)> members, FrozenBase model, AdapterLayout layout, CancellationToken cancellationToken)
    {
        using var scope = NewDisposeScope();
        return GroupTraining.Run(model, group, layout, members, _lane.Device, cancellationToken);
    }

    private Task<EvaluationResult> ScoreAsync(
        FederationPlan plan, FrozenBase model, AdapterParts? adapter, string? digest, TestRows test, CancellationToken cancellationToken) =>
        _scores.GetAsync(
            ScoreKey(plan, model, test, digest),
            () => _lane.RunAsync(() => Score(plan, model, adapter, test, cancellationToken), plan.Training.Threads, cancellationToken),
            SizeOf, cancellationToken);

    // The frozen base on the same rows; null where it computes no score, which is kept too.
    private async Task<EvaluationResult?> OfBaseAsync(
        FederationPlan plan, FrozenBase model, TestRows test, CancellationToken cancellationToken)
    {
        var frozen = await _scores.GetAsync(
            $"base {ScoreKey(plan, model, test, adapter: null)}",
            async () =>
            {
                try
                {
                    return new BaseScore(await ScoreAsync(plan, model, adapter: null, digest: null, test, cancellationToken));
                }
                catch (BadInputException)
                {
                    // The client's own score says what is wrong with rows; a base that overflows is no fault of a client.
                    return new BaseScore(null);
                }
            },
            static frozen => SizeOf(frozen.Score), cancellationToken);
        return frozen.Score;
    }

    private sealed record BaseScore(EvaluationResult? Score);

    // Null scores the frozen base.
    private EvaluationResult Score(
        FederationPlan plan, FrozenBase model, AdapterParts? adapter, TestRows test, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _scorings);
        using var scope = NewDisposeScope();
        using var pass = adapter is null ? null : AdapterPass.Evaluating(AdapterFactory.Create(adapter, _lane.Device, model.Model));
        return Scoring.Of(new ScoredRows(model, pass, EncoderOf(plan, model), test, plan.Evaluation), cancellationToken);
    }

    // Which rows are scored is in their digest. What stands here without need costs a scoring; what is forgotten here gives a client
    // the score of another.
    private string ScoreKey(FederationPlan plan, FrozenBase model, TestRows rows, string? adapter)
    {
        var evaluation = JsonSerializer.Serialize(plan.Evaluation with { EveryRounds = 1, MaxRows = null, LocalOnly = false });
        var threads = DeviceLane.ThreadsOf(plan.Training.Threads);
        return $"{BaseKey(plan, model)} {plan.Model.Storage} threads {threads} rows {rows.Digest} adapter {adapter ?? "none"} {evaluation}";
    }

    private static long SizeOf(EvaluationResult? score) => 2048 + 16L * (score?.RowScores.Count ?? 0);

    private async Task<(FrozenBase Model, AdapterLayout Layout)> PrepareAsync(TrainingGroup group, CancellationToken cancellationToken)
    {
        var model = await BaseAsync(group.Plan, cancellationToken);
        var layout = _adapters.LayoutOf(group.Plan, model.Model.AdaptableLayers, () => model.Model);
        layout.Check(group.Shared, Scope.Job, "shared state");
        return (model, layout);
    }

    private async Task<FrozenBase> BaseAsync(FederationPlan plan, CancellationToken cancellationToken)
    {
        var key = (Folder: PathOf(plan.Model.Path), plan.Model.Storage);
        var parts = (await _inputs.BaseAsync(plan, cancellationToken)).Parts;
        return IsLoaded(out var loaded) ? loaded : await _lane.RunAsync(Load, plan.Training.Threads, cancellationToken);

        bool IsLoaded([NotNullWhen(true)] out FrozenBase? model) => _bases.TryGetValue(key, out model) && model.Parts == parts;

        FrozenBase Load()
        {
            if (IsLoaded(out var before)) return before;
            var model = FrozenBase.Load(key.Folder, _lane.Device, key.Storage, parts);
            if (_inputs.BaseOf(key.Folder, cancellationToken).Parts != parts)
            {
                model.Dispose();
                throw new BadInputException($"{key.Folder}: was changed while it was loaded; wait until that is done");
            }

            return _bases[key] = model; // one before it, of a folder that was changed, may still be in use: it goes with its last user
        }
    }

    private Task<TrainingRows> TrainingRowsAsync(FederationPlan plan, ClientSpec client, FrozenBase model, CancellationToken cancellationToken)
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
