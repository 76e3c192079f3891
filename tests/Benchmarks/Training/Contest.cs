using System.Diagnostics;
using System.Globalization;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>Ways to do the same, timed in turn within one process, so that what else the machine does meets all of them alike.</summary>
internal sealed class Contest(Device device, int runs)
{
    private const int WarmUps = 3;
    private const double LeastSeconds = 0.3;
    private const int MostSteps = 20;

    /// <summary>Seconds of a step of each contender, in every run; a run is as many steps as take about 0.3 s.</summary>
    public IReadOnlyDictionary<string, double[]> Measure(IReadOnlyList<(string Name, Action Step)> contenders)
    {
        var steps = contenders.Select(contender =>
        {
            var seconds = 0.0;
            for (var warmUp = 0; warmUp < WarmUps; warmUp++) seconds = Time(contender.Step, 1);
            return Math.Clamp((int)Math.Ceiling(LeastSeconds / seconds), 1, MostSteps);
        }).ToArray();
        var taken = contenders.ToDictionary(static contender => contender.Name, _ => new double[runs], StringComparer.Ordinal);
        for (var run = 0; run < runs; run++)
        {
            for (var turn = 0; turn < contenders.Count; turn++)
            {
                var i = (turn + run) % contenders.Count; // nobody is always the first
                taken[contenders[i].Name][run] = Time(contenders[i].Step, steps[i]);
            }
        }

        return taken;
    }

    private double Time(Action step, int steps)
    {
        Synchronize();
        var started = Stopwatch.GetTimestamp();
        for (var i = 0; i < steps; i++) step();
        Synchronize();
        return Stopwatch.GetElapsedTime(started).TotalSeconds / steps;
    }

    private void Synchronize()
    {
        if (device.type == DeviceType.CUDA) cuda.synchronize(device);
    }
}

/// <summary>Two series of paired runs, as a row of a table.</summary>
internal static class Pairs
{
    public static double Median(IEnumerable<double> values)
    {
        double[] ordered = [.. values.Order()];
        return (ordered[(ordered.Length - 1) / 2] + ordered[ordered.Length / 2]) / 2;
    }

    /// <summary>The head of a table whose rows are <see cref="Row"/>s.</summary>
    public static string Head(string unit) => Line("case", "ours", "reference", $"ours, {unit}", $"reference, {unit}", "ours / reference", "lowest to highest")
        + "\n" + Line("---", "---", "---", "---:", "---:", "---:", "---:");

    /// <summary>Medians of both, the median of the ratios of the pairs, and the lowest and highest of those.</summary>
    public static string Row(string name, string ours, string reference, double[] ourValues, double[] referenceValues, string format = "F1")
    {
        double[] ratios = [.. ourValues.Zip(referenceValues, static (our, other) => our / other).Order()];
        string Text(double value, string how) => value.ToString(how, CultureInfo.InvariantCulture);
        return Line(name, ours, reference, Text(Median(ourValues), format), Text(Median(referenceValues), format), Text(Median(ratios), "F3"), $"{Text(ratios[0], "F3")} to {Text(ratios[^1], "F3")}");
    }

    private static string Line(string name, string ours, string reference, string ourValue, string referenceValue, string ratio, string range) =>
        $"| {name,-38} | {ours,-26} | {reference,-26} | {ourValue,14} | {referenceValue,19} | {ratio,16} | {range,17} |";
}
