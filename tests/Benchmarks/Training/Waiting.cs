using System.Diagnostics;
using System.Globalization;
using TorchSharp;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// What it costs and gains that threads spin before they sleep: a step on two threads or more, alone on the machine and beside a second
/// process that does the same, for several spin counts of libgomp.
/// </summary>
internal static class Waiting
{
    private const int Clients = 8;
    private const int Tokens = 32;
    private const double Seconds = 2;
    private static readonly int[] Counts = [0, 1000, 10_000, 100_000];
    private static readonly int[] Processes = [1, 2];

    /// <summary>Prints milliseconds of a step for each count; the counts take turns.</summary>
    public static async Task RunAsync(Settings settings)
    {
        if (settings.Device.type != DeviceType.CPU || settings.Threads == 1)
        {
            Console.WriteLine("threads that wait for each other: run this part with --device cpu and two threads or more");
            return;
        }

        var taken = Counts.SelectMany(static _ => Processes, static (count, processes) => (Count: count, Processes: processes))
            .ToDictionary(static key => key, static _ => new List<double[]>());
        string[] child = ["training", "measure", "waiting", Name(Clients), "--threads", Name(settings.Threads)];
        for (var run = 0; run < settings.Runs; run++)
        {
            foreach (var ((count, processes), values) in taken)
            {
                var environment = new Dictionary<string, string?> { ["GOMP_SPINCOUNT"] = Name(count), ["OMP_WAIT_POLICY"] = null };
                values.AddRange(await Task.WhenAll(Enumerable.Range(0, processes).Select(_ => ChildProcess.RunAsync(environment, child))));
            }
        }

        Console.WriteLine(
            $"{Clients} clients, 1 x {Tokens}, all labelled, in one step; medians of {settings.Runs} processes, lowest to highest");
        Console.WriteLine("| spin count | alone, ms | processor, ms | two processes at once, ms | processor, ms |");
        Console.WriteLine("| ---: | ---: | ---: | ---: | ---: |");
        foreach (var count in Counts)
        {
            var cells = Processes.SelectMany(
                static _ => Enumerable.Range(0, 2),
                (processes, column) => Cell([.. taken[(count, processes)].Select(values => values[column]).Order()]));
            Console.WriteLine($"| {count.ToString("N0", CultureInfo.InvariantCulture)} | {string.Join(" | ", cells)} |");
        }
    }

    /// <summary>
    /// In a process of its own: takes steps for some seconds and prints milliseconds of one on the clock, and on the processor.
    /// </summary>
    public static void Measure(Settings settings)
    {
        using var model = BenchmarkModel.Create(settings.Device);
        using var ours = new OurStep(model, TrainingBenchmark.Adapter, TrainingBenchmark.Training, Clients);
        var batches = Batches.Even(Clients, 1, Tokens, 1);
        for (var warmUp = 0; warmUp < 3; warmUp++) ours.Step(batches);
        var (started, used, steps) = (Stopwatch.GetTimestamp(), Environment.CpuUsage.TotalTime, 0);
        for (; Stopwatch.GetElapsedTime(started).TotalSeconds < Seconds; steps++) ours.Step(batches);
        var (wall, processor) = (Stopwatch.GetElapsedTime(started), Environment.CpuUsage.TotalTime - used);
        Console.Write(
            string.Create(CultureInfo.InvariantCulture, $"{wall.TotalMilliseconds / steps} {processor.TotalMilliseconds / steps}"));
    }

    private static string Name(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Cell(double[] ordered) =>
        string.Create(CultureInfo.InvariantCulture, $"{Pairs.Median(ordered):F0} ({ordered[0]:F0} to {ordered[^1]:F0})");
}
