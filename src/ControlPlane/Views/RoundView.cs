using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>A client's part of a round, with nothing where nothing was measured. The row of metrics.csv.</summary>
internal sealed record ClientRow
{
    public required int Round { get; init; }
    public required string Client { get; init; }
    public required string Task { get; init; }
    public required ClientOutcome Outcome { get; init; }
    public string? Reason { get; init; }
    public double? Weight { get; init; }
    public int? Samples { get; init; }
    public int? Steps { get; init; }
    public double? MeanLoss { get; init; }
    public string? Metric { get; init; }
    public double? Score { get; init; }
    public double? TestLoss { get; init; }
    public int? Rows { get; init; }
    public double? MajorityShare { get; init; }
    public long? UpdateBytes { get; init; }
    public double? ProductNorm { get; init; }

    /// <summary>
    /// Seconds from its assignment to the report of its training; null where it did not report, or that was not measured.
    /// </summary>
    public double? ClientSeconds { get; init; }

    /// <summary>Its site.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public string Site { get; init; } = "";

    /// <summary>How its gates chose, by the layer in which one head took most.</summary>
    public GateUse? GateUse { get; init; }

    /// <summary>Rounds since the state that its update started from; null in synchronous rounds.</summary>
    public int? Staleness { get; init; }

    /// <summary>Standard error of the score over its rows.</summary>
    public double? StandardError { get; init; }

    /// <summary>The frozen base on the same rows.</summary>
    public ScoreComparison? Base { get; init; }

    /// <summary>The label that makes up 95 % of the answers or more.</summary>
    public string? Always { get; init; }

    /// <summary>The labels it was scored with, by a digest; clients of a task with another one chose among others.</summary>
    public string? Frame { get; init; }

    /// <summary>What has to be known of its rows.</summary>
    public IReadOnlyList<DataNote> Notes { get; init; } = [];

    /// <summary>Whether its task leaves nothing to choose, so that it stays out of means of what others choose.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public bool StaysAside => Notes.Any(static note => note.Kind == DataNoteKind.AutoOneLabel);

    /// <summary>Why a robust rule did not use its update as it came; JSON says so.</summary>
    public string? Curbed { get; init; }

    /// <summary>Why it is not in the aggregate although it belongs to the plan, in a word; null where it is or was not drawn.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public string? Trouble => Outcome switch
    {
        ClientOutcome.Late => "late", ClientOutcome.Failed => "failed", ClientOutcome.Refused => "refused",
        ClientOutcome.Quarantined => "in quarantine", _ => null,
    };

    /// <summary>Why it could not be scored; JSON and lines say so, the CSV leaves its score empty.</summary>
    public string? ScoreReason { get; init; }

    /// <summary>
    /// What was measured and is no number that JSON has, by the name of its value here, which is null; null where all are.
    /// </summary>
    public IReadOnlyDictionary<string, string>? NotFinite { get; init; }

    /// <summary>A number that was measured.</summary>
    public static double? Finite(double? value) => value is { } number && double.IsFinite(number) ? number : null;
}

/// <summary>The mean over the clients of a task, each counting alike; of scores none where metrics differ.</summary>
internal sealed record TaskView
{
    public required string Task { get; init; }

    /// <summary>Its clients in the plan.</summary>
    public int Clients => Members.Count;

    /// <summary>Clients of which the aggregate has an update.</summary>
    public int Trained => Members.Count(static client => client is { Round: > 0, Outcome: ClientOutcome.Trained });

    /// <summary>Clients that the mean score is of.</summary>
    public int Scored => Metric is null ? 0 : Compared.Count(static client => client.Score is not null);

    public string? Metric { get; init; }
    public double? Score { get; init; }

    /// <summary>Standard error of the score at most: what it is if all clients are scored on the same rows.</summary>
    public double? StandardError { get; init; }

    /// <summary>The frozen base, where it is known on the rows of all whose scores are in the mean.</summary>
    public double? BaseScore { get; init; }

    /// <summary>Standard error of score minus base at most, each client's paired row by row.</summary>
    public double? DifferenceError { get; init; }

    public double? TestLoss { get; init; }
    public double? MeanLoss { get; init; }

    /// <summary>Clients of the cohort without a training loss that <see cref="MeanLoss"/> could have.</summary>
    public int MeanLossLeftOut => RoundView.Asked(Members) - Members.Count(static client => client.MeanLoss is not null);

    /// <summary>Clients that were to be scored and that <see cref="Score"/> is not of.</summary>
    public int ScoreLeftOut => RoundView.Scorable(Members) - Scored;

    public double? MajorityShare { get; init; }

    /// <summary>Agreement of its clients' updates, where it has a state of its own that moved.</summary>
    public double? Coherence { get; init; }

