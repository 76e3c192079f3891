using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Metrics;

/// <summary>
/// What <c>metrics.csv</c>, one row per round and client, <c>metrics-by-task.csv</c>, one per round and task, and <c>metrics.jsonl</c>,
/// one object per round, hold.
/// </summary>
internal static partial class MetricsText
{
    private const string Header = "round,client,task,outcome,weight,samples,steps,mean_loss,metric,score,"
        + "test_loss,rows,majority_share,update_bytes,product_norm,seconds,"
        + "standard_error,base_score,difference_error,"
        + "gate_layer,gate_head,gate_share,gates_collapsed,client_seconds";

    private const string TaskHeader = "round,task,clients,trained,scored,metric,score,standard_error,base_score,difference_error,"
        + "test_loss,majority_share,mean_loss,update_bytes,coherence,kept,score_left_out,mean_loss_left_out";

    /// <summary>
    /// RFC 4180: CRLF line ends, quotes where a field needs them, an empty field where nothing was measured. A name that a spreadsheet
    /// would compute gets an apostrophe before its first sign.
    /// </summary>
    public static string Csv(IEnumerable<RoundView> rounds) => Csv(Header, rounds.SelectMany(static round => round.Clients.Select(
        client => new object?[]
        {
            client.Round, client.Client, client.Task, JsonNamingPolicy.CamelCase.ConvertName(client.Outcome.ToString()),
            client.Weight, client.Samples, client.Steps, client.MeanLoss, client.Metric, client.Score, client.TestLoss, client.Rows,
            client.MajorityShare, client.UpdateBytes, client.ProductNorm, round.Seconds > 0 ? round.Seconds : null,
            client.StandardError, client.Base?.Reference, client.Base?.StandardError, client.GateUse?.Layer, client.GateUse?.Head,
            client.GateUse?.Share, client.GateUse?.Collapsed, client.ClientSeconds,
        })));

    /// <inheritdoc cref="Csv(IEnumerable{RoundView})"/>
    public static string TaskCsv(IEnumerable<RoundView> rounds) => Csv(TaskHeader, rounds.SelectMany(static round => round.Tasks.Select(
        task => new object?[]
        {
            round.Round, task.Task, task.Clients, task.Trained, task.Scored, task.Metric, task.Score, task.StandardError, task.BaseScore,
            task.DifferenceError, task.TestLoss, task.MajorityShare, task.MeanLoss, task.UpdateBytes, task.Coherence, task.Kept,
            task.ScoreLeftOut, task.MeanLossLeftOut,
        })));

    /// <summary>A round as one line of JSON.</summary>
    public static string JsonLine(RoundView round) => JsonSerializer.Serialize(
        new
        {
            Json.Schema,
            round.Round,
            round.Sha256,
            Seconds = round.Seconds > 0 ? round.Seconds : (double?)null,
            round.MeanLoss,
            round.MeanLossLeftOut,
            round.MeanScore,
            round.MeanScoreLeftOut,
            round.Coherence,
            round.UpdateBytes,
            round.Clients,
            Summary = RoundAggregate.Of(round),
            Tasks = round.HasTasks || round.Kept.Count > 0 ? round.Tasks : null,
        },
        Json.Lines);

    private static string Csv(string header, IEnumerable<object?[]> rows) => rows
        .Aggregate(new StringBuilder(header).Append("\r\n"), static (text, row) => text.AppendJoin(',', row.Select(Field)).Append("\r\n"))
        .ToString();

    private static string Field(object? value)
    {
        var text = value is string name ? Formula().Replace(name, "$1'") : Convert.ToString(value, CultureInfo.InvariantCulture) ?? "";
        return text.AsSpan().ContainsAny(",\"\r\n") || text.StartsWith(' ') || text.EndsWith(' ')
            ? $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : text;
    }

    // Where a cell begins, in whatever of the usual separators the spreadsheet cuts by; wide forms of the signs count as they do.
    [GeneratedRegex(@"((?:^|[;,\t\r\n|])\s*)(?=[=+\-@\uFF1D\uFF0B\uFF0D\uFF20])")]
    private static partial Regex Formula();
}
