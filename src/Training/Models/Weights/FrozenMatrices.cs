using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Gguf;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>Which form a matrix of a model takes in memory.</summary>
internal static class FrozenMatrices
{
    /// <summary>A matrix in the form that a plan asks for.</summary>
    /// <param name="weights">Where it lies.</param>
    /// <param name="name">Its name.</param>
    /// <param name="shape">The shape it must have.</param>
    /// <param name="device">Where it is wanted.</param>
    /// <param name="storage">The form.</param>
    /// <param name="kind">What it is the weight of: an embedding and an LM head are not quantized, as in QLoRA.</param>
    public static FrozenMatrix Read(
        IModelWeights weights, string name, IReadOnlyList<long> shape, Device device, WeightStorage storage, LayerKind kind)
    {
        FrozenMatrix Of(ScalarType dtype) => OfTensor(weights.Read(name, shape, device, dtype).DetachFromDisposeScope());
        return storage switch
        {
            WeightStorage.Float32 => Of(ScalarType.Float32),
            WeightStorage.Bfloat16 => Of(ScalarType.BFloat16),
            WeightStorage.Float16 => Of(ScalarType.Float16),
            WeightStorage.Int8 or WeightStorage.Nf4 when kind is LayerKind.Linear or LayerKind.Conv1D => Quantized(),
            _ => weights.Stored(name, shape, device),
        };

        FrozenMatrix Quantized()
        {
            if (device.type != DeviceType.CPU)
            {
                throw new BadInputException(
                    $"{weights.Path}: model.storage {(storage == WeightStorage.Int8 ? "int8" : "nf4")} is multiplied "
                        + "on a CPU alone; on another device give bfloat16, float16 or float32");
            }

            using var scope = NewDisposeScope();
            var values = weights.Read(name, shape, device, ScalarType.Float32);
            var isTransposed = kind == LayerKind.Conv1D; // an output a row, as the quantizers of PyTorch's users have them
            if (isTransposed) values = values.t().contiguous();
            var called = $"{weights.Path}: tensor {BadInputException.Shown(name)}";
            return storage == WeightStorage.Int8
                ? new Int8Matrix(values, called) { IsTransposed = isTransposed }
                : new Nf4Matrix(values, called) { IsTransposed = isTransposed };
        }
    }

    /// <summary>A tensor of floats; half precision in the host's memory is widened where it is multiplied.</summary>
    /// <param name="values"><c>[Rows, Columns]</c>; the matrix owns it.</param>
    public static unsafe FrozenMatrix OfTensor(Tensor values)
    {
        if (values.device_type != DeviceType.CPU || values.dtype is not (ScalarType.Float16 or ScalarType.BFloat16))
            return new FloatMatrix(values);
        var type = values.dtype == ScalarType.Float16 ? GgmlType.F16 : GgmlType.BF16;
        return new GgmlMatrix(PointerTo(values), type, values.shape[0], values.shape[1], floats: values);
    }

    /// <summary>Address of a tensor's first number; the tensor is contiguous, in the host's memory.</summary>
    public static unsafe byte* PointerTo(Tensor x)
    {
        // TorchSharp gives bytes as a span, which cannot be as long as a tensor; its first number's is.
        using var first = x.view(-1).narrow(0, 0, 1);
        fixed (byte* address = first.bytes) return address; // no garbage collector moves libtorch's memory
    }
}
