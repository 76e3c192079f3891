using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Devices;
using FedRLora.Training.Kernels;
using FedRLora.Training.Quantization;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>What the bits depend on besides the plan.</summary>
internal static class Engine
{
    // Variables by which the libraries behind libtorch are told to take other kernels, and so to give other bits.
    private static readonly string[] Choosing =
    [
        "MKL_CBWR", "MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS", "DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA",
        "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", Determinism.Workspace, "CUBLASLT_WORKSPACE_SIZE",
        "TORCH_BLAS_PREFER_CUBLASLT", "TORCH_LINALG_PREFER_CUSOLVER", "DISABLE_ADDMM_CUDA_LT", .. Gpus.Narrowing,
    ];

    public static string TorchSharpVersion => typeof(torch).Assembly.GetName().Version?.ToString(3) ?? "unknown";

    public static EngineFingerprint Fingerprint(
        Device device, int threads, ComputeType compute = ComputeType.Float32, WeightStorage storage = WeightStorage.Float32)
    {
        var library = $"TorchSharp {TorchSharpVersion}, libtorch {Libtorch.Version}";
        var isOfHost = device.type == DeviceType.CPU;
        // Starts and draws are computed on the processor.
        var kernels = isOfHost ? CpuKernels() : $"{CpuKernels()} {Gpu.Of(device.index).Mark} {Gpu.BlasMark}";
        var steps = StepKernels.For(device, ScalarType.Float32).Mark;
        string[] narrow = compute == ComputeType.Float32 ? [] : isOfHost ? [ComputeUnits.ForBfloat16 ?? "bfloat16-emulated"] : ["bfloat16"];
        string[] stored = isOfHost && storage != WeightStorage.Float32 ? [RowProducts.Mark] : [];
        string[] marks = [kernels, steps, .. stored, .. narrow, .. Choosing.Select(Setting).OfType<string>()];
        return new(library, string.Join(' ', marks), threads);
    }

    // A semicolon parts what a manifest holds.
    private static string? Setting(string variable) => Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value
        && (variable, value) != (Determinism.Workspace, Determinism.EnoughWorkspace)
        ? $"{variable}={BadInputException.Shown(value).Replace(';', ' ')}"
        : null;

    // The rule by which libtorch and its BLAS pick kernels is not to be asked through TorchSharp; this names what it decides by.
    private static string CpuKernels()
    {
        if (Environment.GetEnvironmentVariable("ATEN_CPU_CAPABILITY") is { Length: > 0 } forced)
            return $"{RuntimeInformation.OSArchitecture} {forced}";
        var set = Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512F.VL.IsSupported ? "avx512"
            : Avx2.IsSupported && Fma.IsSupported ? "avx2"
            : "default";
        return $"{RuntimeInformation.OSArchitecture} {set}";
    }
}
