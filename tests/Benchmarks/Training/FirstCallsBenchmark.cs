using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using FedRLora.Training.Lanes;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// How often threads that call a function of the library's vector mathematics first, all at once, compute something else than every
/// later call, in processes that make the first calls by one thread before and in processes that do not.
/// </summary>
internal static class FirstCallsBenchmark
{
    private const int Threads = 8;

    private static readonly Func<Tensor, Tensor>[] Functions = [static x => x.cos(), static x => x.sin(), static x => x.sqrt()];

    public static async Task RunAsync(string[] args)
    {
        if (args is ["child", var order])
        {
            Environment.ExitCode = Child(order == "before") ? 0 : 1;
            return;
        }

        var count = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 200;
        foreach (var way in (string[])["at once", "before"])
        {
            var wrong = 0;
            await Parallel.ForAsync(0, count, new ParallelOptions { MaxDegreeOfParallelism = 2 * Environment.ProcessorCount },
                async (_, stop) =>
            {
                var start = new ProcessStartInfo(Environment.ProcessPath!);
                if (Path.GetFileNameWithoutExtension(Environment.ProcessPath!) == "dotnet")
                    start.ArgumentList.Add(typeof(FirstCallsBenchmark).Assembly.Location);
                foreach (var argument in (string[])["first-calls", "child", way]) start.ArgumentList.Add(argument);
                using var child = Process.Start(start)!;
                await child.WaitForExitAsync(stop);
                if (child.ExitCode == 1) Interlocked.Increment(ref wrong);
                else if (child.ExitCode != 0) throw new InvalidOperationException($"a child ended with {child.ExitCode}");
            });
            Console.WriteLine($"first calls {way}: {wrong} of {count} processes computed something else in a first call");
        }
    }

    // Whether all first calls gave what later ones give.
    private static bool Child(bool before)
    {
        if (before) FirstCalls.AreMade();
        var wrong = 0;
        using var start = new Barrier(Threads);
        var threads = Enumerable.Range(0, Threads).Select(_ => new Thread(() =>
        {
            set_num_threads(1);
            using var scope = NewDisposeScope();
            var x = linspace(0.01, 30, 192, ScalarType.Float32);
            foreach (var function in Functions)
            {
                start.SignalAndWait();
                var first = function(x);
                start.SignalAndWait();
                if (!Bytes(first).SequenceEqual(Bytes(function(x)))) Interlocked.Increment(ref wrong);
            }
        })).ToList();
        threads.ForEach(static thread => thread.Start());
        threads.ForEach(static thread => thread.Join());
        return wrong == 0;
    }

    private static ReadOnlySpan<byte> Bytes(Tensor x) => MemoryMarshal.AsBytes(x.data<float>().ToArray().AsSpan());
}
