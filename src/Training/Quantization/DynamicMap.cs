namespace FedRLora.Training.Quantization;

/// <summary>
/// The 256 numbers from -1 to 1 of bitsandbytes' signed dynamic quantization (its <c>create_dynamic_map</c>): for each power of ten
/// from -6 to 0 twice as many steps as for the one before, 0, and 1 without its negative.
/// </summary>
internal static class DynamicMap
{
    private const int Powers = 7;

    /// <summary>In ascending order.</summary>
    public static float[] Values { get; } = Made();

    /// <summary>The place of the nearest; of two as near, the lower.</summary>
    public static byte CodeOf(float value)
    {
        var at = Array.BinarySearch(Values, value);
        if (at >= 0) return (byte)at;
        var above = ~at;
        if (above == 0) return 0;
        if (above == Values.Length) return (byte)(Values.Length - 1);
        return (byte)((double)Values[above] - value < (double)value - Values[above - 1] ? above : above - 1);
    }

    private static float[] Made()
    {
        var values = new List<float> { 0, 1 };
        for (var power = 0; power < Powers; power++)
        {
            var (steps, scale) = (1 << power, (float)Math.Pow(10, power - (Powers - 1)));
            for (var i = 0; i < steps; i++)
            {
                var mean = (Bound(i, steps) + Bound(i + 1, steps)) / 2;
                values.Add(scale * mean);
                values.Add(-scale * mean);
            }
        }

        values.Sort();
        return [.. values];
    }

    // Of linspace(0.1, 1), which torch steps through from either end with one rounding.
    private static float Bound(int i, int steps)
    {
        var step = (1 - 0.1f) / steps;
        return i < (steps + 1) / 2 ? MathF.FusedMultiplyAdd(step, i, 0.1f) : MathF.FusedMultiplyAdd(-step, steps - i, 1);
    }
}
