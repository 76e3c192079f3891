using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Lanes;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Kernels;

/// <summary>What a processor multiplies in narrower types with.</summary>
internal static class ComputeUnits
{
    private const int Size = 512;
    private const int Repeats = 5;

    // Once, so that a run is not refused in its midst.
    private static readonly Lazy<double> Measured = new(Slowdown);

    /// <summary>The units for bfloat16 as a fingerprint names them; null where products in it are emulated.</summary>
    public static string? ForBfloat16 { get; } = Find();

    /// <summary>The type of products with frozen weights; null for the model's own.</summary>
    public static ScalarType? TypeOf(ComputeType compute) => compute == ComputeType.Bfloat16 ? ScalarType.BFloat16 : null;

    /// <summary>Refuses a type that the processor computes slower in than in float32; products are measured for the reason.</summary>
    /// <exception cref="BadInputException">The processor has no units for it, and the plan does not allow that.</exception>
    public static void Require(TrainingSpec training, Device device) => Require(training, device, ForBfloat16);

    internal static void Require(TrainingSpec training, Device device, string? units, Func<double>? slowdownOf = null)
    {
        if (training.Compute == ComputeType.Float32 || training.AllowSlowCompute || device.type != DeviceType.CPU
            || units is not null) return;
        var slowdown = slowdownOf?.Invoke() ?? Measured.Value;
        if (slowdown <= 1) return; // units that are not known here
        throw new BadInputException("training.compute bfloat16: this processor has no units for it, and a product takes "
            + FormattableString.Invariant($"{slowdown:0.0} times as long as in float32 ({Size} x {Size}, one thread); ")
            + "give float32, or allow it with training.allowSlowCompute: true");
    }

    private static double Slowdown()
    {
        var ratio = 0.0;
        var thread = new Thread(() =>
        {
            ThreadCount.Use(1);
            ratio = Seconds(ScalarType.BFloat16) / Seconds(ScalarType.Float32);
        });
        thread.Start();
        thread.Join();
        return ratio;
    }

    private static double Seconds(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var (left, right) = (ones([Size, Size], dtype, CPU), ones([Size, Size], dtype, CPU));
        double Once()
        {
            var started = Stopwatch.GetTimestamp();
            left.mm(right).Dispose();
            return Stopwatch.GetElapsedTime(started).TotalSeconds;
        }

        return Enumerable.Range(0, Repeats + 1).Select(_ => Once()).Skip(1).Min(); // but the first, which makes kernels
    }

    private static string? Find()
    {
        if (RuntimeInformation.ProcessArchitecture == Architecture.Arm64)
            return OperatingSystem.IsLinux() && Flags().Contains("bf16") ? "bf16" : null;
        if (!X86Base.IsSupported || X86Base.CpuId(0, 0).Eax < 7) return null;
        const int Amx = 1 << 22, Avx512 = 1 << 5; // of leaf 7: AMX-BF16 in EDX, AVX512_BF16 in EAX of its first sub-leaf
        if ((X86Base.CpuId(7, 0).Edx & Amx) != 0) return "amx_bf16";
        return (X86Base.CpuId(7, 1).Eax & Avx512) != 0 ? "avx512_bf16" : null;
    }

    private static string[] Flags()
    {
        try
        {
            var line = File.ReadLines("/proc/cpuinfo").FirstOrDefault(static line => line.StartsWith("Features", StringComparison.Ordinal));
            return line?.Split(' ', StringSplitOptions.RemoveEmptyEntries) ?? [];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return []; // without them nothing is known of units
        }
    }
}
