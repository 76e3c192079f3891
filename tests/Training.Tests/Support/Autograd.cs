using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests;

/// <summary>The hand-written backward passes beside libtorch's autograd over the plain operations, one member at a time.</summary>
internal static class Autograd
{
    private const double LeastShare = 0.1, RoundingShare = 1e-4;

    /// <summary>Members of one, two and three sequences, padded to one number of tokens.</summary>
    public static IReadOnlyList<IReadOnlyList<EncodedRow>> Ragged =>
    [
        [StackedMembers.Row(6), StackedMembers.Row(6)], [StackedMembers.Row(9)],
        [StackedMembers.Row(4), StackedMembers.Row(4), StackedMembers.Row(4)],
    ];

    /// <summary>Losses and gradients of all members are those of autograd.</summary>
    public static void AssertSame(
        CausalLanguageModel model, AdapterLayout layout, ScalarType dtype, double tolerance,
        IReadOnlyList<IReadOnlyList<EncodedRow>>? batches = null)
    {
        batches ??= Ragged;
        int[] numbers = [.. Enumerable.Range(0, batches.Count)];
        using var members = new StackedMembers(layout, model, numbers, dtype);
        using var again = new StackedMembers(layout, model, numbers, dtype);
        using var workspace = new Workspace(CPU, dtype);
        var losses = PackedLoss.Gradients(model, Packing.Of(batches, CPU), members.Stack.Slice(0, batches.Count), workspace);

        for (var member = 0; member < batches.Count; member++)
        {
            var reference = StackLeaves.Of(again.Stack, member);
            var asked = new List<MixTraining>();
            using var pass = AdapterPass.Training(reference, model, again.Masks[member], () =>
            {
                asked.Add(new([StackedMembers.TaskOf(layout, member)], layout.Targets.Count));
                return asked[^1];
            });
            var loss = Loss(model, batches[member], pass);
            asked.SelectMany(static layer => layer.Penalties).Aggregate(loss, static (sum, penalty) => sum.Plus(penalty.sum())).backward();
            Close.AssertRelative(
                loss.to(ScalarType.Float64).item<double>(), losses[member].item<float>(), $"loss of member {member}", 1e-6);
            var trained = layout.Tensors.Where(static info => info.Trains).ToList();
            // A gradient that is nothing but rounding, as that of a query where a token sees itself alone, is none on another processor.
            var rounding = RoundingShare * trained.Max(info => NormOf(again.Stack.GradientOf(member, info.Name)!));
            foreach (var layer in trained.GroupBy(static info => info.Target))
            {
                // What is small beside the layer's other gradients is in float32 a difference of what is not, as accurate as that.
                var least = dtype == ScalarType.Float64
                    ? rounding
                    : LeastShare * layer.Max(info => NormOf(again.Stack.GradientOf(member, info.Name)!));
                foreach (var info in layer)
                {
                    AssertClose(
                        again.Stack.GradientOf(member, info.Name)!, members.Stack.GradientOf(member, info.Name)!,
                        $"{layout.Spec.Method}, {info.Name} of member {member}", tolerance, least);
                }
            }
        }
    }

    /// <summary>The norm of the difference is at most that of the expected times the tolerance.</summary>
    /// <param name="expected">As it should be.</param>
    /// <param name="actual">As it is.</param>
    /// <param name="what">What it is.</param>
    /// <param name="tolerance">Relative.</param>
    /// <param name="least">A smaller norm counts as this.</param>
    public static void AssertClose(Tensor expected, Tensor actual, string what, double tolerance, double least = 0)
    {
        var (difference, norm) = (NormOf(actual - expected), NormOf(expected));
        Assert.True(difference <= tolerance * Math.Max(least, norm), $"{what}: off by {difference:E2} of {norm:E2}, at least {least:E2}");
    }

    private static double NormOf(Tensor value) => value.norm().to(ScalarType.Float64).item<double>();

    /// <summary>
    /// A member's mean loss over the plain operations: of rows of one length at once; else one after the other, for they hold a padded
    /// block.
    /// </summary>
    public static Tensor Loss(CausalLanguageModel model, IReadOnlyList<EncodedRow> rows, AdapterPass pass)
    {
        var losses = new List<Tensor>();
        foreach (var group in rows.GroupBy(static row => row.Ids.Length))
        {
            var ids = tensor(group.SelectMany(static row => row.Ids.Select(static id => (long)id)).ToArray(), [group.Count(), group.Key]);
            var likelihoods = model.LogitsOf(model.Hidden(ids, null, pass), pass).log_softmax(-1);
            losses.AddRange(group.SelectMany((row, number) =>
                row.LossPlaces.Select(place => -likelihoods[number, place - 1, row.Ids[place]])));
        }

        return stack(losses).mean();
    }
}
