using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Benchmarks.Scopes;

/// <summary>
/// Training rows of the clients of one task, who disagree on labels: the labels in ordinal order are cut into two halves, and the
/// clients take turns at having most of their rows from the one and the rest from the other. A lone client has as many of both.
/// Which rows of a half come first is drawn from the seed; none goes to two clients.
/// </summary>
internal static class SkewedRows
{
    /// <summary>The lines of each client, in the order of the file.</summary>
    /// <param name="file">JSON Lines with a label in each.</param>
    /// <param name="task">Part of what the draw is for.</param>
    /// <param name="seed">Other seeds draw other rows.</param>
    /// <param name="clients">How many share the task.</param>
    /// <param name="rows">Of each.</param>
    /// <param name="most">Those of them that are from the client's own half.</param>
    /// <exception cref="InvalidOperationException">The file has too few rows of a half.</exception>
    public static IReadOnlyList<string[]> Draw(string file, string task, ulong seed, int clients, int rows, int most)
    {
        var lines = File.ReadLines(file).Index().Select(line => (line.Index, Text: line.Item, Label: Label(line.Item))).ToList();
        string[] labels = [.. lines.Select(static line => line.Label).Distinct().Order(StringComparer.Ordinal)];
        var halves = lines
            .OrderBy(line => Seed.For(seed, 0, "", string.Create(CultureInfo.InvariantCulture, $"rows/{task}/{line.Index}")))
            .GroupBy(line => Array.IndexOf(labels, line.Label) < (labels.Length + 1) / 2 ? 0 : 1)
            .ToDictionary(static half => half.Key, static half => new Queue<(int Index, string Text, string Label)>(half));
        return [.. Enumerable.Range(0, clients).Select(client =>
        {
            var own = clients == 1 ? rows / 2 : most;
            return Take(client % 2, own).Concat(Take(1 - client % 2, rows - own))
                .OrderBy(static line => line.Index).Select(static line => line.Text).ToArray();
        })];

        List<(int Index, string Text, string Label)> Take(int half, int count) => halves[half].Count < count
            ? throw new InvalidOperationException($"{file} has too few rows of {string.Join(", ", labels)} for {clients} clients")
            : [.. Enumerable.Range(0, count).Select(_ => halves[half].Dequeue())];
    }

    private static string Label(string line)
    {
        using var row = JsonDocument.Parse(line);
        return row.RootElement.GetProperty("label").GetString()!;
    }
}
