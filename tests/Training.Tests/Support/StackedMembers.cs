using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests;

/// <summary>Members with tensors and masks of their own, side by side.</summary>
internal sealed class StackedMembers : IDisposable
{
    private const ulong PlanSeed = 5;

    /// <param name="layout">Of all members.</param>
    /// <param name="model">The frozen base.</param>
    /// <param name="members">Their numbers: a member is the same in whatever group.</param>
    /// <param name="dtype">What is computed in.</param>
    /// <param name="away">How far their tensors that move are from the start.</param>
    /// <param name="tasks">The number of each one's task; null for one that follows from its number.</param>
    public StackedMembers(
        AdapterLayout layout, CausalLanguageModel? model, IReadOnlyList<int> members, ScalarType dtype = ScalarType.Float32,
        float away = 0.2f, IReadOnlyList<int>? tasks = null)
    {
        Masks = [.. members.Select(member => LayerMasks.Of(layout, PlanSeed, 1, Client(member).Id))];
        Stack = new AdapterStack([.. members.Select(member => Adapter(layout, member, away))], Masks, CPU, model, dtype,
            tasks ?? [.. members.Select(member => TaskOf(layout, member))]);
    }

    public AdapterStack Stack { get; }

    public IReadOnlyList<Dictionary<string, LayerMasks>> Masks { get; }

    public void Dispose()
    {
        foreach (var masks in Masks.SelectMany(static member => member.Values)) masks.Dispose();
    }

    /// <summary>A method's layout on a model.</summary>
    public static AdapterLayout LayoutOf(AdapterSpec spec, CausalLanguageModel model) =>
        AdapterLayout.For(spec, model.AdaptableLayers, new AdapterStart(null, () => model));

    /// <summary>A member's adapter.</summary>
    public static ClientAdapter Adapter(AdapterLayout layout, int member, float away = 0.2f) => new(
        layout, Values(layout, member, away),
        layout.Spec.Start == Start.Anchored ? layout.Initial(PlanSeed, Client(member), layout.HasStart) : null);

    /// <summary>The number of a member's task, for which there is a head.</summary>
    public static int TaskOf(AdapterLayout layout, int member) => member % layout.Spec.Heads;

    /// <summary>Tokens that some of them follow more than once; the second half carries loss.</summary>
    public static EncodedRow Row(int length) =>
        new([.. Enumerable.Range(0, length).Select(place => (place * place + 3 * length) % 32)], Math.Max(1, length / 2));

    private static ClientSpec Client(int member) => TinyFederation.Client($"gradient{member}");

    private static AdapterState Values(AdapterLayout layout, int member, float away)
    {
        // Each from a seed of its own, so that one tensor more or less changes no other.
        // What a lifecycle makes is there as if it had: links like what trains, a mask of about half of the entries.
        var trains = layout.Tensors.ToDictionary(
            static tensor => tensor.Name,
            static tensor => tensor.Trains || tensor.Role.IsCounted || tensor.Role.Name is FrozenLinks.A or FrozenLinks.B,
            StringComparer.Ordinal);
        return new AdapterState(layout.Initial(PlanSeed, Client(member), static _ => true).Select(entry =>
        {
            using var generator = new Generator(Seed.For((ulong)member, 0, "", $"away/{entry.Key}"), CPU);
            using var drawn = randn([.. entry.Value.Shape], ScalarType.Float32, CPU, generator: generator);
            if (entry.Key.EndsWith("." + HeadMask.Role, StringComparison.Ordinal))
                return KeyValuePair.Create(entry.Key,
                    new NamedArray(entry.Value.Shape, [.. drawn.data<float>().Select(static value => value > 0 ? 1f : 0f)]));
            var moves = trains[entry.Key] ? drawn.data<float>().ToArray() : new float[entry.Value.Data.Length];
            return KeyValuePair.Create(
                entry.Key, new NamedArray(entry.Value.Shape, [.. entry.Value.Data.Zip(moves, (value, move) => value + away * move)]));
        }));
    }
}
