using System.Buffers.Binary;
using FedRLora.Training.Conversion;
using FedRLora.Training.Tests.Models;
using Xunit.Abstractions;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Damaged GGUF files are read or refused in words, in little memory.</summary>
public sealed class GgufFuzzTests(ITestOutputHelper output) : IDisposable
{
    private const int Sample = 2000;
    private const long SpareBytes = 64L << 20;

    // Counts, lengths, offsets and sizes that break readers.
    private static readonly ulong[] Numbers =
    [
        0, 1, 3, 7, 9, 31, 250, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1UL << 33, 1UL << 40, 1UL << 60, 1UL << 62,
        long.MaxValue, 1UL << 63, ulong.MaxValue - 31, ulong.MaxValue,
    ];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_damaged_file()
    {
        var samples = TinyModels.Configs.Values.Select(config => new TinyGguf(_folder,
            config with { SlidingWindow = null, HeadDim = config.ModelType == "qwen2" ? 4 : config.HeadDim },
            $"{config.ModelType}.gguf", config.ModelType == "qwen2" ? WeightType.BF16 : WeightType.F32).Path).ToList();
        samples.Add(new TinyGguf(_folder, TinyLlama.Config with { HiddenSize = 32, IntermediateSize = 32, HeadDim = 8 }, "q8.gguf",
            WeightType.Q8).Path);
        samples.AddRange(GgufFixtures.Models.Cast<object[]>().Select(static row => GgufFixtures.Of((string)row[0], ".gguf")));
        var (path, count) = (_folder.File("mutant.gguf"), Math.Max(Sample, Fuzz.Count));
        var most = 0L;

        var (read, refused) = Fuzz.Run([.. samples.Select(File.ReadAllBytes)], mutant =>
        {
            File.WriteAllBytes(path, mutant);
            var before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                HostileGgufTests.ReadAll(path);
            }
            finally
            {
                most = Math.Max(most, GC.GetAllocatedBytesForCurrentThread() - before - mutant.Length);
            }
        }, count, Mutate);

        output.WriteLine($"{count} files: {read} read, {refused} refused, {most / 1e6:F1} MB beyond a file's size at most");
        Assert.True(most <= SpareBytes);
        Assert.True(refused > count / 2, $"{refused} of {count} were refused");
    }

    // Half of them by what breaks a binary header.
    private static byte[] Mutate(byte[] sample, Random random)
    {
        if (random.Next(2) == 0) return Fuzz.Mutate(sample, random);
        var bytes = (byte[])sample.Clone();
        for (var change = random.Next(1, 4); change > 0; change--)
        {
            var at = random.Next(Math.Min(bytes.Length - 8, random.Next(3) == 0 ? bytes.Length : 6000));
            var number = Numbers[random.Next(Numbers.Length)];
            if (random.Next(2) == 0) BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(at), number);
            else BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), (uint)number);
        }

        return random.Next(8) == 0 ? bytes[..random.Next(bytes.Length)] : bytes;
    }
}
