using System.Globalization;
using System.Text.Json;

namespace FedRLora.Benchmarks.Scopes;

/// <summary>What one client's adapter reached in the last round of one run.</summary>
/// <param name="Arm">Who owned the heads.</param>
/// <param name="Seed">Of the run.</param>
/// <param name="Client">Its id.</param>
/// <param name="Task">Its task.</param>
/// <param name="Accuracy">On the test rows, which clients of a task have in common.</param>
/// <param name="Loss">Per token of a completion, on the same rows.</param>
/// <param name="Base">Accuracy of the frozen base.</param>
/// <param name="Majority">Accuracy of the best constant answer.</param>
internal sealed record ScopeScore(
    ScopeArm Arm, ulong Seed, string Client, string Task, double Accuracy, double Loss, double Base, double Majority)
{
    /// <summary>The client with its accuracy and, in parentheses, its loss.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Client} {Accuracy:F3} ({Loss:F4})");

    /// <summary>The scores of a run, from the line of its last round.</summary>
    /// <exception cref="InvalidOperationException">A client did not train in some round, so that arms would not be alike.</exception>
    public static IEnumerable<ScopeScore> Of(ScopeArm arm, ulong seed, IReadOnlyList<JsonElement> lines)
    {
        var rounds = lines.Where(static line => line.TryGetProperty("round", out var round) && round.GetInt32() > 0).ToList();
        foreach (var client in rounds.SelectMany(static round => round.GetProperty("clients").EnumerateArray()))
        {
            if (client.GetProperty("outcome").GetString() is var outcome and not "trained")
                throw new InvalidOperationException($"{client.GetProperty("client")} of {arm.Name}, seed {seed}: {outcome}");
        }

        return rounds[^1].GetProperty("clients").EnumerateArray().Select(client => new ScopeScore(
            arm, seed, client.GetProperty("client").GetString()!, client.GetProperty("task").GetString()!,
            client.GetProperty("score").GetDouble(), client.GetProperty("testLoss").GetDouble(),
            client.GetProperty("base").GetProperty("reference").GetDouble(), client.GetProperty("majorityShare").GetDouble()));
    }

    /// <summary>
    /// One number for each seed: the mean over clients of what a client reached more in the one arm than in the other.
    /// </summary>
    public static double[] Differences(IReadOnlyList<ScopeScore> scores, ScopeArm one, ScopeArm other, Func<ScopeScore, double> value)
    {
        var others = scores.Where(score => score.Arm == other).ToDictionary(static score => (score.Seed, score.Client));
        return [.. scores.Where(score => score.Arm == one).GroupBy(static score => score.Seed)
            .Select(seed => seed.Average(score => value(score) - value(others[(score.Seed, score.Client)])))];
    }
}
