using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Abstractions.Ports;

/// <summary>
/// Trains and scores clients on this silo's device. Everything is a function of its arguments: the same group gives the same
/// bits on the same engine, whoever asks and however often.
/// </summary>
public interface ITrainer
{
    /// <summary>Its device as it is now; null where it does not say.</summary>
    DeviceNow? Device => null;

    /// <summary>What the bits depend on besides the plan: library, BLAS, kernel set, threads.</summary>
    Task<EngineFingerprint> FingerprintAsync(FederationPlan plan, CancellationToken cancellationToken = default);

    /// <summary>
    /// How many clients of a site train together: what the plan says, or what follows from its values and the model's shapes. Chosen once,
    /// when a run begins.
    /// </summary>
    /// <exception cref="BadInputException">The model folder is not usable.</exception>
    Task<int> GroupSizeAsync(FederationPlan plan, CancellationToken cancellationToken = default);

    /// <summary>The initial values of every tensor of scope Job, and zeros for every statistic that the plan declares.</summary>
    /// <exception cref="BadInputException">The model folder is not usable, or the adapter does not fit it.</exception>
    Task<AdapterState> InitialSharedAsync(FederationPlan plan, CancellationToken cancellationToken = default);

    /// <summary>The initial values of every tensor of scope Task for a task of the plan; empty where the method has none.</summary>
    /// <exception cref="BadInputException">The model folder is not usable, or the adapter does not fit it.</exception>
    Task<AdapterState> InitialOfTaskAsync(FederationPlan plan, string task, CancellationToken cancellationToken = default);

    /// <summary>
    /// What clients share as a round begins with it, where the method's lifecycle has changed that since it was committed; else the same.
    /// A pure function of its arguments, and of its own result the identity.
    /// </summary>
    /// <param name="plan">The plan.</param>
    /// <param name="round">The round that begins.</param>
    /// <param name="state">Tensors of scope Job, or those of scope Task as a task's clients have them, as committed.</param>
    /// <param name="task">The task; null for scope Job.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    Task<AdvancedState> AdvanceAsync(
        FederationPlan plan, int round, AdapterState state, string? task, CancellationToken cancellationToken = default) =>
        Task.FromResult(new AdvancedState(state, new HashSet<string>()));

    /// <summary>Trains a group for one round. The results are in the members' order; a member's failure is in its result.</summary>
    Task<IReadOnlyList<TrainingResult>> TrainAsync(TrainingGroup group, CancellationToken cancellationToken = default);

    /// <summary>Scores a group. The results are in the members' order; a member's failure is in its result.</summary>
    Task<IReadOnlyList<EvaluationResult>> EvaluateAsync(TrainingGroup group, CancellationToken cancellationToken = default);
}

/// <summary>A state as a round begins with it.</summary>
/// <param name="State">The tensors.</param>
/// <param name="Begun">Those that began again: what an optimizer remembers of them is void.</param>
public sealed record AdvancedState(AdapterState State, IReadOnlySet<string> Begun);

/// <summary>What the bits of a run depend on besides the plan.</summary>
/// <param name="Library">For example <c>TorchSharp 0.107.0, libtorch 2.10.0</c>.</param>
/// <param name="Kernels">CPU kernel set or device.</param>
/// <param name="Threads">Threads of a matrix product.</param>
/// <param name="Given">Digest of the adapter that the plan starts from; null where it starts from a seed.</param>
/// <param name="Values">
/// Digest of the values of adapter and training, those that the plan leaves to the version too; null where they were not recorded.
/// </param>
/// <param name="GroupSize">
/// Clients of a site that train together, as it was chosen when the run began; null where it was not recorded.
/// </param>
public sealed record EngineFingerprint(
    string Library, string Kernels, int Threads, string? Given = null, string? Values = null, int? GroupSize = null)
{
    /// <summary>On one line, as manifests hold it.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public string Text => string.Create(
        CultureInfo.InvariantCulture,
        $"{Library}; {Kernels}; threads {Threads}"
        + $"{(Given is null ? "" : $"; adapter {Given}")}{(Values is null ? "" : $"; values {Values}")}"
        + $"{(GroupSize is { } size ? $"; groups of {size}" : "")}");

    /// <summary>Reads <see cref="Text"/>; null where the text says something else besides.</summary>
    public static EngineFingerprint? Parse(string text)
    {
        const string Threaded = "threads ", Adapted = "adapter ", Valued = "values ", Grouped = "groups of ";
        if (text.Split("; ") is not [var library, var kernels, var threads, .. var rest]) return null;
        if (!threads.StartsWith(Threaded, StringComparison.Ordinal)) return null;
        if (!int.TryParse(threads.AsSpan(Threaded.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var count)) return null;
        int? size = int.TryParse(After(Grouped), NumberStyles.None, CultureInfo.InvariantCulture, out var grouped) ? grouped : null;
        var engine = new EngineFingerprint(library, kernels, count, After(Adapted), After(Valued), size);
        return engine.Text == text ? engine : null;

        string? After(string word) => rest.FirstOrDefault(part => part.StartsWith(word, StringComparison.Ordinal))?[word.Length..];
    }
}

/// <summary>Clients trained in one batched pass over one base, cut from the sorted cohort of a site.</summary>
public sealed record TrainingGroup
{
    /// <summary>The plan.</summary>
    public required FederationPlan Plan { get; init; }

    /// <summary>The round to train, from 1; 0 scores the start.</summary>
    public required int Round { get; init; }

