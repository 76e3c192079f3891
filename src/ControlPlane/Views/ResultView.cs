using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Report;

namespace FedRLora.ControlPlane.Views;

/// <summary>The outcome of a run as of what is committed: the table that ends a run, key by key.</summary>
internal sealed record ResultView
{
    /// <summary>The version of the schema.</summary>
    public int Schema { get; init; } = Json.Schema;

    public required string Run { get; init; }

    public required JobStatus Status { get; init; }

    /// <summary>The last committed round; null before round 0.</summary>
    public int? Round { get; init; }

    /// <summary>The digest of its manifest, which is that of the run.</summary>
    public string? Digest { get; init; }

    /// <summary>Whether differences are to the local-only reference; else they are to the base.</summary>
    public required bool ComparesToLocal { get; init; }

    /// <summary>Whether the run shares nothing, so that it is no federated one.</summary>
    public required bool SharesNothing { get; init; }

    public required IReadOnlyList<FinalRow> Clients { get; init; }

    public required FinalRow Mean { get; init; }

    /// <summary>The tasks; null where none has several clients.</summary>
    public IReadOnlyList<TaskRow>? Tasks { get; init; }

    /// <summary>What has to be known of rows and scores.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <summary>What is missing of the reference and why.</summary>
    public required IReadOnlyList<string> Missing { get; init; }

    public static ResultView Of(RunResults results, OutcomeSoFar outcome, OutcomeSoFar? alone)
    {
        var table = FinalTable.Of(results.Plan, outcome, alone, results.VersusLocal);
        return new()
        {
            Run = results.Run, Status = results.Status, Round = outcome.Round, Digest = outcome.Digest,
            ComparesToLocal = table.ComparesToLocal, SharesNothing = table.SharesNothing, Clients = table.Clients, Mean = table.Mean,
            Tasks = table.Tasks?.Rows, Notes = table.Notes, Missing = results.Missing,
        };
    }
}

/// <summary>A client in every committed round.</summary>
internal sealed record ClientRounds(int Schema, string Run, string Client, string Task, string Site, IReadOnlyList<ClientRow> Rounds);
