using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Where two runs of one plan part, which their digests do not say.</summary>
internal static class RunDifferences
{
    private const int Most = 20;
    private static readonly JsonSerializerOptions ByLine = new() { WriteIndented = true };

    /// <summary>The lines of the first manifest that is not the same, as one run has them and the other; empty where all are.</summary>
    /// <param name="one">A store.</param>
    /// <param name="other">Another one.</param>
    /// <param name="job">The job in both.</param>
    /// <param name="rounds">The rounds, from 0.</param>
    public static string Of(string one, string other, string job, int rounds)
    {
        for (var round = 0; round <= rounds; round++)
        {
            var (mine, theirs) = (Lines(one, job, round), Lines(other, job, round));
            var parted = mine.Zip(theirs).Where(static pair => pair.First != pair.Second).Take(Most)
                .Select(static pair => $"{pair.First.Trim()}  |  {pair.Second.Trim()}").ToList();
            if (parted.Count > 0 || mine.Length != theirs.Length)
                return $"round {round}, {mine.Length} and {theirs.Length} lines:\n{string.Join('\n', parted)}";
        }

        return "";
    }

    private static string[] Lines(string store, string job, int round)
    {
        var folder = Path.GetDirectoryName(Path.Combine(store, Keys.Manifest(job, round, "")))!;
        var file = Directory.EnumerateFiles(folder, "manifest-*.json").Single();
        using var manifest = JsonDocument.Parse(File.ReadAllBytes(file));
        return JsonSerializer.Serialize(manifest, ByLine).Split('\n');
    }
}
