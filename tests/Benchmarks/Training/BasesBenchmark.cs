using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions.Plans;
using FedRLora.Training;
using FedRLora.Training.Lanes;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// A model in every form that its frozen weights can take, each in a process of its own: time to load, memory, a training step, generation.
/// Times are processor seconds of one thread, the least of some.
/// </summary>
internal static class BasesBenchmark
{
    private const int Rank = 8;
    private const int Clients = 8;
    private const int NewTokens = 64;

    private static readonly AdapterSpec Adapter = new() { Rank = Rank, Alpha = 2 * Rank };

    /// <summary>Prints a table; with <c>measure</c> first, the numbers of one form.</summary>
    public static async Task RunAsync(string[] args)
    {
        if (args is ["measure", var path, var form, var type, var repeats])
        {
            Measure(path, Enum.Parse<WeightStorage>(form), Enum.Parse<ComputeType>(type), int.Parse(repeats, CultureInfo.InvariantCulture));
            return;
        }

        if (args is not [var model, .. var rest])
        {
            Console.WriteLine("bases MODEL [REPEATS]: a Hugging Face folder or a GGUF file");
            return;
        }

        var times = rest is [var given] ? given : "3";
        Console.WriteLine(
            "| storage, compute | load, s | matrices, MB | private, MB | shared pages, MB | peak, MB | step 1 x (4 x 128), s | "
                + "step 8 x (1 x 32), s | private with 8 clients, MB | tokens/s |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        foreach (var storage in Enum.GetValues<WeightStorage>())
            foreach (var compute in storage == WeightStorage.Bfloat16 ? Enum.GetValues<ComputeType>() : [ComputeType.Float32])
            {
                var numbers = await ChildProcess.RunAsync("bases", "measure", model, $"{storage}", $"{compute}", times);
                Console.WriteLine($"| {storage}, {compute} | "
                    + string.Join(" | ", numbers.Select(static (value, column) => value.ToString(column is 0 or 5 or 6 ? "F2" : "F0",
                        CultureInfo.InvariantCulture))) + " |");
            }
    }

    private static void Measure(string path, WeightStorage storage, ComputeType compute, int repeats)
    {
        ThreadCount.Use(1);
        using var inference = no_grad();
        var (before, loading) = (PrivateMegabytes(), ProcessorSeconds());
        using var model = FrozenBase.Load(path, CPU, storage);
        var load = ProcessorSeconds() - loading;
        var matrices = model.Model.StoredBytes.Values.Sum() / 1e6;
        var (own, shared) = (PrivateMegabytes() - before, Megabytes("RssFile"));
        var training = new TrainingSpec { Compute = compute };
        var vocabulary = model.Model.Config.VocabularySize;
        double one, eight, withEight;
        using (var step = new OurStep(model.Model, Adapter, training, 1))
            one = Least(repeats, () => step.Step(Batches.Even(1, 4, 128, 1, vocabulary)));
        var peak = ChildProcess.PeakMegabytes();
        using (var step = new OurStep(model.Model, Adapter, training, Clients))
        {
            eight = Least(repeats, () => step.Step(Batches.Even(Clients, 1, 32, 1, vocabulary)));
            withEight = PrivateMegabytes() - before;
        }

        var ids = model.Tokenizer.EncodePrompt("Once upon a time");
        var options = new SamplingOptions { MaxNewTokens = NewTokens };
        var generation = Least(repeats, () => _ = Generation.Tokens(model.Model, null, ids, options).Count());
        double[] numbers = [load, matrices, own, shared, peak, one, eight, withEight, NewTokens / generation];
        Console.Write(string.Join(' ', numbers.Select(static number => number.ToString("R", CultureInfo.InvariantCulture))));
    }

    private static double Least(int repeats, Action work)
    {
        work(); // the first one compiles and fills caches
        return Enumerable.Range(0, repeats).Min(_ =>
        {
            var started = ProcessorSeconds();
            work();
            return ProcessorSeconds() - started;
        });
    }

    private static double ProcessorSeconds()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime.TotalSeconds;
    }

    private static double PrivateMegabytes() => Megabytes("RssAnon");

    private static double Megabytes(string field)
    {
        var line = File.ReadLines("/proc/self/status").First(line => line.StartsWith(field + ':', StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) * 1024 / 1e6;
    }
}
