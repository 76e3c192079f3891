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
    public static Tensor OnDevice(NamedArray array, Device device)
    {
        // A tensor over a managed array begins wherever that lies, which differs from run to run, and with it the order in which MKL adds
        // up a product with a vector. libtorch's own memory begins at a multiple of 64 bytes.
        using var managed = tensor(array.Data, [.. array.Shape], ScalarType.Float32, CPU);
        return managed.to(device, copy: true);
    }
}
