using System.Globalization;
using FedRLora.Training.Data;
using TorchSharp;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// Peaks of processes that train, each alone in its process, above one that has loaded the model and taken a step of four tokens.
/// </summary>
internal static class TrainingMemory
{
    private const int Steps = 5;
    private const string Tiny = "tiny";
    private const string Eager = "eager";
    private const string Ours = "ours";
    private const string Group = "group";
    private static readonly int[] Groups = [1, 2, 4, 8, 16, 32];

    /// <summary>Prints the peak of our steps beside eager ones, and what each client of a group adds.</summary>
    public static async Task RunAsync(Settings settings)
    {
        if (settings.Device.type != DeviceType.CPU)
        {
            Console.WriteLine("peaks are the host's memory: run this part with --device cpu");
            return;
        }

        var peaks = new Dictionary<(string What, int Clients), double[]>();
        foreach (var kind in ((string, int)[])[(Tiny, 1), (Eager, 1), (Ours, 1), .. Groups.Select(static clients => (Group, clients))])
            peaks.Add(kind, new double[settings.Runs]);
        for (var run = 0; run < settings.Runs; run++)
            foreach (var ((what, clients), values) in peaks)
                values[run] = await PeakAsync(what, clients, settings);
        double[] Above((string, int) kind) => [.. peaks[kind].Zip(peaks[(Tiny, 1)], static (peak, tiny) => peak - tiny)];

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"a process that loads the model and takes one of our steps of 1 x 4 "
            + $"tokens: {Pairs.Median(peaks[(Tiny, 1)]):F0} MB; below is what lies above it"));
        Console.WriteLine(Pairs.Head("MB"));
        Console.WriteLine(
            Pairs.Row("5 steps of 1 client, 4 x 128", "peak above the tiny step", "eager", Above((Ours, 1)), Above((Eager, 1))));

        var (state, activations) = (StateMegabytes(), ActivationMegabytes(Tokens));
        Console.WriteLine();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"groups of clients of 1 x {Tokens} tokens on one base; adapter, "
            + $"gradients and both moments of a client are {state:F2} MB, the activations that its backward pass needs "
            + $"{activations:F2} MB"));
        Console.WriteLine("| clients | above the tiny step, MB | per added client, MB | computed per client, MB | beyond it, "
            + "MB per added client | lowest to highest |");
        Console.WriteLine("| ---: | ---: | ---: | ---: | ---: | ---: |");
        foreach (var clients in Groups)
        {
            double[] above = Above((Group, clients)), first = Above((Group, Groups[0]));
            double[] added = clients == Groups[0] ? above : [.. above.Zip(first, (peak, one) => (peak - one) / (clients - 1))];
            var beyond = added.Select(value => value - state - activations).Order().ToArray();
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {clients,2} | {Pairs.Median(above):F1} | {Pairs.Median(added):F2} | {state + activations:F2} | "
                    + $"{Pairs.Median(beyond):F2} | {beyond[0]:F2} to {beyond[^1]:F2} |"));
        }
    }

    /// <summary>In a process of its own: trains and prints the peak.</summary>
    public static void Measure(string what, int clients, Settings settings)
    {
        using var model = BenchmarkModel.Create(settings.Device);
        var batches = what switch
        {
            Tiny => Batches.Even(1, 1, 4, 1),
            Group => Batches.Even(clients, 1, Tokens, 1),
            _ => Batches.Even(1, 4, 128, 1),
        };
        if (what == Eager)
        {
            using var eager = new EagerGroup(model, TrainingBenchmark.Rank, batches);
            for (var step = 0; step < Steps; step++) eager.Step();
        }
        else
        {
            using var ours = new OurStep(model, TrainingBenchmark.Adapter, TrainingBenchmark.Training, clients);
            for (var step = 0; step < (what == Tiny ? 1 : Steps); step++) ours.Step(batches);
        }

        Console.Write(ChildProcess.PeakMegabytes().ToString(CultureInfo.InvariantCulture));
    }

    private const int Tokens = 32;

    private static async Task<double> PeakAsync(string what, int clients, Settings settings) => (await ChildProcess.RunAsync(
        "training", "measure", what, clients.ToString(CultureInfo.InvariantCulture), "--threads",
        settings.Threads.ToString(CultureInfo.InvariantCulture)))[0];

    // Values, gradients and two moments, float32.
    private static double StateMegabytes()
    {
        const int Copies = 4;
        using var model = BenchmarkModel.Create(TorchSharp.torch.CPU);
        return model.Linears.Sum(static linear => (long)(linear.InWidth + linear.OutWidth) * TrainingBenchmark.Rank) * Copies
            * sizeof(float) / 1e6;
    }

    // What the backward pass of a layer reads, each value once: its input, two norms, queries, keys, values, their mixture, the sum
    // after attention, gate, up and their product; and the final norm's input and output.
    private static double ActivationMegabytes(int tokens)
    {
        const int Wide = 8;
        const int Hidden = 3;
        var config = BenchmarkModel.Config;
        return tokens * ((long)config.Layers * (Wide * config.HiddenSize + Hidden * config.IntermediateSize) + 2L * config.HiddenSize)
            * sizeof(float) / 1e6;
    }
}
