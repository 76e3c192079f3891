using System.Numerics.Tensors;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>x + lr D: with lr 1, FedAvg (McMahan et al., AISTATS 2017, arXiv 1602.05629).</summary>
internal sealed class Sgd(double learningRate) : IServerOptimizer
{
    public (AdapterState Global, AdapterState? State) Step(AdapterState global, AdapterState update, AdapterState? state) =>
        (new AdapterState(global.Select(pair => KeyValuePair.Create(
            pair.Key, update.TryGetValue(pair.Key, out var aggregate) ? Moved(pair.Value, aggregate) : pair.Value))), null);

    private NamedArray Moved(NamedArray before, NamedArray update)
    {
        var after = GC.AllocateUninitializedArray<float>(before.Data.Length);
        foreach (var block in new Blocks(after.Length, arrays: 2))
        {
            var wide = block.Read(0, update.Data);
            var sum = block.Read(1, before.Data);
            TensorPrimitives.MultiplyAdd(wide, learningRate, sum, sum); // not fused: the same bits on every processor
            block.Write(1, after);
        }

        return before with { Data = after };
    }
}
