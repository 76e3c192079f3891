using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests;

/// <summary>What holds for members side by side whatever the method is.</summary>
internal static class GroupProofs
{
    private const double Rate = 1e-2;

    private static IReadOnlyList<IReadOnlyList<EncodedRow>> Batches =>
        [.. Autograd.Ragged, [StackedMembers.Row(3), StackedMembers.Row(8)]];

    /// <summary>
    /// A member's gradients in every one of three steps, and what it is after them, are those that it has alone: in one pass with all
    /// others, or where a group takes several.
    /// </summary>
    public static void AssertAlone(CausalLanguageModel model, AdapterLayout layout, ScalarType dtype, double tolerance)
    {
        var batches = Batches;
        int[] everyone = [.. Enumerable.Range(0, batches.Count)];
        var together = Train(model, layout, dtype, everyone, batches, [batches.Count]);
        var inPasses = Train(model, layout, dtype, everyone, batches, [1, 2, 1]);
        foreach (var member in everyone)
        {
            var alone = Train(model, layout, dtype, [member], batches, [1])[0];
            foreach (var (how, group) in ((string, List<Dictionary<string, Tensor>>)[])[("one pass", together), ("three passes", inPasses)])
            {
                Assert.Equal(alone.Keys, group[member].Keys);
                foreach (var (name, expected) in alone)
                    Autograd.AssertClose(expected, group[member][name], $"{name} of member {member} in {how}", tolerance);
            }
        }
    }

    /// <summary>Not a bit of any result depends on what stands in padded rows: of a layer, and of a pass over the base.</summary>
    public static void AssertPaddingIsUnseen(CausalLanguageModel model, AdapterLayout layout)
    {
        var target = layout.Targets.First(static target => target.Layer.Kind is LayerKind.Linear or LayerKind.Conv1D);
        var expected = OfLayer(model, layout, target, 0);
        foreach (var padding in (double[])[3, -1e3, 1e6]) Assert.Equal(expected, OfLayer(model, layout, target, padding));
        expected = OfPass(model, layout, 0);
        foreach (var token in (long[])[1, 31]) Assert.Equal(expected, OfPass(model, layout, token));
    }

    /// <summary>The norm of dW, and the norms of the rows of W0 + dW, are those of the matrices.</summary>
    public static void AssertStaticForms(AdapterLayout layout, LayerTensors tensors, AdapterTarget target, CausalLanguageModel model)
    {
        var (method, layer) = (layout.MethodOf(target), model.Frozen(target.Layer));
        using var inference = no_grad();
        var (delta, weight) = (Bottleneck.Delta(method, tensors, target.Scaling)[0], layer.Rows(ScalarType.Float64));

        var norms = Bottleneck.Norms(method, tensors, target.Scaling, layer, weight.Squared().sum([1]));

        Autograd.AssertClose(weight.Plus(delta).Squared().sum([1]).sqrt(), norms[0], "norms of rows", 1e-12);
        Autograd.AssertClose(
            delta.Squared().sum(), Bottleneck.SquaredNorm(method, tensors, target.Scaling)[0], "squared norm", 1e-12);
    }

    /// <summary>Plain, fixed and static is what a mix says of itself, and what whoever passes it over relies on.</summary>
    /// <param name="layout">Of the method.</param>
    /// <param name="tensors">A member's on a layer, in float64.</param>
    /// <param name="others">Another member's on it.</param>
    /// <param name="target">The layer.</param>
    public static void AssertMixIsWhatItSays(AdapterLayout layout, LayerTensors tensors, LayerTensors others, AdapterTarget target)
    {
        const int Rows = 6;
        using var generator = new Generator(9, CPU);
        using var inference = no_grad();
        var (method, slots) = (layout.MethodOf(target), layout.MethodOf(target).Factors(tensors).Down);
        Tensor[] Draw() =>
            [.. slots.Select(slot => empty([1, Rows, 1, slot.Rows.shape[1]], ScalarType.Float64).normal_(0, 1, generator))];
        Tensor Mix(LayerTensors of, Tensor[] z) => method.Mix(
            of, new([.. slots.Zip(z, static (slot, rows) => KeyValuePair.Create(slot.Name, rows))]),
            new MixContext(target.Scaling, MemberRows.Whole(2, Rows / 2)));
        var (one, two) = (Draw(), Draw());

        if (method.IsPlain)
        {
            Assert.All(slots, static slot => Assert.True(slot.IsContent));
            var content = cat([.. one.Select(static rows => rows.flatten(2))], -1);
            Autograd.AssertClose(content * Living.Of(target.Scaling), Mix(tensors, one), "a plain mix", 1e-14);
        }

        if (method.IsFixed) Autograd.AssertClose(Mix(tensors, one), Mix(others, one), "a fixed mix of other tensors", 1e-14);
        Assert.Equal((true, true), (!method.IsPlain || method.IsFixed, !method.IsFixed || method.IsStatic));
        var (sum, ofSum) = (Mix(tensors, one).Plus(Mix(tensors, two)), Mix(tensors, [.. one.Zip(two, static (a, b) => a.Plus(b))]));
        var apart = (ofSum - sum).norm().item<double>() / sum.norm().item<double>();
        Assert.True(method.IsStatic ? apart < 1e-13 : apart > 1e-3, $"a mix that is {(method.IsStatic ? "" : "not ")}static: {apart:E1}");
    }