    /// <summary>Absolute values of every tensor of scope Job, and the plan's statistics of the round before.</summary>
    public required AdapterState Shared { get; init; }

    /// <summary>The members, in client-id order.</summary>
    public required IReadOnlyList<GroupMember> Members { get; init; }

    /// <summary>The run that it is a part of: on a device that has work of several, runs take turns. Null takes the plan's name.</summary>
    public string? Run { get; init; }
}

/// <summary>A member with what it owns.</summary>
public sealed record GroupMember
{
    /// <summary>Its client.</summary>
    public required ClientSpec Client { get; init; }

    /// <summary>Absolute values of every tensor of scope Task, as the clients of its task have them; empty where there is none.</summary>
    public AdapterState OfTask { get; init; } = AdapterState.Empty;

    /// <summary>Absolute values of its tensors of scope Client; null before its first round.</summary>
    public AdapterState? Head { get; init; }

    /// <summary>AdamW moments, step counts and what terms of the objective remember; null starts afresh.</summary>
    public AdapterState? Optimizer { get; init; }
}

/// <summary>What a member's training gave.</summary>
public sealed record TrainingResult
{
    /// <summary>Its client.</summary>
    [GoesTo(Audience.Everyone)]
    public required string ClientId { get; init; }

    /// <summary>Why it failed, in one line; null when it did not, and only then the states are there.</summary>
    [GoesTo(Audience.Everyone)]
    public string? Failure { get; init; }

    /// <summary>Whether nothing is reported for this member, as if it had died at its work.</summary>
    [GoesTo(Audience.Site)]
    public bool Silent { get; init; }

    /// <summary>
    /// After minus before of every tensor of scope Job or Task that trains in the round, and every statistic that the plan declares.
    /// </summary>
    [GoesTo(Audience.Coordinator)]
    public AdapterState Update { get; init; } = AdapterState.Empty;

    /// <summary>Absolute values of its tensors of scope Client.</summary>
    [GoesTo(Audience.Site)]
    public AdapterState Head { get; init; } = AdapterState.Empty;

    /// <summary>AdamW moments, step counts and what terms of the objective remember.</summary>
    [GoesTo(Audience.Site)]
    public AdapterState Optimizer { get; init; } = AdapterState.Empty;

    /// <summary>What it gave in numbers, each with its own audience; of a failed one, how long its group waited for the device.</summary>
    [GoesTo(Audience.Everyone)]
    public TrainingNumbers Numbers { get; init; } = new();

    /// <summary>What has to be known of its training rows.</summary>
    [GoesTo(Audience.Everyone)]
    public IReadOnlyList<DataNote> Notes { get; init; } = [];

    /// <summary>
    /// Its steps at the plan's interval, also where it failed; further than the site they go only as the plan and the site let them.
    /// </summary>
    [GoesTo(Audience.Site)]
    public IReadOnlyList<StepPoint> Points { get; init; } = [];
}

/// <summary>What a member's scoring gave.</summary>
public sealed record EvaluationResult
{
    /// <summary>Its client.</summary>
    [GoesTo(Audience.Everyone)]
    public required string ClientId { get; init; }

    /// <summary>Why it failed, in one line; null when it did not.</summary>
    [GoesTo(Audience.Everyone)]
    public string? Failure { get; init; }

    /// <summary>Rows scored; 0 where the client has no test rows.</summary>
    [GoesTo(Audience.Everyone)]
    public int Rows { get; init; }

    /// <summary>Mean completion loss per token of the test rows.</summary>
    [GoesTo(Audience.Everyone)]
    public double Loss { get; init; }

    /// <summary>Name of the metric, as a plan writes it.</summary>
    [GoesTo(Audience.Everyone)]
    public string Metric { get; init; } = "";

    /// <summary>Its value.</summary>
    [GoesTo(Audience.Everyone)]
    public double Score { get; init; }

    /// <summary>What the best constant answer scores on the same rows, by the same rule; null where none can be compared.</summary>
    [GoesTo(Audience.Everyone)]
    public double? MajorityShare { get; init; }

    /// <summary>
    /// The labels that were told apart, by a digest: clients of a task with equal ones are scored alike; null without labels.
    /// </summary>
    [GoesTo(Audience.Everyone)]
    public string? Frame { get; init; }

    /// <summary>What has to be known of its test rows.</summary>
    [GoesTo(Audience.Everyone)]
    public IReadOnlyList<DataNote> Notes { get; init; } = [];

    /// <summary>Standard error of the score over the rows; null where it cannot be told.</summary>
    [GoesTo(Audience.Everyone)]
    public double? StandardError { get; init; }

    /// <summary>The frozen base on the same rows; null where it could not be scored.</summary>
    [GoesTo(Audience.Everyone)]
    public ScoreComparison? Base { get; init; }

    /// <summary>The label that makes up 95 % of the answers or more; null where there is none.</summary>
    [GoesTo(Audience.Everyone)]
    public string? Always { get; init; }

    /// <summary>Each row by itself, for comparisons at its site: these do not leave it.</summary>
    [GoesTo(Audience.Site)]
    public IReadOnlyList<RowScore> RowScores { get; init; } = [];
}

/// <summary>A row's part of a score: the score without its last step is the sum of values over the sum of weights.</summary>
/// <param name="Value">1 where the row was answered right and 0 where not; under perplexity its completion loss.</param>
/// <param name="Weight">1; under perplexity its completion tokens.</param>
public readonly record struct RowScore(double Value, int Weight);
