using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>When a run ends if each round takes as long as the last ones: one reckoning for the page, the API and the terminal.</summary>
internal static class Forecast
{
    private const int MedianOf = 10;

    /// <summary>The median of the last ten rounds that were measured, without round 0; null where none was.</summary>
    public static double? MedianSeconds(IEnumerable<(int Round, double? Seconds)> rounds)
    {
        double?[] last = [.. rounds.Where(static round => round is { Round: > 0, Seconds: > 0 }).TakeLast(MedianOf)
            .Select(static round => round.Seconds)];
        return Spread.Of(last, last.Length, highIsBad: true).Median;
    }

    /// <summary>When it ends; null where it does not run, or no round was measured.</summary>
    /// <param name="status">Whether it runs.</param>
    /// <param name="at">Now.</param>
    /// <param name="medianSeconds">Seconds of a round.</param>
    /// <param name="rounds">Rounds of the plan.</param>
    /// <param name="committed">The last committed round; -1 before round 0.</param>
    /// <param name="hold">What it waits for: clients that are at work have worked for that long.</param>
    public static DateTimeOffset? EndOf(
        JobStatus status, DateTimeOffset at, double? medianSeconds, int rounds, int committed, HoldView? hold)
    {
        if (status != JobStatus.Running || medianSeconds is not { } each) return null;
        var open = hold is { Kind: HoldKind.AtWork, Seconds: { } since } ? since : 0;
        return at.AddSeconds(each * (rounds - Math.Max(0, committed)) - Math.Min(each, open));
    }
}
