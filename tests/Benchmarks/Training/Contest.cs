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

    /// <summary>What a step of each contender took, in every run; a run is as many steps as take about 0.3 s.</summary>
    public IReadOnlyDictionary<string, Times> Measure(IReadOnlyList<(string Name, Action Step)> contenders)
    {
        var steps = contenders.Select(contender =>
        {
            var seconds = 0.0;
            for (var warmUp = 0; warmUp < WarmUps; warmUp++) (seconds, _) = Time(contender.Step, 1);
            return Math.Clamp((int)Math.Ceiling(LeastSeconds / seconds), 1, MostSteps);
        }).ToArray();
        var taken = contenders.ToDictionary(static contender => contender.Name, _ => new Times(new double[runs], new double[runs]),
            StringComparer.Ordinal);
        for (var run = 0; run < runs; run++)
        {
            for (var turn = 0; turn < contenders.Count; turn++)
            {
                var i = (turn + run) % contenders.Count; // nobody is always the first
                var (wall, processor) = taken[contenders[i].Name];
                (wall[run], processor[run]) = Time(contenders[i].Step, steps[i]);
            }
        }

        return taken;
    }

    private (double Seconds, double ProcessorSeconds) Time(Action step, int steps)
    {
        Synchronize();
        var (started, used) = (Stopwatch.GetTimestamp(), Environment.CpuUsage.TotalTime);
        for (var i = 0; i < steps; i++) step();
        Synchronize();
        return (Stopwatch.GetElapsedTime(started).TotalSeconds / steps, (Environment.CpuUsage.TotalTime - used).TotalSeconds / steps);
    }

    private void Synchronize()
    {
        if (device.type == DeviceType.CUDA) cuda.synchronize(device);
    }
}

/// <summary>What a step took in each run: on the clock, and on the processor by all threads of this process.</summary>
internal sealed record Times(double[] Seconds, double[] ProcessorSeconds);

/// <summary>Two series of paired runs, as a row of a table.</summary>
internal static class Pairs
{
    public static double Median(IEnumerable<double> values)
    {
        double[] ordered = [.. values.Order()];
        return (ordered[(ordered.Length - 1) / 2] + ordered[ordered.Length / 2]) / 2;
    }

    /// <summary>The head of a table whose rows are <see cref="Row"/>s.</summary>
    public static string Head(string unit) => Line(Names(unit)) + "\n" + Line(Marks);

    /// <summary>Medians of both, the median of the ratios of the pairs, and the lowest and highest of those.</summary>
    public static string Row(
        string name, string ours, string reference, double[] ourValues, double[] referenceValues, string format = "F1") =>
        Line(Cells(name, ours, reference, ourValues, referenceValues, format));

    /// <summary>The head of a table whose rows are <see cref="TimeRow"/>s.</summary>
    public static string TimeHead => Line([.. Names("ms"), "ours, processor ms", "reference, processor ms", "ours / reference"]) + "\n"
        + Line([.. Marks, "---:", "---:", "---:"]);

    /// <summary>As <see cref="Row"/> in milliseconds, and the same of processor time.</summary>
    public static string TimeRow(string name, string ours, string reference, Times our, Times other)
    {
        static double[] Milliseconds(double[] seconds) => [.. seconds.Select(static value => value * 1e3)];
        string[] processor = Cells(name, ours, reference, Milliseconds(our.ProcessorSeconds), Milliseconds(other.ProcessorSeconds), "F1");
        return Line([.. Cells(name, ours, reference, Milliseconds(our.Seconds), Milliseconds(other.Seconds), "F1"), .. processor[3..6]]);
    }

    private static readonly string[] Marks = ["---", "---", "---", "---:", "---:", "---:", "---:"];

    private static string[] Names(string unit) =>
        ["case", "ours", "reference", $"ours, {unit}", $"reference, {unit}", "ours / reference", "lowest to highest"];

    private static string[] Cells(string name, string ours, string reference, double[] ourValues, double[] referenceValues, string format)
    {
        double[] ratios = [.. ourValues.Zip(referenceValues, static (our, other) => our / other).Order()];
        string Text(double value, string how) => value.ToString(how, CultureInfo.InvariantCulture);
        return [name, ours, reference, Text(Median(ourValues), format), Text(Median(referenceValues), format), Text(Median(ratios), "F3"),
            $"{Text(ratios[0], "F3")} to {Text(ratios[^1], "F3")}"];
    }

    private static string Line(string[] cells)
    {
        int[] widths = [38, 26, 26, 14, 19, 16, 17, 18, 23, 16];
        return $"| {string.Join(" | ", cells.Select((cell, i) => i < 3 ? cell.PadRight(widths[i]) : cell.PadLeft(widths[i])))} |";
    }
}
