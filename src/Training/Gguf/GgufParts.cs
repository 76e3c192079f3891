using System.Globalization;
using System.Text.RegularExpressions;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>
/// A model in one GGUF file, or in several as <c>llama-gguf-split</c> cuts them: <c>NAME-00001-of-00003.gguf</c> with the metadata, and
/// further ones with tensors alone. Any of them stands for the whole.
/// </summary>
internal static partial class GgufParts
{
    private const string NumberKey = "split.no"; // from 0
    private const string CountKey = "split.count";
    private const string TensorsKey = "split.tensors.count";
    private const int MostParts = 99_999; // what the name's five digits hold

    /// <summary>Every file of the model, in order; those that are missing too.</summary>
    /// <exception cref="BadInputException">The file's name and what is in it do not go together.</exception>
    public static IReadOnlyList<string> PathsOf(string path)
    {
        var metadata = GgufFile.ReadOne(path).Metadata;
        var count = metadata.OptionalInteger(CountKey) ?? 0;
        var name = PartName().Match(path);
        var (numberByName, countByName) = name.Success ? (Digits(name, 2), Digits(name, 3)) : (1, 1);
        if (count is < 0 or > MostParts) throw metadata.Wrong(CountKey, $"{count}", $"at most {MostParts}");
        if (count <= 1 && countByName == 1) return [path];
        if (count <= 1)
        {
            throw new BadInputException($"{path}: is part {numberByName} of {countByName} by its name, and {CountKey} in it is "
                + $"{(metadata.Has(CountKey) ? $"{count}" : "missing")}; give the file its own name again");
        }

        var number = metadata.OptionalInteger(NumberKey) ?? throw metadata.Missing(NumberKey);
        if (!name.Success || number + 1 != numberByName || count != countByName)
        {
            throw new BadInputException($"{path}: is part {number + 1} of {count} ({NumberKey} {number}, {CountKey} {count}), "
                + $"and its name {(name.Success ? $"says {numberByName} of {countByName}" : "does not say so")}; "
                + $"put all parts into one folder as NAME-00001-of-{count:D5}.gguf and so on");
        }

        return [.. Enumerable.Range(1, (int)count).Select(part => $"{name.Groups[1].Value}-{part:D5}-of-{count:D5}.gguf")];
    }

    /// <summary>Reads the headers of all parts and checks that they are parts of one model.</summary>
    /// <param name="paths">From <see cref="PathsOf"/>.</param>
    /// <returns>The first part's metadata with every part's tensors.</returns>
    /// <exception cref="BadInputException">A part is missing, damaged or another model's; it is named.</exception>
    public static GgufHeader ReadHeader(IReadOnlyList<string> paths)
    {
        if (paths.Count == 1) return GgufFile.ReadOne(paths[0]);
        if (paths.FirstOrDefault(static path => !File.Exists(path)) is { } missing)
            throw new BadInputException($"{missing}: is missing; the model has {paths.Count} parts, put all of them into one folder");
        GgufHeader? first = null;
        var tensors = new Dictionary<string, GgufTensor>(StringComparer.Ordinal);
        for (var part = 0; part < paths.Count; part++)
        {
            var header = GgufFile.ReadOne(paths[part]);
            first ??= header;
            RequirePart(header.Metadata, part, first.Metadata);
            foreach (var (name, tensor) in header.Tensors)
            {
                if (tensors.TryAdd(name, tensor with { Part = part })) continue;
                throw new BadInputException($"{paths[part]}: tensor {BadInputException.Shown(name)} is in "
                    + $"{Path.GetFileName(paths[tensors[name].Part])} too; is this a part of another model?");
            }
        }

        var expected = first!.Metadata.OptionalInteger(TensorsKey);
        if (expected == tensors.Count) return first with { Tensors = tensors };
        throw new BadInputException($"{paths[0]}: {TensorsKey} is {expected}, and the {paths.Count} parts have {tensors.Count} tensors; "
            + "is one of them a part of another model?");
    }

    private static void RequirePart(GgufMetadata metadata, int part, GgufMetadata first)
    {
        if (metadata.OptionalInteger(NumberKey) != part)
            throw metadata.Wrong(NumberKey, Shown(metadata, NumberKey), $"{part}, which its name says; part 1 has number 0");
        foreach (var key in new[] { CountKey, TensorsKey })
        {
            if (!first.Has(key)) throw first.Missing(key);
            if (metadata.OptionalInteger(key) == first.OptionalInteger(key)) continue;
            throw metadata.Wrong(key, Shown(metadata, key), $"{first.OptionalInteger(key)}, as in {Path.GetFileName(first.Path)}; "
                + "is this a part of another model?");
        }

        // Mostly the first part alone has the others.
        var other = metadata.Keys.FirstOrDefault(
            key => key is not (NumberKey or GgufHeader.AlignmentKey) && !first.SameValue(key, metadata));
        if (other is not null)
        {
            throw metadata.Wrong(other, metadata.ShownValue(other), first.Has(other)
                ? $"the value in {Path.GetFileName(first.Path)}; is this a part of another model?"
                : $"no such key, which {Path.GetFileName(first.Path)} lacks; is this a part of another model?");
        }
    }

    private static string Shown(GgufMetadata metadata, string key) => metadata.Has(key) ? metadata.ShownValue(key) : "missing";

    private static int Digits(Match name, int group) => int.Parse(name.Groups[group].ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$", RegexOptions.CultureInvariant)]
    private static partial Regex PartName();
}
