using System.Globalization;

namespace FedRLora.ControlPlane.Report;

/// <summary>A scale with round ticks: 1, 2 or 5 times a power of ten apart.</summary>
internal sealed record Axis(double Min, double Max, double Step)
{
    /// <summary>An axis over <paramref name="values"/> with about <paramref name="ticks"/> ticks.</summary>
    /// <param name="values">What has to fit; at least one.</param>
    /// <param name="fromZero">Whether zero has to fit, too.</param>
    /// <param name="ticks">About how many.</param>
    public static Axis Over(IEnumerable<double> values, bool fromZero = false, int ticks = 5)
    {
        var all = values.ToList();
        var (min, max) = (all.Min(), all.Max());
        if (fromZero)
            (min, max) = (Math.Min(0, min), Math.Max(0, max));
        if (max - min < 1e-9 * Math.Max(1, Math.Abs(max)))
        {
            var pad = max == 0 ? 1 : Math.Abs(max) * 0.1;
            (min, max) = (fromZero && min >= 0 ? 0 : min - pad, max + pad);
        }

        var step = RoundStep((max - min) / ticks);
        return new(Math.Floor(min / step + 1e-9) * step, Math.Ceiling(max / step - 1e-9) * step, step);
    }

    /// <summary>An axis of whole numbers that ends at the last of them.</summary>
    public static Axis Whole(int min, int max, int ticks = 10)
    {
        var step = Math.Max(1, RoundStep((double)Math.Max(1, max - min) / ticks));
        return new(min, Math.Max(max, min + 1), step);
    }

    /// <summary>Where the ticks are.</summary>
    public IEnumerable<double> Ticks
    {
        get
        {
            var first = (long)Math.Ceiling(Min / Step - 1e-9);
            var last = (long)Math.Floor(Max / Step + 1e-9);
            for (var i = first; i <= last; i++)
                yield return i * Step;
        }
    }

    /// <summary>Where a value is, from 0 to 1.</summary>
    public double Share(double value) => (value - Min) / (Max - Min);

    /// <summary>A tick with as many decimals as the step needs.</summary>
    public string Label(double tick) =>
        tick.ToString("F" + Math.Clamp((int)Math.Ceiling(-Math.Log10(Step) - 1e-9), 0, 9), CultureInfo.InvariantCulture);

    private static double RoundStep(double raw)
    {
        var power = Math.Pow(10, Math.Floor(Math.Log10(raw)));
        var factor = raw / power;
        return power * (factor <= 1.0001 ? 1 : factor <= 2.0001 ? 2 : factor <= 5.0001 ? 5 : 10);
    }
}
