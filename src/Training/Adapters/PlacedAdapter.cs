using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Algebra;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>A tensor of an adapter on its device.</summary>
internal sealed record AdapterParameter(AdapterTensor Info, Tensor Value);

/// <summary>One client's adapter on a device. Its tensors live in the dispose scope in which it is made.</summary>
internal sealed class PlacedAdapter
{
    private readonly Dictionary<string, Tensor> _values;
    private readonly IReadOnlyDictionary<string, Tensor>? _start;

    private PlacedAdapter(
        AdapterLayout layout, IReadOnlyList<AdapterParameter> parameters, IReadOnlyDictionary<string, Tensor>? start)
    {
        (Layout, Parameters, _start) = (layout, parameters, start);
        _values = parameters.ToDictionary(static parameter => parameter.Info.Name, static parameter => parameter.Value,
            StringComparer.Ordinal);
    }

    public AdapterLayout Layout { get; }

    public IReadOnlyList<AdapterParameter> Parameters { get; }

    /// <summary>Puts values on a device.</summary>
    /// <param name="adapter">The values, shapes already checked.</param>
    /// <param name="device">Where the tensors go.</param>
    public static PlacedAdapter Create(ClientAdapter adapter, Device device) => Over(
        adapter.Layout, info => TensorData.OnDevice(adapter.Values[info.Name], device),
        adapter.Start is { } start ? name => TensorData.OnDevice(start[name], device) : null);

    /// <summary>An adapter over tensors that somebody else owns.</summary>
    /// <param name="layout">The tensors.</param>
    /// <param name="tensorOf">Each of them, in its shape.</param>
    /// <param name="startOf">The frozen start by name where that is anchored.</param>
    public static PlacedAdapter Over(AdapterLayout layout, Func<AdapterTensor, Tensor> tensorOf, Func<string, Tensor>? startOf)
    {
        var started = startOf is null ? [] : layout.Tensors.Where(layout.HasStart)
            .ToDictionary(static info => info.Name, info => startOf(info.Name), StringComparer.Ordinal);
        return new(
            layout, [.. layout.Tensors.Select(info => new AdapterParameter(info, tensorOf(info)))], startOf is null ? null : started);
    }

    /// <summary>Takes the tensors out of their dispose scope; <see cref="Free"/> ends them.</summary>
    public void Keep()
    {
        foreach (var tensor in All) tensor.DetachFromDisposeScope();
    }

    /// <summary>Frees what was kept.</summary>
    public void Free()
    {
        foreach (var tensor in All) tensor.Dispose();
    }

    private IEnumerable<Tensor> All => _values.Values.Concat(_start?.Values ?? []);

    /// <summary>The tensors of a layer as those of one member, in their type or another.</summary>
    public LayerTensors Of(AdapterTarget target, ScalarType? dtype = null)
    {
        Tensor Member(Tensor value) => (dtype is { } other ? value.to(other) : value).unsqueeze(0);
        return new(
            role => Member(_values[AdapterTensor.NameOf(target.Module, role)]),
            role => _start is null || !Layout.HasStart(role) ? null : Member(_start[AdapterTensor.NameOf(target.Module, role)]));
    }

    /// <summary>The values of a scope's tensors.</summary>
    public AdapterState State(Scope scope) => State(info => info.Scope == scope);

    /// <summary>The values of some tensors.</summary>
    public AdapterState State(Func<AdapterTensor, bool> which) => new(Parameters.Where(parameter => which(parameter.Info))
        .Select(static parameter => KeyValuePair.Create(
            parameter.Info.Name, new NamedArray(parameter.Info.Shape, TensorData.Values(parameter.Value)))));

    /// <summary>Frobenius norm of dW, a gate that sees tokens counted as uniform, summed over layers in quadrature.</summary>
    public double ProductNorm()
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        // Where nothing has moved from a frozen start, rounding may leave less than nothing.
        return Math.Sqrt(Math.Max(0, Layout.Targets.Sum(target =>
            Bottleneck.SquaredNorm(Layout.MethodOf(target), Of(target, ScalarType.Float64), target.Scaling).cpu().item<double>())));
    }
}
