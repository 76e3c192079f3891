using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Rendering;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.RunFolder;

/// <summary><c>metrics.csv</c>, one row per round and client, and <c>metrics.jsonl</c>, one object per round.</summary>
internal static partial class MetricsFiles
{
    private const string Header = "round,client,task,outcome,weight,samples,steps,mean_loss,metric,score,"
        + "test_loss,rows,majority_share,update_bytes,product_norm,seconds,"
        + "standard_error,base_score,difference_error";

    /// <summary>Writes both files; what was there is replaced.</summary>
    public static void Write(string folder, StoreMode mode, FederationPlan plan, IReadOnlyList<RoundSummary> rounds)
    {
        StorePermissions.MakeFolder(folder, mode);
        var views = rounds.Select(round => RoundView.Of(round, plan)).ToList();
        OutputFile.Replace(Path.Combine(folder, "metrics.csv"), mode, Csv(views));
        OutputFile.Replace(Path.Combine(folder, "metrics.jsonl"), mode, string.Concat(views.Select(static view => JsonLine(view) + "\n")));
    }

    /// <summary>
    /// RFC 4180: CRLF line ends, quotes where a field needs them, an empty field where nothing was measured. A name that a spreadsheet
    /// would compute gets an apostrophe before its first sign.
    /// </summary>
    internal static string Csv(IEnumerable<RoundView> rounds)
    {
        var text = new StringBuilder(Header).Append("\r\n");
        foreach (var round in rounds)
        {
            foreach (var client in round.Clients)
            {
                object?[] fields =
                [
                    client.Round, client.Client, client.Task, JsonNamingPolicy.CamelCase.ConvertName(client.Outcome.ToString()),
                    client.Weight, client.Samples, client.Steps, client.MeanLoss, client.Metric, client.Score, client.TestLoss, client.Rows,
                    client.MajorityShare, client.UpdateBytes, client.ProductNorm, round.Seconds > 0 ? round.Seconds : null,
                    client.StandardError, client.Base?.Reference, client.Base?.StandardError,
                ];
                text.AppendJoin(',', fields.Select(Field)).Append("\r\n");
            }
        }

        return text.ToString();
    }

    /// <summary>A round as one line of JSON.</summary>
    internal static string JsonLine(RoundView round) => JsonSerializer.Serialize(
        new
        {
            round.Round,
            round.Sha256,
            Seconds = round.Seconds > 0 ? round.Seconds : (double?)null,
            round.MeanLoss,
            round.MeanScore,
            round.Coherence,
            round.UpdateBytes,
            round.Clients,
        },
        Json.Lines);

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