    /// <summary>Why its state stayed as it was; null where it moved, or no tensor has scope task.</summary>
    public string? Kept { get; init; }

    /// <summary>Bytes of its clients' updates.</summary>
    public long UpdateBytes => Members.Sum(static client => client.UpdateBytes ?? 0);

    /// <summary>Its clients.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public IReadOnlyList<ClientRow> Members { get; init; } = [];

    /// <summary>Those whose scores make the mean.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public IReadOnlyList<ClientRow> Compared => RoundView.Compared(Members);
}

/// <summary>A committed round as it is shown: the one reading of a manifest that lines, tables, files and plots share.</summary>
internal sealed record RoundView
{
    public required int Round { get; init; }

    /// <summary>Seconds to the commit; 0 where it was not measured.</summary>
    public required double Seconds { get; init; }

    /// <summary>When and how it came to its commit; null where nobody wrote it down.</summary>
    public RoundTiming? Timing { get; init; }

    public required double? Coherence { get; init; }
    public required string Sha256 { get; init; }
    public required IReadOnlyList<ClientRow> Clients { get; init; }

    /// <summary>In the order of the plan.</summary>
    public required IReadOnlyList<TaskView> Tasks { get; init; }

    /// <summary>Why the states of tasks stayed as they were; empty where all moved, or no tensor has scope task.</summary>
    public IReadOnlyDictionary<string, string> Kept { get; init; } = new Dictionary<string, string>();

    /// <summary>Whether a task has several clients, so that its numbers are not those of its client.</summary>
    public bool HasTasks => Tasks.Count < Clients.Count;

    /// <summary>Mean training loss of the clients that trained.</summary>
    public double? MeanLoss => Mean(Clients.Select(static client => client.MeanLoss));

    /// <summary>Clients of the cohort without a training loss that the mean could have.</summary>
    public int MeanLossLeftOut => Asked(Clients) - Clients.Count(static client => client.MeanLoss is not null);

    /// <summary>Clients that were to be scored and that <see cref="MeanScore"/> is not of.</summary>
    public int MeanScoreLeftOut => Scorable(Clients)
        - (MeanScore is null ? 0 : Compared(Clients).Count(static client => client.Score is not null));

    /// <summary>Mean score over clients; none where metrics differ.</summary>
    public double? MeanScore
    {
        get
        {
            var compared = Compared(Clients);
            return SharedMetric(compared) is null ? null : Mean(compared.Select(static client => client.Score));
        }
    }

    /// <summary>Bytes of all updates.</summary>
    public long UpdateBytes => Clients.Sum(static client => client.UpdateBytes ?? 0);

