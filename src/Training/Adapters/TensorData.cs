using System.Runtime.InteropServices;
using FedRLora.Abstractions.Tensors;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>Arrays of the program and tensors of libtorch.</summary>
internal static class TensorData
{
    /// <summary>A tensor's elements in float32.</summary>
    public static float[] Values(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return MemoryMarshal.Cast<byte, float>(tensor.detach().to(ScalarType.Float32).cpu().contiguous().bytes).ToArray();
    }

    /// <summary>A float32 tensor on a device, in the caller's dispose scope.</summary>
    public static Tensor OnDevice(NamedArray array, Device device) => tensor(array.Data, [.. array.Shape], ScalarType.Float32, device);
}
