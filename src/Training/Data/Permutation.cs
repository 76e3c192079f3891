namespace FedRLora.Training.Data;

/// <summary>A shuffle that is the same on every platform: Fisher-Yates over SplitMix64.</summary>
internal static class Permutation
{
    /// <summary>The numbers from 0 to <paramref name="count"/> - 1 in an order drawn from <paramref name="seed"/>.</summary>
    public static int[] Of(int count, ulong seed)
    {
        var order = Enumerable.Range(0, count).ToArray();
        for (var i = count - 1; i > 0; i--)
        {
            // The high product: uniform to 2^-32 for any count that fits an array.
            var j = (int)Math.BigMul(Next(ref seed), (ulong)i + 1, out _);
            (order[i], order[j]) = (order[j], order[i]);
        }

        return order;
    }

    private static ulong Next(ref ulong state)
    {
        var z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
