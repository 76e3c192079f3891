using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Kernels;

/// <summary>Where a tensor of the host lies; good while the tensor lives.</summary>
internal static unsafe class Memory
{
    /// <exception cref="ArgumentException">Not float32 in the host's memory, or not in one piece.</exception>
    public static float* Of(Tensor x) => (float*)Start(x, ScalarType.Float32);

    /// <inheritdoc cref="Of"/>
    public static long* LongsOf(Tensor x) => (long*)Start(x, ScalarType.Int64);

    private static void* Start(Tensor x, ScalarType dtype)
    {
        if (x.dtype != dtype || x.device_type != DeviceType.CPU || !x.is_contiguous())
        {
            var shape = string.Join(", ", x.shape);
            throw new ArgumentException(
                $"A {x.dtype} tensor of shape [{shape}] on {x.device_type}, expected {dtype} in one piece in the host's memory.");
        }

        if (x.numel() == 0) return null;
        if (x.numel() * x.ElementSize <= int.MaxValue) return Unsafe.AsPointer(ref MemoryMarshal.GetReference(x.bytes));
        using var first = x.as_strided([1], [1], x.storage_offset());
        return Unsafe.AsPointer(ref MemoryMarshal.GetReference(first.bytes));
    }
}
