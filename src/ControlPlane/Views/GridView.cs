namespace FedRLora.ControlPlane.Views;

/// <summary>What a grid is of.</summary>
public enum GridValue
{
    /// <summary>The mean training loss.</summary>
    Loss,

    /// <summary>The score.</summary>
    Score,

    /// <summary>Seconds from the assignment to the report of the training.</summary>
    Seconds,
}

/// <summary>One number of every client in every committed round: the picture of a whole run.</summary>
public sealed record GridView
{
    /// <summary>The version of the schema.</summary>
    public int Schema { get; init; } = Json.Schema;

    /// <summary>The run.</summary>
    public required string Run { get; init; }

    /// <summary>What the numbers are.</summary>
    public required GridValue Value { get; init; }

    /// <summary>Of scores, the metric; null where clients have several.</summary>
    public string? Metric { get; init; }

    /// <summary>The clients, in ordinal order.</summary>
    public required IReadOnlyList<GridClient> Clients { get; init; }

    /// <summary>The rounds, in order.</summary>
    public required IReadOnlyList<int> Rounds { get; init; }

    /// <summary>Little-endian float32, round by round and in it client by client; NaN where there is none. JSON has it as base64.</summary>
    public required byte[] Values { get; init; }

    /// <summary>
    /// For each round one letter a client: n not selected, t trained, f failed, l late, r refused, q in quarantine, s scored (round 0).
    /// </summary>
    public required IReadOnlyList<string> Outcomes { get; init; }
}

/// <summary>A client of a grid.</summary>
/// <param name="Client">The client.</param>
/// <param name="Task">Its task.</param>
/// <param name="Site">Its site.</param>
public sealed record GridClient(string Client, string Task, string Site);

/// <summary>Tasks in committed rounds.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">The run.</param>
/// <param name="Tasks">Those that were asked for.</param>
public sealed record TaskHistories(int Schema, string Run, IReadOnlyList<TaskHistory> Tasks);

/// <summary>A task in committed rounds.</summary>
/// <param name="Task">The task.</param>
/// <param name="Clients">Its clients in the plan.</param>
/// <param name="Rounds">The rounds, in order.</param>
public sealed record TaskHistory(string Task, int Clients, IReadOnlyList<TaskInRound> Rounds);

/// <summary>A task in a committed round.</summary>
/// <param name="Round">The round.</param>
/// <param name="Trained">Clients of which the aggregate has an update.</param>
/// <param name="Metric">The metric; null where its clients have several.</param>
/// <param name="Loss">The training losses of its clients.</param>
/// <param name="Score">The scores of its clients; null where none was scored, or metrics differ.</param>
public sealed record TaskInRound(int Round, int Trained, string? Metric, Spread Loss, Spread? Score);
