using System.Runtime.InteropServices;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>The tensors of one role, which train, of all members: <c>[G, P]</c>.</summary>
internal sealed class StackBlock
{
    public StackBlock(IReadOnlyList<AdapterTensor> tensors, IReadOnlyList<AdapterState> members, Device device, ScalarType dtype)
    {
        Tensors = tensors;
        Value = Flat(members, "", device, dtype);
        Gradient = zeros_like(Value);
    }

    /// <summary>Of all tensors of the role.</summary>
    public TensorPolicy Policy => Tensors[0].Policy;

    public IReadOnlyList<AdapterTensor> Tensors { get; }

    /// <summary><c>[G, P]</c>.</summary>
    public Tensor Value { get; }

    /// <summary>As <see cref="Value"/>.</summary>
    public Tensor Gradient { get; }

    /// <summary>A row for each state: its tensors in the block's order, 0 where a state lacks one.</summary>
    /// <param name="states">One for each member, shapes already checked.</param>
    /// <param name="suffix">After each tensor's name.</param>
    /// <param name="device">Of the result.</param>
    /// <param name="dtype">Of the result.</param>
    /// <returns><c>[G, P]</c>.</returns>
    public Tensor Flat(IReadOnlyList<AdapterState> states, string suffix, Device device, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var flat = zeros([states.Count, Tensors.Sum(static tensor => NamedArray.Count(tensor.Shape))], ScalarType.Float32, CPU);
        foreach (var (member, state) in states.Index())
        {
            var row = MemoryMarshal.Cast<byte, float>(flat[member].bytes);
            foreach (var info in Tensors)
            {
                if (state.TryGetValue(info.Name + suffix, out var array)) array.Data.CopyTo(row);
                row = row[(int)NamedArray.Count(info.Shape)..];
            }
        }

        return flat.to(dtype).to(device).MoveToOuterDisposeScope();
    }

    /// <summary>A member's row of a buffer as the tensors in it, by name and <paramref name="suffix"/>.</summary>
    public IEnumerable<KeyValuePair<string, NamedArray>> Cut(Tensor buffer, int member, string suffix)
    {
        var values = TensorData.Values(buffer[member].to(ScalarType.Float32));
        var offset = 0;
        foreach (var info in Tensors)
        {
            var length = (int)NamedArray.Count(info.Shape);
            yield return new(info.Name + suffix, new(info.Shape, values[offset..(offset + length)]));
            offset += length;
        }
    }
}
