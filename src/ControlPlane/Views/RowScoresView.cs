using FedRLora.Grains.Clients;

namespace FedRLora.ControlPlane.Views;

/// <summary>A row by itself.</summary>
/// <param name="Value">1 or 0 where it was right or wrong, else its sum of losses.</param>
/// <param name="Weight">What it counts in the score: 1, or its tokens.</param>
public sealed record RowView(double Value, int Weight);

/// <summary>What a client's last scoring said of each row.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">The run.</param>
/// <param name="Client">The client.</param>
/// <param name="Round">The round that was scored.</param>
/// <param name="Metric">The metric's name.</param>
/// <param name="Score">The score.</param>
/// <param name="Rows">Each row by itself, in the order of the client's test rows.</param>
public sealed record RowScoresView(
    int Schema, string Run, string Client, int Round, string Metric, double Score, IReadOnlyList<RowView> Rows)
{
    /// <summary>What the site keeps.</summary>
    public static RowScoresView Of(string run, string client, RowScoresFile kept) => new(
        Json.Schema, run, client, kept.Round, kept.Metric, kept.Score,
        [.. kept.Rows.Select(static row => new RowView(row.Value, row.Weight))]);
}
