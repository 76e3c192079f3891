using System.Diagnostics;
using System.Runtime.InteropServices;
using FedRLora.Training.Lanes;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>What this machine's engine is and how fast: for a person who looks for the reason of a slow or broken installation.</summary>
public sealed record EngineReport
{
    private const int Size = 1024;
    private const int Repeats = 5;

    /// <summary>Version of TorchSharp.</summary>
    public required string TorchSharp { get; init; }

    /// <summary>Version of libtorch.</summary>
    public required string Libtorch { get; init; }

    /// <summary>Processor architecture and the vector instructions that kernels are picked by, as in a run's fingerprint.</summary>
    public required string Kernels { get; init; }

    /// <summary>The library behind matrix products; null where it does not say.</summary>
    public required string? Blas { get; init; }

    /// <summary>Threads of a matrix product unless a plan says otherwise.</summary>
    public required int Threads { get; init; }

    /// <summary>Devices that a silo can train on.</summary>
    public required IReadOnlyList<string> Devices { get; init; }

    /// <summary>Of a float32 product of two 1024 x 1024 matrices on one thread, median of 5.</summary>
    public required double GflopsOneThread { get; init; }

    /// <summary>The same on <see cref="Threads"/> threads.</summary>
    public required double GflopsAllThreads { get; init; }

    /// <summary>Loads the engine and measures it; about a second.</summary>
    public static EngineReport Measure()
    {
        var threads = LaneDemand.ThreadsOf(0);
        var one = Gflops(1);
        return new EngineReport
        {
            TorchSharp = Engine.TorchSharpVersion,
            Libtorch = __version__,
            Kernels = Engine.Fingerprint(CPU, threads).Kernels,
            Blas = MklVersion(),
            Threads = threads,
            Devices = ["cpu", .. cuda.is_available() ? Enumerable.Range(0, cuda.device_count()).Select(static index => $"cuda:{index}") : []],
            GflopsOneThread = one,
            GflopsAllThreads = threads == 1 ? one : Gflops(threads),
        };
    }

    private static double Gflops(int threads)
    {
        set_num_threads(threads);
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var (a, b) = (ones([Size, Size], ScalarType.Float32, CPU), ones([Size, Size], ScalarType.Float32, CPU));
        var seconds = Enumerable.Range(0, Repeats + 1).Select(_ =>
        {
            var started = Stopwatch.GetTimestamp();
            a.mm(b).Dispose();
            return Stopwatch.GetElapsedTime(started).TotalSeconds;
        }).Skip(1).Order().ToList(); // the first wakes the threads
        return 2.0 * Size * Size * Size / seconds[Repeats / 2] / 1e9;
    }

    // libtorch links Intel's library statically and exports its entry points.
    private static unsafe string? MklVersion()
    {
        using var process = Process.GetCurrentProcess();
        var library = process.Modules.Cast<ProcessModule>().FirstOrDefault(static module => module.ModuleName.Contains("torch_cpu", StringComparison.Ordinal));
        if (library?.FileName is not { } path || !NativeLibrary.TryLoad(path, out var handle)) return null;
        if (!NativeLibrary.TryGetExport(handle, "MKL_Get_Version_String", out var export)) return null;
        var text = stackalloc byte[256];
        ((delegate* unmanaged<byte*, int, void>)export)(text, 255);
        text[255] = 0;
        return Marshal.PtrToStringUTF8((nint)text)?.Trim();
    }
}
