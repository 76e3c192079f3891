using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>x + lr D: with lr 1, FedAvg (METHODS-CORE 5.1).</summary>
internal sealed class Sgd(double learningRate) : IServerOptimizer
{
    public (AdapterState Global, AdapterState? State) Step(AdapterState global, AdapterState update, AdapterState? state) =>
        (new AdapterState(global.Select(pair => KeyValuePair.Create(pair.Key, Moved(pair.Value, update[pair.Key])))), null);

    private NamedArray Moved(NamedArray before, NamedArray update)
    {
        var after = new float[before.Data.Length];
        for (var i = 0; i < after.Length; i++)
            after[i] = (float)(before.Data[i] + (learningRate * update.Data[i]));
        return new NamedArray(before.Shape, after);
    }
}
