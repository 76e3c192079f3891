using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Malformed files through what a command loads a model with.</summary>
public sealed partial class GgufBadTests
{
    public static TheoryData<string> Folders => Fixtures.Of("gguf/bad");

    [SharedTheory, MemberData(nameof(Folders))]
    public void What_cannot_be_right_is_refused_by_name_within_a_second_and_the_rest_loads(string folder)
    {
        foreach (var row in File.ReadLines(SharedFolder.Of(folder, "bad.jsonl"))
            .Select(static line => JsonDocument.Parse(line).RootElement))
        {
            var path = SharedFolder.Of(folder, row.GetProperty("file").GetString()!);
            var (wrong, reader) = (row.GetProperty("wrong").GetString()!, row.GetProperty("good_reader").GetString()!);
            if (reader.StartsWith("reads", StringComparison.Ordinal))
            {
                FrozenBase.Load(path, CPU).Dispose();
                continue;
            }

            var clock = Stopwatch.StartNew();
            var message = Assert.Throws<BadInputException>(() => FrozenBase.Load(path, CPU).Dispose()).Message;

            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(1), $"{path}: {clock.Elapsed}");
            Assert.StartsWith(path, message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
            // What the row calls by name, and what it says that a reader names.
            foreach (var name in Dotted().Matches(wrong).Select(static match => match.Value).Where(static name => name != "llama.cpp"))
                Assert.Contains(name, message);
            foreach (var word in Named(reader, new FileInfo(path).Length)) Assert.Contains(word, message[path.Length..]);
        }
    }

    private static IEnumerable<string> Named(string reader, long sizeBytes) => new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["magic"] = "GGUF", ["big-endian"] = "big-endian", ["version"] = "version", ["tensor"] = "tensor", ["block"] = "block",
        ["alignment"] = "alignment", ["merge"] = "merges", ["position"] = "byte", ["split"] = "split",
        ["file's size"] = sizeBytes.ToString(CultureInfo.InvariantCulture),
    }.Where(word => reader.Contains(word.Key, StringComparison.Ordinal)).Select(static word => word.Value);

    // A key or a tensor.
    [GeneratedRegex(@"\b[a-z_]+(\.[a-z0-9_]+)+")]
    private static partial Regex Dotted();
}
