using System.Numerics.Tensors;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Faults;

/// <summary>What a hostile or broken client makes of the tensors of its update; statistics stay as they are.</summary>
internal static class UpdateAttack
{
    private const float Huge = 1e6f;

    /// <summary>The update that is sent; the same one where the fault changes none.</summary>
    public static AdapterState Apply(FaultSpec fault, AdapterState update) => fault.Kind switch
    {
        FaultKind.Nan => Changed(update, static (_, result) => result.Fill(float.NaN)),
        FaultKind.Zero => Changed(update, static (_, result) => result.Clear()),
        FaultKind.Huge => Times(update, (float?)fault.Scale ?? Huge),
        FaultKind.SignFlip => Times(update, -((float?)fault.Scale ?? 1)),
        FaultKind.WrongShape => WrongShape(update),
        _ => update,
    };

    private static AdapterState Times(AdapterState update, float factor) =>
        Changed(update, (data, result) => TensorPrimitives.Multiply(data, factor, result));

    private delegate void Change(ReadOnlySpan<float> data, Span<float> result);

    private static AdapterState Changed(AdapterState update, Change change) => new(update.Select(pair =>
    {
        if (StatisticFamily.IsStatistic(pair.Key)) return pair;
        var result = new float[pair.Value.Data.Length];
        change(pair.Value.Data, result);
        return KeyValuePair.Create(pair.Key, new NamedArray(pair.Value.Shape, result));
    }));

    // The first tensor alone: one is enough to be refused, and a refusal has to find it among the others.
    private static AdapterState WrongShape(AdapterState update)
    {
        if (update.Keys.FirstOrDefault(static name => !StatisticFamily.IsStatistic(name)) is not { } name)
            return update;
        var array = update[name];
        return new AdapterState(update.Where(other => other.Key != name).Prepend(array.Shape is [> 1, ..]
            ? KeyValuePair.Create(
                name,
                new NamedArray([array.Shape[0] - 1, .. array.Shape.Skip(1)], array.Data[..^(array.Data.Length / (int)array.Shape[0])]))
            : KeyValuePair.Create(name + ".wrong", array)));
    }
}
