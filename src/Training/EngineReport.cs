using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Devices;
using FedRLora.Training.Kernels;
using FedRLora.Training.Lanes;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>What this machine's engine is and how fast: for a person who looks for the reason of a slow or broken installation.</summary>
public sealed record EngineReport
{
    private const int Size = 1024;
    private const double Operations = 2.0 * Size * Size * Size;
    private const int Repeats = 5;
    private static readonly int ThreadsOfALane = new TrainingSpec().Threads;
    private static readonly TimeSpan LanesRun = TimeSpan.FromSeconds(0.25);

    /// <summary>Version of TorchSharp.</summary>
    public required string TorchSharp { get; init; }

    /// <summary>Version of libtorch.</summary>
    public required string Libtorch { get; init; }

    /// <summary>Processor architecture and the vector instructions that kernels are picked by, as in a run's fingerprint.</summary>
    public required string Kernels { get; init; }

    /// <summary>The processor's units for products in bfloat16; null where such products are slower than in float32.</summary>
    public required string? Bfloat16 { get; init; }

    /// <summary>The library behind matrix products; null where it does not say.</summary>
    public required string? Blas { get; init; }

    /// <summary>Cores that this process may use: threads of a matrix product that takes them all.</summary>
    public required int Threads { get; init; }

    /// <summary>Lanes that a silo has by default: threads that train a group each. One for each core; on a GPU one.</summary>
    public required int Lanes { get; init; }

    /// <summary>Threads of a lane's matrix product unless a plan says otherwise.</summary>
    public required int LaneThreads { get; init; }

    /// <summary>How threads of one product wait for each other.</summary>
    public required ThreadWaiting Waiting { get; init; }

    /// <summary>Devices that libtorch finds, GPUs with what their driver says of them.</summary>
    public required IReadOnlyList<string> Devices { get; init; }

    /// <summary>What it computes otherwise than it should, on any of them; empty where all is right.</summary>
    public required IReadOnlyList<string> Wrong { get; init; }

    /// <summary>Of a float32 product of two 1024 x 1024 matrices on one thread, which is one lane alone; median of 5.</summary>
    public required double GflopsOneThread { get; init; }

    /// <summary>The sum over all <see cref="Lanes"/> when they multiply at once, each on its own thread.</summary>
    public required double GflopsAllLanes { get; init; }

    /// <summary>One product at a time on <see cref="Threads"/> threads, median of 5.</summary>
    public required double GflopsAllThreads { get; init; }

    /// <summary>Loads the engine and measures it, in about two seconds; threads keep the counts that they had.</summary>
    public static EngineReport Measure()
    {
        // A thread that has not set its own takes the count that libtorch was given last, by whomever.
        var before = OnOwnThread(get_num_threads);
        try
        {
            var (cores, lanes) = (Environment.ProcessorCount, DeviceLanes.CountOn(CPU));
            var one = OnOwnThread(static () => Gflops(1));
            var gpus = Gpus.Found.ToList();
            return new EngineReport
            {
                TorchSharp = Engine.TorchSharpVersion,
                Libtorch = Training.Devices.Libtorch.Version,
                Kernels = Engine.Fingerprint(CPU, cores).Kernels,
                Bfloat16 = ComputeUnits.ForBfloat16,
                Blas = MklVersion(),
                Threads = cores,
                Lanes = lanes,
                LaneThreads = ThreadsOfALane,
                Waiting = ThreadWaiting.OfThisProcess,
                Devices = [DeviceNames.Cpu, .. gpus.Select(static gpu => gpu.Shown)],
                Wrong =
                [
                    .. gpus.Select(static gpu => gpu.Name).Prepend(DeviceNames.Cpu).SelectMany(
                        static name => OnOwnThread(() => KnownAnswers.Wrong(device(name))).Select(line => $"{name}: {line}")),
                ],
                GflopsOneThread = one,
                GflopsAllLanes = lanes == 1 ? one : GflopsOfLanes(lanes),
                GflopsAllThreads = cores == 1 ? one : OnOwnThread(() => Gflops(cores)),
            };
        }
        finally
        {
            _ = OnOwnThread(() =>
            {
                set_num_threads(before);
                return before;
            });
        }
    }

    private static double Gflops(int threads)
    {
        ThreadCount.Use(threads);
        using var scope = NewDisposeScope();
        var product = Product();
        // But the first, which wakes threads.
        var seconds = Enumerable.Range(0, Repeats + 1).Select(_ => Seconds(product)).Skip(1).Order().ToList();
        return Operations / seconds[Repeats / 2] / 1e9;
    }

    private static double GflopsOfLanes(int lanes)
    {
        using var start = new Barrier(lanes);
        var running = Enumerable.Range(0, lanes).Select(_ => Begin(() =>
        {
            try
            {
                ThreadCount.Use(ThreadsOfALane);
                using var scope = NewDisposeScope();
                var product = Product();
                product();
                start.SignalAndWait();
                var (started, products) = (Stopwatch.GetTimestamp(), 0);
                for (; Stopwatch.GetElapsedTime(started) < LanesRun; products++) product();
                return products * Operations / Stopwatch.GetElapsedTime(started).TotalSeconds / 1e9;
            }
            catch
            {
                start.RemoveParticipant(); // or the others wait for ever
                throw;
            }
        })).ToList();
        return running.Sum(static end => end());
    }

    private static Action Product()
    {
        var (a, b) = (ones([Size, Size], ScalarType.Float32, CPU), ones([Size, Size], ScalarType.Float32, CPU));
        return () =>
        {
            using var inference = no_grad();
            a.mm(b).Dispose();
        };
    }

    private static double Seconds(Action product)
    {
        var started = Stopwatch.GetTimestamp();
        product();
        return Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    private static T OnOwnThread<T>(Func<T> work) => Begin(work)();

    // What the thread sets, ends with it. The result waits for its end and throws what it threw.
    private static Func<T> Begin<T>(Func<T> work)
    {
        var (result, failure) = (default(T), default(ExceptionDispatchInfo));
        var thread = new Thread(() =>
        {
            try
            {
                result = work();
            }
            catch (Exception exception)
            {
                failure = ExceptionDispatchInfo.Capture(exception);
            }
        }) { IsBackground = true, Name = "engine report" };
        thread.Start();
        return () =>
        {
            thread.Join();
            failure?.Throw();
            return result!;
        };
    }

    // libtorch links Intel's library statically and exports its entry points.
    private static unsafe string? MklVersion()
    {
        if (Training.Devices.Libtorch.ExportOf("MKL_Get_Version_String") is not (not 0 and var export)) return null;
        var text = stackalloc byte[256];
        ((delegate* unmanaged<byte*, int, void>)export)(text, 255);
        text[255] = 0;
        return Marshal.PtrToStringUTF8((nint)text)?.Trim();
    }
}
