using System.Buffers.Binary;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Files that say what cannot be: refused by key or tensor, at once and without memory of the size that they claim.</summary>
public sealed class HostileGgufTests : IDisposable
{
    private const long SpareBytes = 64L << 20;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(0u)]
    [InlineData(3u)]
    [InlineData(uint.MaxValue)]
    public void An_alignment_that_cannot_be_is_refused(uint alignment) => Refused("general.alignment",
        Text("GGUF"), U32(3), U64(0), U64(1), Sized("general.alignment"), U32(4), U32(alignment));

    [Theory]
    [InlineData("has 9 dimensions", 9u, 32UL, 0u, 0UL)]
    [InlineData("has a dimension of 0", 2u, 0UL, 0u, 0UL)]
    [InlineData("has more numbers than 64 bits count", 2u, 1UL << 33, 0u, 0UL)]
    [InlineData("has more numbers than 64 bits count", 2u, ulong.MaxValue, 0u, 0UL)]
    [InlineData("ends behind the end", 2u, 32UL, 0u, 1UL << 40)]
    [InlineData("begins at offset", 2u, 32UL, 0u, ulong.MaxValue - 31)]
    [InlineData("is stored as 250", 2u, 32UL, 250u, 0UL)]
    [InlineData("is stored as IQ2_XXS", 2u, 32UL, 16u, 0UL)]
    [InlineData("has rows of 32 numbers, which are no whole blocks of Q4_K", 2u, 32UL, 12u, 0UL)]
    [InlineData("begins at offset 8, which is no multiple of the alignment", 2u, 32UL, 0u, 8UL)]
    public void A_tensor_that_cannot_be_is_refused_by_name(
        string expected, uint dimensions, ulong size, uint type, ulong offset) => Refused(
            $"tensor a.weight {expected}", [Text("GGUF"), U32(3), U64(1), U64(0), Sized("a.weight"), U32(dimensions),
                .. Enumerable.Repeat(U64(size), (int)dimensions), U32(type), U64(offset), new byte[8192]]);

    [Theory]
    [InlineData(1UL << 62)]
    [InlineData(ulong.MaxValue)]
    public void A_string_longer_than_the_file_is_refused_by_key(ulong length) => Refused(
        "general.name has a string of", Text("GGUF"), U32(3), U64(0), U64(1), Sized("general.name"), U32(8), U64(length));

    [Fact]
    public void More_keys_than_any_model_has_are_refused()
    {
        const int Count = 100_000;
        Refused("has 100000 metadata keys", Text("GGUF"), U32(3), U64(0), U64(Count), new byte[Count * 13]);
    }

    [Fact]
    public void Every_cut_of_a_file_is_refused()
    {
        var path = new TinyGguf(_folder).Path;
        var whole = File.ReadAllBytes(path);
        for (var length = 0; length < whole.Length; length += 97)
        {
            File.WriteAllBytes(_folder.File("cut.gguf"), whole[..length]);
            Assert.Throws<BadInputException>(() => GgufFile.Open(_folder.File("cut.gguf")));
        }

        File.WriteAllBytes(_folder.File("cut.gguf"), whole[..^100]);
        Assert.Contains("tensor output.weight ends behind the end",
            Assert.Throws<BadInputException>(() => GgufFile.Open(_folder.File("cut.gguf"))).Message);
    }

    /// <summary>Configuration, tensors and every number.</summary>
    internal static void ReadAll(string path)
    {
        using var file = GgufFile.Open(path);
        var config = GgufConfig.Of(file.Header, tensor => GgufValues.Of(file, tensor));
        foreach (var parameter in GgufParameters.Of(config, file.Header)) GgufValues.Of(file, parameter.Tensor);
    }

    private void Refused(string expected, params byte[][] parts)
    {
        var path = _folder.File("hostile.gguf");
        File.WriteAllBytes(path, [.. parts.SelectMany(static part => part)]);
        var allocated = GC.GetAllocatedBytesForCurrentThread();

        var problem = Assert.Throws<BadInputException>(() => GgufFile.Open(path));

        Assert.Contains(expected, problem.Message);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - allocated < SpareBytes);
    }

    private static byte[] Text(string text) => Encoding.UTF8.GetBytes(text);

    private static byte[] Sized(string text) => [.. U64((ulong)text.Length), .. Text(text)];

    private static byte[] U32(uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    private static byte[] U64(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }
}
