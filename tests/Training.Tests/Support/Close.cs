namespace FedRLora.Training.Tests;

/// <summary>Comparison with reference numbers within a tolerance.</summary>
public static class Close
{
    /// <summary>
    /// Every |difference| is at most <paramref name="absolute"/> + <paramref name="relative"/> * |reference|;
    /// returns the largest difference.
    /// </summary>
    public static double Assert(
        ReadOnlySpan<float> reference, ReadOnlySpan<float> actual, string what, double absolute = 1e-4, double relative = 1e-4)
    {
        Xunit.Assert.Equal(reference.Length, actual.Length);
        var largest = 0.0;
        for (var i = 0; i < reference.Length; i++)
        {
            var difference = Math.Abs((double)reference[i] - actual[i]);
            if (!(difference <= absolute + relative * Math.Abs(reference[i])))
                Xunit.Assert.Fail($"{what}[{i}] is {actual[i]}, the reference has {reference[i]}: difference {difference}");
            largest = Math.Max(largest, difference);
        }

        return largest;
    }

    /// <summary>The difference is at most <paramref name="tolerance"/> * |reference|.</summary>
    public static void AssertRelative(double reference, double actual, string what, double tolerance = 1e-5) =>
        Xunit.Assert.True(Math.Abs(actual - reference) <= tolerance * Math.Abs(reference),
            $"{what} is {actual}, the reference has {reference}");
}
