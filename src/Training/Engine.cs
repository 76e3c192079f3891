using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using FedRLora.Abstractions.Ports;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>What the bits depend on besides the plan.</summary>
internal static class Engine
{
    public static EngineFingerprint Fingerprint(Device device, int threads)
    {
        var library = $"TorchSharp {typeof(torch).Assembly.GetName().Version?.ToString(3)}, libtorch {__version__}";
        return new(library, device.type == DeviceType.CPU ? CpuKernels() : device.ToString(), threads);
    }

    // The rule by which libtorch and its BLAS pick kernels is not to be asked through TorchSharp; this names what it decides by.
    private static string CpuKernels()
    {
        if (Environment.GetEnvironmentVariable("ATEN_CPU_CAPABILITY") is { Length: > 0 } forced) return $"{RuntimeInformation.OSArchitecture} {forced}";
        var set = Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512F.VL.IsSupported ? "avx512" : Avx2.IsSupported && Fma.IsSupported ? "avx2" : "default";
        return $"{RuntimeInformation.OSArchitecture} {set}";
    }
}