    /// <param name="round">The round.</param>
    /// <param name="plan">Names the task and the site of each client; without it a client is its own task, and has no site.</param>
    public static RoundView Of(RoundSummary round, FederationPlan? plan)
    {
        var specs = plan?.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal) ?? [];
        var clients = round.Manifest.Clients.Select(client => RowOf(round, client, specs.GetValueOrDefault(client.Id))).ToList();
        var order = plan?.Clients.Select(static client => client.Task).Distinct().Select(static (task, index) => (task, index))
            .ToDictionary(static pair => pair.task, static pair => pair.index) ?? [];
        var states = (round.Manifest.Tasks ?? []).ToDictionary(static task => task.Task, StringComparer.Ordinal);
        return new()
        {
            Round = round.Manifest.Round,
            Seconds = round.Seconds,
            Timing = round.Timing,
            Coherence = ClientRow.Finite(round.Manifest.Coherence),
            Sha256 = round.ManifestSha256,
            Clients = clients,
            Kept = (round.Manifest.Tasks ?? []).Where(static task => task.Kept is not null)
                .ToDictionary(static task => task.Task, static task => task.Kept!, StringComparer.Ordinal),
            Tasks = [.. clients.GroupBy(static client => client.Task).OrderBy(group => order.GetValueOrDefault(group.Key, int.MaxValue))
                .Select(group => TaskOf(group.Key, [.. group], states.GetValueOrDefault(group.Key)))],
        };
    }

    /// <summary>A client's part of a round; null where the round's plan did not have it.</summary>
    public static ClientRow? RowOf(RoundSummary round, ClientSpec spec) =>
        round.Manifest.Clients.FirstOrDefault(client => client.Id == spec.Id) is { } client ? RowOf(round, client, spec) : null;

    /// <summary>Those whose scores make a mean together: all, or those that are not aside.</summary>
    public static IReadOnlyList<ClientRow> Compared(IReadOnlyList<ClientRow> clients) =>
        clients.Any(static client => client is { StaysAside: false, Metric: not null })
            ? [.. clients.Where(static client => !client.StaysAside)]
            : clients;

    /// <summary>
    /// The mean of what was measured; null where nothing was. It is summed from the smallest on, so that its last digit is the same
    /// whatever order clients come in.
    /// </summary>
    public static double? Mean(IEnumerable<double?> values)
    {
        double[] sorted = [.. values.OfType<double>().Order()];
        return sorted.Length == 0 ? null : sorted.Average();
    }

    private static TaskView TaskOf(string task, IReadOnlyList<ClientRow> clients, ManifestTask? state)
    {
        var compared = Compared(clients);
        var metric = SharedMetric(compared);
        List<ClientRow> scored = metric is null ? [] : [.. compared.Where(static client => client.Score is not null)];
        return new()
        {
            Task = task,
            Members = clients,
            Coherence = ClientRow.Finite(state?.Coherence),
            Kept = state?.Kept,
            Metric = metric,
            Score = Mean(scored.Select(static client => client.Score)),
            StandardError = ScoreErrors.OfMean([.. scored.Select(client => (task, client.StandardError))]),
            BaseScore = scored.All(static client => client.Base is not null)
                ? Mean(scored.Select(static client => client.Base?.Reference))
                : null,
            DifferenceError = ScoreErrors.OfMean([.. scored.Select(client => (task, client.Base?.StandardError))]),
            TestLoss = Mean(clients.Select(static client => client.TestLoss)),
            MeanLoss = Mean(clients.Select(static client => client.MeanLoss)),
            MajorityShare = metric is null ? null : Mean(compared.Select(static client => client.MajorityShare)),
        };
    }

    /// <summary>Clients of the cohort, whose training loss should be known; none where nobody trains.</summary>
    public static int Asked(IReadOnlyList<ClientRow> clients) =>
        clients.Count(static client => client.Round > 0 && IsAsked(client.Outcome));

    /// <summary>Whether a client with this outcome was of the cohort.</summary>
    public static bool IsAsked(ClientOutcome outcome) =>
        outcome is ClientOutcome.Trained or ClientOutcome.Late or ClientOutcome.Failed or ClientOutcome.Refused;

    /// <summary>Clients that were to be scored.</summary>
    public static int Scorable(IReadOnlyList<ClientRow> clients) =>
        clients.Count(static client => client.Metric is not null || client.ScoreReason is not null);

    /// <summary>The metric of all that are scored; null where metrics differ.</summary>
    public static string? SharedMetric(IReadOnlyList<ClientRow> clients) =>
        clients.Select(static client => client.Metric).OfType<string>().Distinct().Take(2).ToList() is [var metric] ? metric : null;

    private static ClientRow RowOf(RoundSummary summary, ManifestClient client, ClientSpec? spec)
    {
        var round = summary.Manifest.Round;
        var trained = client.Outcome == ClientOutcome.Trained && round > 0;
        var (numbers, score, notFinite) = (trained ? client.Numbers : null, client.Score,
            new SortedDictionary<string, string>(StringComparer.Ordinal));
        var reference = Number("baseScore", score?.Base?.Reference);
        return new()
        {
            Round = round,
            Client = client.Id,
            Task = spec?.Task ?? client.Id,
            Site = spec?.Site ?? "",
            Outcome = round == 0 && client.Score is not null ? ClientOutcome.Scored : client.Outcome,
            Reason = client.Reason,
            Weight = trained ? Number("weight", client.Weight) : null,
            Samples = numbers?.Samples,
            Steps = numbers?.Steps,
            MeanLoss = Number("meanLoss", numbers?.MeanLoss),
            ProductNorm = Number("productNorm", numbers?.ProductNorm),
            ClientSeconds = summary.Timing?.ClientSeconds.TryGetValue(client.Id, out var took) == true
                ? Number("clientSeconds", took) : null,
            GateUse = Number("gateShare", numbers?.GateUse?.Share) is null ? null : numbers!.GateUse,
            Metric = client.Score?.Metric,
            Score = Number("score", score?.Value),
            TestLoss = Number("testLoss", score?.Loss),
            Rows = client.Score?.Rows,
            MajorityShare = Number("majorityShare", score?.MajorityShare),
            UpdateBytes = client.Update?.SizeBytes,
            ScoreReason = client.ScoreReason,
            Staleness = client.Staleness,
            Curbed = client.Curbed,
            StandardError = Number("standardError", score?.StandardError),
            Base = reference is null ? null : score!.Base! with { StandardError = Number("differenceError", score.Base!.StandardError) },
            Always = client.Score?.Always,
            Frame = client.Score?.Frame,
            Notes = [.. client.Notes ?? [], .. client.Score?.Notes ?? []],
            NotFinite = notFinite.Count == 0 ? null : notFinite,
        };

        double? Number(string name, double? value)
        {
            if (value is { } number && !double.IsFinite(number)) notFinite[name] = number.ToString(CultureInfo.InvariantCulture);
            return ClientRow.Finite(value);
        }
    }
}
