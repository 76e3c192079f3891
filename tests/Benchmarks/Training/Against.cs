using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Data;
using FedRLora.Training.Models;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// Steps of this build beside those of another one: each in a process of its own, in turn, so that what else the machine does meets both.
/// </summary>
internal static class Against
{
    // Two-sided 95 % of Student's t, by degrees of freedom from 1; beyond the table it is the normal distribution's.
    private static readonly double[] Quantiles =
    [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
        2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];

    /// <summary>
    /// Takes the name of a case from each line of the input, runs it some times, and answers with seconds of the processor.
    /// </summary>
    public static void Serve(Settings settings)
    {
        using var model = BenchmarkModel.Create(settings.Device);
        var cases = Cases(model).ToDictionary(StringComparer.Ordinal);
        Console.WriteLine(string.Join(';', cases.Keys));
        var steps = new Dictionary<string, (Action Step, int Count)>(StringComparer.Ordinal);
        while (Console.ReadLine() is { } name)
        {
            if (!steps.TryGetValue(name, out var known))
            {
                var step = cases[name]();
                for (var warmUp = 0; warmUp < 3; warmUp++) step();
                known = steps[name] = (step, (int)Math.Clamp(Math.Ceiling(0.3 / Taken(step, 1)), 1, 20));
            }

            Console.WriteLine(Taken(known.Step, known.Count).ToString("R", CultureInfo.InvariantCulture));
        }
    }

    /// <summary>Prints the ratio of this build's processor time to the other's for each case, with its 95 % interval.</summary>
    /// <param name="other">The other build's assembly of benchmarks.</param>
    /// <param name="part">What the name of a case has in it.</param>
    /// <param name="args">What both are called with.</param>
    /// <param name="runs">Pairs for each case.</param>
    public static void Run(string other, string part, string[] args, int runs)
    {
        using var ours = Start(Environment.ProcessPath!, typeof(Against).Assembly.Location, args);
        using var theirs = Start(Environment.ProcessPath!, other, args);
        var names = ours.StandardOutput.ReadLine()!.Split(';').Intersect(theirs.StandardOutput.ReadLine()!.Split(';'))
            .Where(name => name.Contains(part, StringComparison.Ordinal)).ToList();
        Console.WriteLine("| case | ours, processor ms | other, processor ms | ours / other | 95 % interval |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: |");
        foreach (var name in names)
        {
            var (our, their, logs) = (new double[runs], new double[runs], new double[runs]);
            for (var run = -1; run < runs; run++) // the first is a warm-up
            {
                var isFirst = run % 2 == 0;
                var (first, second) = isFirst ? (ours, theirs) : (theirs, ours);
                var (one, two) = (Ask(first, name), Ask(second, name));
                if (run < 0) continue;
                (our[run], their[run]) = isFirst ? (one, two) : (two, one);
                logs[run] = Math.Log(our[run] / their[run]);
            }

            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"| {name} | {Pairs.Median(our) * 1e3:F1} | {Pairs.Median(their) * 1e3:F1} | {Interval(logs)} |"));
        }
    }

    /// <summary>The mean of ratios by their logarithms, and its 95 % interval, as two cells of a table.</summary>
    public static string Interval(IReadOnlyList<double> logs)
    {
        var mean = logs.Average();
        var deviation = Math.Sqrt(logs.Sum(log => (log - mean) * (log - mean)) / (logs.Count - 1));
        var half = (logs.Count - 2 < Quantiles.Length ? Quantiles[logs.Count - 2] : 1.96) * deviation / Math.Sqrt(logs.Count);
        return string.Create(CultureInfo.InvariantCulture,
            $"{Math.Exp(mean):F3} | {Math.Exp(mean - half):F3} to {Math.Exp(mean + half):F3}");
    }

    private static IEnumerable<KeyValuePair<string, Func<Action>>> Cases(CausalLanguageModel model)
    {
        var batches = Batches.Even(1, 4, 128, 0.25);
        foreach (var (name, entry) in AdapterCatalog.Methods)
        {
            var spec = entry.Spec with { Rank = TrainingBenchmark.Rank, Alpha = 2 * TrainingBenchmark.Rank, TargetModules = [] };
            yield return new($"methods, {name}", () => Step(spec, batches));
        }

        foreach (var target in (string[])["embed_tokens", "lm_head"])
            yield return new($"methods, lora on {target} too",
                () => Step(TrainingBenchmark.Adapter with { TargetModules = ["q_proj", target] }, batches));
        foreach (var (label, share) in TrainingBenchmark.Labelled)
        {
            foreach (var (rows, tokens) in ((int, int)[])[(1, 32), (4, 64)])
            {
                var group = Batches.Even(8, rows, tokens, share);
                yield return new($"groups, 8 x ({rows} x {tokens}) {label}", () => Step(TrainingBenchmark.Adapter, group));
            }
        }

        var small = Batches.Even(8, 1, 32, 0.25);
        foreach (var name in (string[])["dora", "r-lora"])
        {
            var spec = AdapterCatalog.Methods[name].Spec with { Rank = TrainingBenchmark.Rank, TargetModules = [] };
            yield return new($"groups, 8 x (1 x 32) 25 %, {name}", () => Step(spec, small));
        }

        var onTable = TrainingBenchmark.Adapter with { TargetModules = ["q_proj", "embed_tokens"] };
        yield return new("groups, 8 x (1 x 32) 25 %, lora on embed_tokens too", () => Step(onTable, small));

        Action Step(AdapterSpec spec, IReadOnlyList<EncodedRow[]> rows)
        {
            var step = new OurStep(model, spec, TrainingBenchmark.Training, rows.Count);
            return () => step.Step(rows);
        }
    }

    private static double Taken(Action step, int count)
    {
        var used = Environment.CpuUsage.TotalTime;
        for (var i = 0; i < count; i++) step();
        return (Environment.CpuUsage.TotalTime - used).TotalSeconds / count;
    }

    private static Process Start(string host, string assembly, string[] args) => Process.Start(
        new ProcessStartInfo(host, [assembly, "training", "serve", .. args])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;

    private static double Ask(Process build, string name)
    {
        build.StandardInput.WriteLine(name);
        build.StandardInput.Flush();
        return double.Parse(build.StandardOutput.ReadLine() ?? throw new InvalidOperationException("a build has ended"),
            CultureInfo.InvariantCulture);
    }
}
