using System.Globalization;
using System.Text;

namespace FedRLora.Benchmarks.Scopes;

/// <summary>Who owns the heads B: the one thing in which the arms of a case differ, but that the first shares no A either.</summary>
/// <param name="Name">As the tables head it.</param>
/// <param name="Sharing">The plan's <c>sharing</c>.</param>
/// <param name="ScopeB">The adapter's <c>scopeB</c>.</param>
internal sealed record ScopeArm(string Name, string Sharing, string ScopeB)
{
    public static ScopeArm Local { get; } = new("local only", "none", "client");
    public static ScopeArm ByClient { get; } = new("heads by client", "method", "client");
    public static ScopeArm ByTask { get; } = new("heads by task", "method", "task");
    public static ScopeArm All { get; } = new("everything shared", "method", "job");

    public static ScopeArm[] Every { get; } = [Local, ByClient, ByTask, All];
}

/// <summary>A federation that is run once for each arm and seed.</summary>
/// <param name="Name">For the command line.</param>
/// <param name="Title">For people.</param>
/// <param name="Model">Folder of the base.</param>
/// <param name="Data">Folder with a folder for each task.</param>
/// <param name="Tasks">Their names.</param>
/// <param name="ClientsOfTask">Clients of each.</param>
internal sealed record ScopeCase(string Name, string Title, string Model, string Data, string[] Tasks, int ClientsOfTask)
{
    /// <summary>Training rows of a client.</summary>
    public const int Rows = 50;

    /// <summary>Those of them that are from its own half of the labels, where its task has other clients.</summary>
    public const int RowsOfOwnHalf = 43;

    /// <summary>Rounds of a run.</summary>
    public const int Rounds = 6;

    /// <summary>Steps of a client in a round.</summary>
    public required int Steps { get; init; }

    /// <summary>
    /// What becomes of AdamW's moments between rounds, in all arms the same: the plan's own default keeps those of heads where they stay
    /// and resets them where they are aggregated, so that arms would differ in more than who owns the heads.
    /// </summary>
    public string Moments { get; init; } = "reset";

    /// <summary>Writes the training rows of all clients; the plan of each arm begins from the same files.</summary>
    /// <returns>The plan's section <c>clients</c>.</returns>
    public string WriteClients(string folder, ulong seed)
    {
        var section = new StringBuilder("clients:\n");
        foreach (var task in Tasks)
        {
            var source = Path.Combine(Data, task);
            var rows = SkewedRows.Draw(Path.Combine(source, "train.jsonl"), task, seed, ClientsOfTask, Rows, RowsOfOwnHalf);
            foreach (var (index, own) in rows.Index())
            {
                var id = string.Create(CultureInfo.InvariantCulture, $"{task}-{index + 1}");
                var train = Path.Combine(folder, $"{id}.jsonl");
                File.WriteAllLines(train, own);
                section.Append(CultureInfo.InvariantCulture,
                    $"  - {{id: {id}, task: {task}, data: {{train: {train}, test: {Path.Combine(source, "test.jsonl")}}}}}\n");
            }
        }

        return section.ToString();
    }

    /// <summary>The plan of an arm; what an arm could get another default for is written out.</summary>
    public string Plan(ScopeArm arm, ulong seed, string clients) => string.Create(CultureInfo.InvariantCulture, $$"""
        name: scopes
        seed: {{seed}}
        sharing: {{arm.Sharing}}
        model: {{Model}}
        adapter:
          {method: fedsa-lora, rank: 8, alpha: 16, scaling: alphaOverRank, dropout: {site: none}, weighting: uniform,
          scopeA: job, scopeB: {{arm.ScopeB}}}
        training:
          {steps: {{Steps}}, batchSize: 8, maxTokens: 256, learningRate: 5e-3, warmupSteps: {{Steps}}, schedule: cosine,
          moments: {{Moments}}}
        strategy: {rounds: {{Rounds}}}
        evaluation: {everyRounds: 100000, metric: accuracy, maxRows: 500}
        checkpoints: {export: false}
        {{clients}}
        """);
}