    /// <summary>Inputs of three members with unequal rows, and gradients of their outputs.</summary>
    public static (IReadOnlyList<Tensor> Inputs, IReadOnlyList<Tensor> Cotangents) RaggedRows(AdapterTarget target, ScalarType dtype)
    {
        using var generator = new Generator(7, CPU);
        Tensor Draw(int rows, int width) => empty([rows, width], dtype).normal_(0, 1, generator);
        int[] rows = [5, 9, 2];
        return ([.. rows.Select(count => Draw(count, target.InWidth))], [.. rows.Select(count => Draw(count, target.OutWidth))]);
    }

    /// <summary>AdamW over fresh moments.</summary>
    public static AdamW Optimizer(AdapterStack stack, int members, double decay = 0) => new(
        stack, new TrainingSpec { WeightDecay = decay, ClipNorm = 1 }, [.. Enumerable.Repeat(AdapterState.Empty, members)]);

    /// <summary>All gradients of a stack in float32.</summary>
    public static float[] Gradients(AdapterStack stack) => [.. stack.Blocks.SelectMany(static block => TensorData.Values(block.Gradient))];

    /// <summary>The value of every tensor of every member.</summary>
    public static IReadOnlyList<KeyValuePair<(int Member, string Name), float[]>> Values(AdapterStack stack) =>
    [
        .. Enumerable.Range(0, (int)stack.Blocks[0].Value.shape[0]).SelectMany(member => stack.Member(member).Parameters
            .Select(parameter => KeyValuePair.Create((member, parameter.Info.Name), TensorData.Values(parameter.Value)))),
    ];

    private static List<Dictionary<string, Tensor>> Train(
        CausalLanguageModel model, AdapterLayout layout, ScalarType dtype, int[] numbers, IReadOnlyList<IReadOnlyList<EncodedRow>> batches,
        int[] passes)
    {
        using var members = new StackedMembers(layout, model, numbers, dtype);
        using var workspace = new Workspace(CPU, dtype);
        var optimizer = Optimizer(members.Stack, numbers.Length, decay: 0.01);
        var results = numbers.Select(static _ => new Dictionary<string, Tensor>(StringComparer.Ordinal)).ToList();
        for (var step = 1; step <= 3; step++)
        {
            members.Stack.ZeroGradients();
            var first = 0;
            foreach (var count in passes)
            {
                var packing = Packing.Of([.. numbers[first..(first + count)].Select(number => batches[number])], CPU);
                PackedLoss.Gradients(model, packing, members.Stack.Slice(first, count), workspace);
                first += count;
            }

            foreach (var (member, result) in results.Index())
            {
                foreach (var info in layout.Tensors.Where(static info => info.Trains))
                    result.Add($"gradient of {info.Name} in step {step}", members.Stack.GradientOf(member, info.Name)!.clone());
            }

            optimizer.Step([.. numbers.Select(static number => Rate * (1 + number))]);
        }

        foreach (var (member, result) in results.Index())
        {
            foreach (var parameter in members.Stack.Member(member).Parameters)
                result.Add(parameter.Info.Name, parameter.Value.clone());
        }

        return results;
    }

    private static float[] OfLayer(CausalLanguageModel model, AdapterLayout layout, AdapterTarget target, double padding)
    {
        var (inputs, cotangents) = RaggedRows(target, ScalarType.Float32);
        using var masks = new StackedMembers(layout, model, [0, 1, 2]);
        using var frame = new FramedLayer(
            [.. Enumerable.Range(0, 3).Select(member => StackedMembers.Adapter(layout, member))], model.Frozen(target.Layer), model,
            masks.Masks);
        var trained = frame.Run(inputs, cotangents, padding);
        return
        [
            .. trained.SelectMany(static member => TensorData.Values(member.Output).Concat(TensorData.Values(member.InputGradient))),
            .. Gradients(frame.Stack),
        ];
    }

    private static float[] OfPass(CausalLanguageModel model, AdapterLayout layout, long token)
    {
        var packing = Packing.Of(Batches, CPU);
        foreach (var (member, real) in packing.Rows.Real.Index())
        {
            for (var row = real; row < packing.RowsPerMember; row++)
                packing.Ids.data<long>()[(long)member * packing.RowsPerMember + row] = token;
        }

        using var members = new StackedMembers(layout, model, [0, 1, 2, 3]);
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        var losses = PackedLoss.Gradients(model, packing, members.Stack.Slice(0, 4), workspace);
        return [.. TensorData.Values(losses), .. Gradients(members.Stack)];
    }
}
