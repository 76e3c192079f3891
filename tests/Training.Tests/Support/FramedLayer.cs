using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests;

/// <summary>One layer as training runs it: members side by side in the batched frame, with the tape's backward pass.</summary>
internal sealed class FramedLayer : IDisposable
{
    private readonly FrozenLinear _frozen;
    private readonly Workspace _workspace;

    /// <param name="members">One for each member, on this layer alone.</param>
    /// <param name="frozen">The frozen layer.</param>
    /// <param name="model">As for <see cref="AdapterStack"/>.</param>
    /// <param name="masks">As for <see cref="AdapterStack"/>.</param>
    /// <param name="dtype">What is computed in.</param>
    public FramedLayer(
        IReadOnlyList<ClientAdapter> members, FrozenLinear frozen, CausalLanguageModel? model = null,
        IReadOnlyList<IReadOnlyDictionary<string, LayerMasks>>? masks = null, ScalarType dtype = ScalarType.Float32)
    {
        (_frozen, _workspace) = (frozen, new Workspace(CPU, dtype));
        Stack = new AdapterStack(members, masks, CPU, model, dtype);
    }

    public AdapterStack Stack { get; }

    public void Dispose() => _workspace.Dispose();

    /// <summary>Forward and back; gradients are added to the stack's.</summary>
    /// <param name="inputs">Of each member <c>[m, D_in]</c>, of unequal lengths.</param>
    /// <param name="cotangents">Of each member's output, <c>[m, D_out]</c>.</param>
    /// <param name="padding">What stands in padded rows, on which nothing may depend.</param>
    /// <param name="length">Of each sequence; null where a member's rows are one.</param>
    /// <returns>Each member's output and the gradient of its input.</returns>
    public IReadOnlyList<(Tensor Output, Tensor InputGradient)> Run(
        IReadOnlyList<Tensor> inputs, IReadOnlyList<Tensor> cotangents, double padding = 3, int? length = null)
    {
        using var inference = no_grad();
        _workspace.Reset();
        int[] real = [.. inputs.Select(static input => (int)input.shape[0])];
        var rows = new MemberRows(real.Max(), real, [.. real.Select(count => Sequences(count, length ?? count))]);
        var x = cat([.. inputs.Select(input => Padded(input, rows.Count, padding))], 0);
        using var tape = new Tape(_workspace);
        tape.Watch(x);
        var layer = Stack.Slice(0, real.Length).Layer(_frozen.Module)!;
        var masks = Stack.Slice(0, real.Length).MasksFor(_frozen.Module);
        var y = layer.Apply(tape, new DenseInput(x, rows), _frozen, null, layer.Sides(tape), masks, null);
        var outputs = y.clone();
        tape.Backward(y, cat([.. cotangents.Select(cotangent => Padded(cotangent, rows.Count, 0))], 0));
        var gradient = tape.GradientOf(x)!.clone();
        return
        [
            .. real.Select((count, member) => (
                outputs.narrow(0, (long)member * rows.Count, count), gradient.narrow(0, (long)member * rows.Count, count))),
        ];
    }

    private static IReadOnlyList<(int Start, int Length)> Sequences(int rows, int length) =>
        [.. Enumerable.Range(0, rows / length).Select(number => (number * length, length))];

    private static Tensor Padded(Tensor rows, int count, double with) => rows.shape[0] == count
        ? rows
        : cat([rows, full([count - rows.shape[0], rows.shape[1]], Living.Of(with), rows.dtype)], 0);
}
