using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>
/// An optimizer that remembers quantities of each tensor, in its shape. They are float32 between rounds, as they are stored, so that a run
/// that goes on from its store has the bits of one that was never stopped; within a step all is float64.
/// </summary>
/// <param name="spec">Its values.</param>
/// <param name="quantities">Their names with what they begin at.</param>
internal abstract class RememberingOptimizer(ServerOptimizerSpec spec, params (string Name, double Start)[] quantities) : IServerOptimizer
{
    private const string Steps = "steps";

    private readonly string _rule = spec.Variant == ServerVariant.Flower ? $"{spec.Rule}-flower" : spec.Rule;

    /// <summary>eta.</summary>
    protected double Rate { get; } = spec.Rate;

    /// <summary>Whether the steps of each tensor are counted; a count is exact up to 16 million.</summary>
    protected virtual bool Counts => false;

    public (AdapterState Global, AdapterState? State) Step(AdapterState global, AdapterState update, AdapterState? state)
    {
        var (after, memory) = (new List<KeyValuePair<string, NamedArray>>(), new List<KeyValuePair<string, NamedArray>>());
        foreach (var (tensor, before) in global)
        {
            if (update.TryGetValue(tensor, out var aggregate)) Step(tensor, before, aggregate, state, after, memory);
            else after.Add(KeyValuePair.Create(tensor, before));
        }

        memory.AddRange((state ?? AdapterState.Empty).Where(array => ServerMemory.IsOf(_rule, array.Key)
            && ServerMemory.TensorOf(array.Key) is var tensor && global.ContainsKey(tensor) && !update.ContainsKey(tensor)));
        return (new(after), new(memory));
    }

    /// <summary>Steps a block: x first, then D, then the quantities in their order, as they are and as they become.</summary>
    /// <param name="block">The block.</param>
    /// <param name="step">Of the tensor, from 1; 0 where steps are not counted.</param>
    protected abstract void Step(Blocks block, int step);

    private void Step(
        string tensor, NamedArray before, NamedArray aggregate, AdapterState? state,
        List<KeyValuePair<string, NamedArray>> after, List<KeyValuePair<string, NamedArray>> memory)
    {
        var x = GC.AllocateUninitializedArray<float>(before.Data.Length);
        float[][] old = [.. quantities.Select(one => Remembered(one.Name)?.Data ?? Filled((float)one.Start))];
        float[][] now = [.. quantities.Select(_ => GC.AllocateUninitializedArray<float>(x.Length))];
        var step = Counts ? (int)(Remembered(Steps)?.Data[0] ?? 0) + 1 : 0;
        foreach (var block in new Blocks(x.Length, quantities.Length + 3))
        {
            block.Read(0, before.Data);
            block.Read(1, aggregate.Data);
            for (var i = 0; i < old.Length; i++) block.Read(i + 2, old[i]);
            Step(block, step);
            block.Write(0, x);
            for (var i = 0; i < now.Length; i++) block.Write(i + 2, now[i]);
        }

        after.Add(KeyValuePair.Create(tensor, before with { Data = x }));
        foreach (var ((quantity, _), values) in quantities.Zip(now))
            memory.Add(KeyValuePair.Create(ServerMemory.NameOf(_rule, quantity, tensor), before with { Data = values }));
        if (Counts) memory.Add(KeyValuePair.Create(ServerMemory.NameOf(_rule, Steps, tensor), new NamedArray([1], [step])));

        NamedArray? Remembered(string quantity) =>
            state is not null && state.TryGetValue(ServerMemory.NameOf(_rule, quantity, tensor), out var known) ? known : null;

        float[] Filled(float value)
        {
            var filled = GC.AllocateUninitializedArray<float>(x.Length);
            filled.AsSpan().Fill(value);
            return filled;
        }
    }
}
