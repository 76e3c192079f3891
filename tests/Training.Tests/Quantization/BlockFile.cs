using System.Runtime.InteropServices;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Gguf;
using FedRLora.Training.Tests.Golden;

namespace FedRLora.Training.Tests.Quantization;

/// <summary>A file of reference numbers about quantization, named as data of a theory.</summary>
internal sealed class BlockFile : IDisposable
{
    private readonly SafetensorsFile _file;

    /// <param name="place">Where it lies.</param>
    /// <param name="beside">Another file beside it that is opened.</param>
    public BlockFile(string place, string? beside = null)
    {
        var (folder, file) = Fixtures.Split(place);
        _file = SafetensorsFile.Open(SharedFolder.Of(folder, beside ?? file));
        Kind = Fixtures.Tree.All.Single(fixture => fixture.Place == place).Kind;
    }

    public string Kind { get; }

    /// <summary>The type that the kind ends in.</summary>
    public GgmlType Type => Enum.Parse<GgmlType>(Kind.Split('/')[^1], ignoreCase: true);

    public IEnumerable<string> Names => _file.Header.Tensors.Keys;

    public void Dispose() => _file.Dispose();

    public bool Has(string name) => _file.Header.Tensors.ContainsKey(name);

    public byte[] Bytes(string name) => _file.Bytes(name).ToArray();

    public float[] Floats(string name) => MemoryMarshal.Cast<byte, float>(Bytes(name)).ToArray();

    public long Columns(string name) => _file.Describe(name).Shape[^1];

    /// <summary>Every bit is the same; of NaN only that it is one.</summary>
    public static void AssertSameBits(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
        {
            var (one, other) = (BitConverter.SingleToInt32Bits(expected[i]), BitConverter.SingleToInt32Bits(actual[i]));
            if (one != other && !(float.IsNaN(expected[i]) && float.IsNaN(actual[i])))
                Assert.Fail($"{what}: value {i} is {actual[i]:R} ({other:x8}), the reference has {expected[i]:R} ({one:x8})");
        }
    }
}
