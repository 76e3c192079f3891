namespace FedRLora.ControlPlane.Views;

/// <summary>Numbers of all clients in a few: never of a sample of them.</summary>
public sealed record Spread
{
    /// <summary>The mean, each client counting alike; null where no client has the number.</summary>
    public double? Mean { get; init; }

    /// <summary>A tenth of the clients are below it; between two clients it is on the line from one to the other.</summary>
    public double? P10 { get; init; }

    /// <summary>The middle.</summary>
    public double? Median { get; init; }

    /// <summary>A tenth of the clients are above it.</summary>
    public double? P90 { get; init; }

    /// <summary>That of the client it is worst for: the largest of losses and perplexities, the smallest of other scores.</summary>
    public double? Worst { get; init; }

    /// <summary>How many clients it is of.</summary>
    public int N { get; init; }

    /// <summary>How many clients should have the number and do not have it, or not as a finite one.</summary>
    public int LeftOut { get; init; }

    /// <summary>The spread of what there is.</summary>
    /// <param name="values">Of each client; null where there is none.</param>
    /// <param name="expected">How many clients should have it.</param>
    /// <param name="highIsBad">Whether the largest is the worst.</param>
    internal static Spread Of(IEnumerable<double?> values, int expected, bool highIsBad)
    {
        double[] sorted = [.. values.Select(ClientRow.Finite).OfType<double>().Order()];
        var leftOut = Math.Max(0, expected - sorted.Length);
        return sorted.Length == 0 ? new() { LeftOut = leftOut } : new()
        {
            Mean = sorted.Average(), P10 = At(0.1), Median = At(0.5), P90 = At(0.9), Worst = highIsBad ? sorted[^1] : sorted[0],
            N = sorted.Length, LeftOut = leftOut,
        };

        double At(double share)
        {
            var place = share * (sorted.Length - 1);
            var below = (int)place;
            return below + 1 == sorted.Length ? sorted[below] : sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
        }
    }
}
