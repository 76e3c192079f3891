using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>A folder of <c>expected.json</c> and <c>tensors.safetensors</c>, compared at the tolerances of the methods' README.</summary>
internal sealed partial class MethodNumbers : IDisposable
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

    /// <summary>After which steps tensors and outputs are recorded, in order.</summary>
    public IReadOnlyList<int> Recorded =>
    [
        .. Names.Select(static name => AfterStep().Match(name)).Where(static match => match.Success)
            .Select(static match => int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture)).Distinct().Order(),
    ];

    /// <summary>AdamW's rate, of which the optimizer is a line of text.</summary>
    public double Rate => InOptimizer("lr", 0.01);

    /// <summary>AdamW's decay, likewise.</summary>
    public double WeightDecay => InOptimizer("weight_decay", 0.01);

    public void Dispose() => _file.Dispose();

    public bool Has(string name) => _file.Header.Tensors.ContainsKey(name);

    /// <summary>As <see cref="Tensor"/>; null where there is no such one.</summary>
    public Tensor? Optional(string name) => Has(name) ? Tensor(name) : null;

    /// <summary>The loss before a step, where that is recorded.</summary>
    public void CompareLoss(int step, double actual)
    {
        static bool AreLosses(JsonProperty entry) => entry.Name.StartsWith("losses_before_step", StringComparison.Ordinal);
        var losses = Expected.EnumerateObject().Single(AreLosses).Value;
        if (step > losses.GetArrayLength()) return;
        var expected = losses[step - 1].GetDouble();
        Assert.Equal(expected, actual, 1e-5 + 1e-5 * Math.Abs(expected));
    }

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

    /// <summary>The clients of a round of SCAFFOLD that took part in it: those whose control variates moved.</summary>
    public int[] Present(string name, int round, int clients)
    {
        bool Moved(string tensor, string control)
        {
            var now = Array($"{name}.round{round}.{control}{tensor}").Data;
            return round == 0
                ? now.Any(static value => value != 0)
                : !now.SequenceEqual(Array($"{name}.round{round - 1}.{control}{tensor}").Data);
        }

        var tensors = Names.Where(static tensor => tensor.StartsWith("initial.", StringComparison.Ordinal))
            .Select(static tensor => tensor["initial.".Length..]).ToList();
        return [.. Enumerable.Range(0, clients).Where(client => tensors.Any(tensor => Moved(tensor, $"control{client}.")))];
    }

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

    /// <summary>
    /// Stepped parameters: 2e-6 for 99.9 % of the entries, never beyond 0.02. An entry whose gradient is near 0 is bound by 0.02 alone:
    /// Adam divides by it, so that the order of a sum, which is the processor's, moves it by more than 2e-6.
    /// </summary>
    public void CompareStepped(string name, Tensor actual)
    {
        var reference = Array(name).Data;
        var values = TensorData.Values(actual);
        Close.Assert(reference, values, name, 0.02, 0);
        var moved = Enumerable.Range(0, reference.Length).Except(NearZero(name)).ToList();
        var within = moved.Count(entry => Math.Abs(reference[entry] - values[entry]) <= 2e-6) / (double)moved.Count;
        Assert.True(within >= 0.999, $"{name}: only {within:P2} of the entries are within 2e-6");
    }

    /// <summary>
    /// The entries whose published gradient is so small that its rounding, which is recorded, moves a step by over 2e-6; none where they
    /// are more than one in twenty.
    /// </summary>
    private int[] NearZero(string stepped)
    {
        var name = "grad." + AfterStep().Replace(stepped, "");
        if (!Has(name) || !Has("fp64/" + name)) return [];
        var gradients = Array(name).Data;
        var rounding = gradients.Zip(Doubles("fp64/" + name)).Max(static pair => Math.Abs(pair.First - pair.Second));
        int[] near =
        [
            .. gradients.Index().Where(entry => Math.Abs(entry.Item) * 2e-6 < Rate * rounding).Select(static entry => entry.Index),
        ];
        return near.Length * 20 <= gradients.Length ? near : [];
    }

    private double InOptimizer(string key, double otherwise)
    {
        var text = Expected.TryGetProperty("optimizer", out var optimizer) ? optimizer.GetString()! : "";
        var match = Regex.Match(text, $@"\b{key} ([0-9.e+-]*[0-9])");
        return match.Success ? double.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture) : otherwise;
    }

    [GeneratedRegex(@"^after_step_(\d+)\.")]
    private static partial Regex AfterStep();
}
