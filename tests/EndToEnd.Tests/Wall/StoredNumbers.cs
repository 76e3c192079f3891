using System.Text.Json;

namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>
/// The numbers of a run, reckoned from its stored rounds by lines of their own, under the names that trackers have them by; those of a
/// task as a spread too. What is no number is not there.
/// </summary>
internal sealed class StoredNumbers
{
    public static readonly string[] Parts = ["mean", "p10", "median", "p90", "worst"], Counts = ["n", "left out"];

    public Dictionary<(int Round, string Name), double> Of { get; } = [];

    /// <summary>Of each client: loss, score, error, base, base error, norm, bytes, seconds.</summary>
    public Dictionary<(int Round, string Client, string Name), double> OfClients { get; } = [];

    public StoredNumbers(string runFolder, string run)
    {
        for (var round = 0; round <= OneRun.Rounds; round++)
        {
            var folder = Path.Combine(runFolder, "store", "jobs", run, "rounds", $"{round}");
            Read(round, Json(Assert.Single(Directory.GetFiles(folder, "manifest-*.json"))), Json(Path.Combine(folder, "timing.json")));
        }
    }

    private static JsonElement Json(string path) => JsonDocument.Parse(File.ReadAllText(path)).RootElement;

    private void Read(int round, JsonElement manifest, JsonElement timing)
    {
        foreach (var client in manifest.GetProperty("clients").EnumerateArray())
        {
            var id = client.GetProperty("id").GetString()!;
            if (round > 0 && client.GetProperty("outcome").GetString() == "Trained")
            {
                OfClients[(round, id, "loss")] = client.GetProperty("meanLoss").GetDouble();
                OfClients[(round, id, "norm")] = client.GetProperty("productNorm").GetDouble();
                OfClients[(round, id, "bytes")] = client.GetProperty("update").GetProperty("sizeBytes").GetInt64();
            }

            var score = client.GetProperty("score");
            OfClients[(round, id, "score")] = score.GetProperty("value").GetDouble();
            OfClients[(round, id, "error")] = score.GetProperty("standardError").GetDouble();
            OfClients[(round, id, "base")] = score.GetProperty("base").GetProperty("reference").GetDouble();
            OfClients[(round, id, "base error")] = score.GetProperty("base").GetProperty("standardError").GetDouble();
        }

        if (timing.TryGetProperty("clientSeconds", out var seconds))
            foreach (var client in seconds.EnumerateObject()) OfClients[(round, client.Name, "seconds")] = client.Value.GetDouble();
        Spread("loss", "loss", highIsBad: true);
        Spread("score", "score", highIsBad: false);
        Spread("update norm", "norm", highIsBad: true);
        Spread("client seconds", "seconds", highIsBad: true);
        foreach (var task in (string[])["opinion", "topic"])
        {
            Spread($"loss of {task}", "loss", highIsBad: true, task);
            Spread($"score of {task}", "score", highIsBad: false, task);
            if (Of.TryGetValue((round, $"loss of {task}/mean"), out var loss)) Of[(round, $"loss by task/{task}")] = loss;
            Of[(round, $"score by task/{task}")] = Of[(round, $"score of {task}/mean")];
            Of[(round, $"base/{task}")] = Mean("base", task);
            Of[(round, $"error/{task}")] = Mean("error", task);
            Of[(round, $"base error/{task}")] = Mean("base error", task);
        }

        if (manifest.TryGetProperty("coherence", out var coherence)) Of[(round, "agreement")] = coherence.GetDouble();
        Of[(round, "bytes sent")] = Values("bytes").Sum();
        Of[(round, "seconds")] = timing.GetProperty("seconds").GetDouble();
        foreach (var part in timing.GetProperty("parts").EnumerateObject())
            Of[(round, $"seconds by part/{part.Name}")] = part.Value.GetDouble();

        // of a number that all four clients, or those of a task, should have: the score always, the others where there is training
        void Spread(string name, string number, bool highIsBad, string? task = null)
        {
            var sorted = Values(number, task);
            var expected = round == 0 && number != "score" ? 0 : task switch { null => 4, "topic" => 1, _ => 3 };
            Of[(round, $"{name}/n")] = sorted.Count;
            Of[(round, $"{name}/left out")] = expected - sorted.Count;
            if (sorted.Count == 0) return;
            Of[(round, $"{name}/mean")] = Mean(number, task);
            Of[(round, $"{name}/p10")] = Quantile(sorted, 0.1);
            Of[(round, $"{name}/median")] = Quantile(sorted, 0.5);
            Of[(round, $"{name}/p90")] = Quantile(sorted, 0.9);
            Of[(round, $"{name}/worst")] = highIsBad ? sorted[^1] : sorted[0];
        }

        List<double> Values(string number, string? task = null) =>
        [
            .. OfClients.Where(one => one.Key.Round == round && one.Key.Name == number
                && (task is null || (one.Key.Client == OneRun.Refused) == (task == "topic"))).Select(static one => one.Value).Order(),
        ];

        double Mean(string number, string? task)
        {
            var values = Values(number, task);
            return values.Sum() / values.Count;
        }
    }

    private static double Quantile(List<double> sorted, double share)
    {
        var (place, last) = (share * (sorted.Count - 1), sorted.Count - 1);
        var below = Math.Min((int)place, last);
        return below == last ? sorted[last] : sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
    }
}
