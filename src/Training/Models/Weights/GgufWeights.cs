using FedRLora.Abstractions;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Quantization;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>The tensors of a GGUF file by Hugging Face name, rows and norms in Hugging Face's layout.</summary>
internal sealed unsafe class GgufWeights : IModelWeights
{
    private const long ElementsAtOnce = 1 << 22;

    private readonly GgufFile _file;
    private readonly Dictionary<string, GgufParameter> _parameters;
    private bool _isKept;
    private bool _isTaken;

    /// <param name="file">The file, which this object owns until <see cref="TakePages"/>.</param>
    /// <param name="config">Its configuration.</param>
    /// <exception cref="BadInputException">A tensor is missing, has another shape, or is used by nothing.</exception>
    public GgufWeights(GgufFile file, ModelConfig config)
    {
        _file = file;
        try
        {
            _parameters = GgufParameters.Of(config, file.Header)
                .ToDictionary(static parameter => parameter.Name, StringComparer.Ordinal);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public string Path => _file.Path;

    public IReadOnlyCollection<string> Names => _parameters.Keys;

    public void Check(string name, IReadOnlyList<long> shape)
    {
        var parameter = ParameterOf(name);
        if (!parameter.Shape.AsSpan().SequenceEqual([.. shape]))
        {
            throw new BadInputException($"{Path}: tensor {parameter.Tensor.Name} is {name} of shape "
                + $"[{string.Join(", ", parameter.Shape)}], expected [{string.Join(", ", shape)}]");
        }
    }

    public Tensor Read(string name, IReadOnlyList<long> shape, Device device, ScalarType dtype)
    {
        Check(name, shape);
        var parameter = ParameterOf(name);
        RequireFinite(parameter.Tensor);
        using var scope = NewDisposeScope();
        var values = empty([.. shape], dtype, CPU);
        var (rows, columns) = (parameter.Shape[0], parameter.Tensor.Count / parameter.Shape[0]);
        var atOnce = parameter.IsTransposed ? rows : Math.Max(1, ElementsAtOnce / columns);
        for (var first = 0L; first < rows; first += atOnce)
        {
            using var part = NewDisposeScope();
            var count = Math.Min(atOnce, rows - first);
            var widened = empty([count * columns], ScalarType.Float32, CPU);
            GgufValues.Rows(_file, parameter, first, new((float*)FrozenMatrices.PointerTo(widened), checked((int)(count * columns))));
            var target = values.narrow(0, first, count);
            var source = widened.view(target.shape);
            target.copy_(source);
            if (dtype != ScalarType.Float32) ModelWeights.RefuseNotFinite(Path, $"{parameter.Tensor.Name} ({name})", source, target, first);
        }

        return values.to(device).MoveToOuterDisposeScope();
    }

    public FrozenMatrix Stored(string name, IReadOnlyList<long> shape, Device device)
    {
        Check(name, shape);
        var parameter = ParameterOf(name);
        if (device.type != DeviceType.CPU)
        {
            throw new BadInputException($"{Path}: tensor {parameter.Tensor.Name} is {parameter.Tensor.Type}, which is multiplied on a CPU "
                + "alone; on another device give model.storage bfloat16, float16 or float32");
        }

        if (parameter.Tensor.Type == GgmlType.F32 && parameter.Added == 0)
            return new FloatMatrix(Read(name, shape, device, ScalarType.Float32).DetachFromDisposeScope());
        RequireFinite(parameter.Tensor);
        _isKept = true;
        return new GgmlMatrix(_file.PointerTo(parameter.Tensor), parameter.Tensor.Type, parameter.Tensor.Rows, parameter.Tensor.Columns,
            parameter.Rows, file: _file) { IsTransposed = parameter.IsTransposed };
    }

    public IReadOnlyList<IDisposable> TakePages()
    {
        if (!_isKept) return [];
        _isTaken = true;
        return [_file];
    }

    public void Dispose()
    {
        if (!_isTaken) _file.Dispose();
    }

    private GgufParameter ParameterOf(string name) => _parameters.TryGetValue(name, out var parameter)
        ? parameter
        : throw new BadInputException($"{Path}: has no tensor for {BadInputException.Shown(name)}");

    private void RequireFinite(GgufTensor tensor)
    {
        var at = GgmlBlocks.FirstNotFinite(tensor.Type, _file.PointerTo(tensor), tensor.Count);
        if (at < 0) return;
        var block = tensor.Type.BlockValues();
        var what = block == 1 ? "a value that is not finite" : $"a scale that is not finite in block {at / block}";
        throw new BadInputException(
            $"{Path}: tensor {tensor.Name} has {what}, in row {at / tensor.Columns}; copy or convert the file again");
    }
}
