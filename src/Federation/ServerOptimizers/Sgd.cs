using System.Numerics.Tensors;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>x + lr D: with lr 1, FedAvg (McMahan et al., AISTATS 2017, arXiv 1602.05629).</summary>
internal sealed class Sgd(double learningRate) : IServerOptimizer
{
    private const int Block = 4096;

    public (AdapterState Global, AdapterState? State) Step(AdapterState global, AdapterState update, AdapterState? state) =>
        (new AdapterState(global.Select(pair => KeyValuePair.Create(pair.Key, Moved(pair.Value, update[pair.Key])))), null);

    private NamedArray Moved(NamedArray before, NamedArray update)
    {
        var after = GC.AllocateUninitializedArray<float>(before.Data.Length);
        var (wide, sum) = (new double[Math.Min(Block, after.Length)], new double[Math.Min(Block, after.Length)]);
        for (var start = 0; start < after.Length; start += Block)
        {
            var length = Math.Min(Block, after.Length - start);
            TensorPrimitives.ConvertTruncating<float, double>(update.Data.AsSpan(start, length), wide);
            TensorPrimitives.ConvertTruncating<float, double>(before.Data.AsSpan(start, length), sum);
            // Not fused: the same bits on every processor.
            TensorPrimitives.MultiplyAdd(wide.AsSpan(0, length), learningRate, sum.AsSpan(0, length), sum);
            TensorPrimitives.ConvertTruncating<double, float>(sum.AsSpan(0, length), after.AsSpan(start, length));
        }
        return new NamedArray(before.Shape, after);
    }
}
