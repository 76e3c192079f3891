using System.Text.Json;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>A folder of <c>expected.json</c> and <c>tensors.safetensors</c>, compared at the tolerances of the methods' README.</summary>
internal sealed class MethodNumbers : IDisposable
{
    private readonly SafetensorsFile _file;

    public MethodNumbers(string folder)
    {
        Expected = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement;
        _file = SafetensorsFile.Open(SharedFolder.Of(folder, "tensors.safetensors"));
    }

    public JsonElement Expected { get; }

    public JsonElement Config => Expected.GetProperty("config");

    public IEnumerable<string> Names => _file.Header.Tensors.Keys;

    public void Dispose() => _file.Dispose();

    /// <summary>As <see cref="Array"/>, in torch.</summary>
    public Tensor Tensor(string name) => TensorData.OnDevice(Array(name), CPU);

    /// <summary>A tensor; one of doubles is rounded.</summary>
    public NamedArray Array(string name)
    {
        var info = _file.Describe(name);
        if (info.Dtype == SafetensorsDtype.F32) return new(info.Shape, _file.ReadFloat32(name));
        return new(info.Shape, [.. _file.ReadFloat64(name).Select(static value => (float)value)]);
    }

    /// <summary>A tensor of doubles as it is.</summary>
    public double[] Doubles(string name) => _file.ReadFloat64(name);

    public long[] Integers(string name) => _file.ReadInt64(name);

    public ReadOnlySpan<byte> Bytes(string name) => _file.Bytes(name);

    /// <summary>Outputs, merged weights, losses: 1e-5 + 1e-5 of the largest.</summary>
    public void CompareOutput(string name, ReadOnlySpan<float> actual)
    {
        var reference = Array(name).Data;
        Close.Assert(reference, actual, name, 1e-5 + 1e-5 * reference.Max(Math.Abs), 0);
    }

    /// <summary>Gradients: 1e-5 of the largest, plus 1e-6.</summary>
    public void CompareGradient(string name, Tensor actual)
    {
        var reference = Array(name).Data;
        Close.Assert(reference, TensorData.Values(actual), name, 1e-6 + 1e-5 * reference.Max(Math.Abs), 0);
    }

    /// <summary>Stepped parameters: 2e-6 for 99.9 % of the entries, as first steps of Adam are sign-like, never beyond 0.02.</summary>
    public void CompareStepped(string name, Tensor actual)
    {
        var reference = Array(name).Data;
        var values = TensorData.Values(actual);
        Close.Assert(reference, values, name, 0.02, 0);
        var within = reference.Zip(values).Count(static pair => Math.Abs(pair.First - pair.Second) <= 2e-6) / (double)reference.Length;
        Assert.True(within >= 0.999, $"{name}: only {within:P2} of the entries are within 2e-6");
    }
}
