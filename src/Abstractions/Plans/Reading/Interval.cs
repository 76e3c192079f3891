using System.Globalization;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>The numbers a value may take.</summary>
internal readonly record struct Interval(double Min, double Max, bool AboveMin = false, bool BelowMax = false)
{
    /// <summary>[min, max].</summary>
    public static Interval Closed(double min, double max) => new(min, max);

    /// <summary>(min, max].</summary>
    public static Interval Above(double min, double max) => new(min, max, AboveMin: true);

    /// <summary>[min, max).</summary>
    public static Interval Below(double min, double max) => new(min, max, BelowMax: true);

    /// <summary>(min, max).</summary>
    public static Interval Between(double min, double max) => new(min, max, AboveMin: true, BelowMax: true);

    public bool Contains(double value) => (AboveMin ? value > Min : value >= Min) && (BelowMax ? value < Max : value <= Max);

    /// <summary>For example "above 0 and at most 1".</summary>
    public override string ToString()
    {
        var (min, max) = (Min.ToString(CultureInfo.InvariantCulture), Max.ToString(CultureInfo.InvariantCulture));
        return (AboveMin, BelowMax) switch
        {
            (false, false) => $"from {min} to {max}",
            (true, false) => $"above {min} and at most {max}",
            (false, true) => $"at least {min} and below {max}",
            (true, true) => $"between {min} and {max}",
        };
    }
}
