using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests;

/// <summary>A method on one layer without a model, by the operations that evaluation uses.</summary>
internal sealed class OneLayer
{
    private readonly PlacedAdapter _adapter;
    private readonly AdapterTarget _target;

    /// <param name="spec">The method.</param>
    /// <param name="shape">The layer.</param>
    /// <param name="valueOf">Gives each tensor by its role.</param>
    /// <param name="startOf">The frozen start by role; null for <paramref name="valueOf"/> once more.</param>
    public OneLayer(AdapterSpec spec, LinearShape shape, Func<string, Tensor> valueOf, Func<string, Tensor>? startOf = null)
    {
        var layout = AdapterLayout.Unbounded(spec with { TargetModules = [shape.Module] }, [shape]);
        _target = layout.Targets[0];
        Func<string, Tensor>? start = spec.Start == Start.Anchored
            ? name => (startOf ?? valueOf)(name[(shape.Module.Length + 1)..])
            : null;
        _adapter = PlacedAdapter.Over(layout, info => valueOf(info.Role.Name), start);
    }

    /// <summary>A tensor by its role.</summary>
    public Tensor this[string role] => _adapter.Parameters.Single(parameter => parameter.Info.Role.Name == role).Value;

    public static IReadOnlyList<long> ShapeOf(AdapterSpec spec, LinearShape shape, string role) =>
        AdapterLayout.Unbounded(spec, [shape]).Tensors.Single(tensor => tensor.Role.Name == role).Shape;

    public Tensor Forward(Tensor x, Tensor y, LayerMasks? masks)
    {
        var pass = masks is null
            ? AdapterPass.Evaluating(_adapter, model: null)
            : AdapterPass.Training(_adapter, model: null, new() { [_target.Module] = masks });
        return pass.Adapt(_target.Module, x, y);
    }

    public Tensor Delta() => Bottleneck.Delta(_adapter.Layout.MethodOf(_target), _adapter.Of(_target), _target.Scaling)[0];

    public double ProductNorm() => _adapter.ProductNorm();
}
