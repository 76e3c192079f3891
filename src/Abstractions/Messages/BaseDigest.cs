using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Messages;

/// <summary>What a file of a model folder is read for.</summary>
public enum BasePart
{
    /// <summary>Family and sizes.</summary>
    Config,

    /// <summary>Text to ids and back, special tokens, what ends a text, chat template.</summary>
    Tokenizer,

    /// <summary>The frozen tensors.</summary>
    Weights,
}

/// <summary>A file of a model folder by name and content.</summary>
/// <param name="Name">Its name inside the folder; neither the folder nor the host is part of any digest.</param>
/// <param name="Part">What it is read for.</param>
/// <param name="Sha256">Lower-case hexadecimal SHA-256 of its content.</param>
/// <param name="SizeBytes">Its length.</param>
public sealed record BaseFile(string Name, BasePart Part, string Sha256, long SizeBytes);

/// <summary>The digest of each part of a base, as manifests hold it.</summary>
/// <param name="Config">Of the configuration.</param>
/// <param name="Tokenizer">Of the tokenizer.</param>
/// <param name="Weights">Of the weights.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.base-parts")]
public sealed record BaseParts([property: Id(0)] string Config, [property: Id(1)] string Tokenizer, [property: Id(2)] string Weights)
{
    /// <summary>The parts that differ, as a sentence names them.</summary>
    public IReadOnlyList<string> DifferingFrom(BaseParts other) =>
    [
        .. new[] { ("configuration", Config, other.Config), ("tokenizer", Tokenizer, other.Tokenizer), ("weights", Weights, other.Weights) }
            .Where(static part => part.Item2 != part.Item3).Select(static part => part.Item1),
    ];
}

/// <summary>A frozen base by the content of the files that are read of its folder.</summary>
/// <param name="Files">The files that are there, in ordinal order of their names.</param>
/// <param name="Known">The digest of each part where the files are not known any more; null where they are.</param>
public sealed record BaseDigest(
    IReadOnlyList<BaseFile> Files,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] BaseParts? Known = null)
{
    private const int ShownDigits = 12;

    /// <summary>One digest for each part.</summary>
    [JsonIgnore]
    public BaseParts Parts => Known ?? new(Of(BasePart.Config), Of(BasePart.Tokenizer), Of(BasePart.Weights));

    /// <summary>What a base is made of, of some parts alone.</summary>
    public BaseDigest Only(params IReadOnlyCollection<BasePart> parts)
    {
        return new([.. Files.Where(file => parts.Contains(file.Part))], Known is null ? null
            : new(Kept(BasePart.Config, Known.Config), Kept(BasePart.Tokenizer, Known.Tokenizer), Kept(BasePart.Weights, Known.Weights)));

        string Kept(BasePart part, string digest) => parts.Contains(part) ? digest : Of(part); // of no files
    }

    /// <summary>Names the files, or the parts, that are not what a run was made with, in one line; null where all are.</summary>
    /// <param name="now">The base as it is now.</param>
    /// <param name="model">The model folder as the plan names it.</param>
    /// <param name="run">The run that was made with this one.</param>
    public string? Change(BaseDigest now, string model, string run)
    {
        if (Known is not null)
        {
            var parts = Known.DifferingFrom(now.Parts);
            var verb = parts is ["configuration"] or ["tokenizer"] ? "is" : "are";
            return parts.Count == 0 ? null : $"{model}: {string.Join(" and ", parts)} {verb} not what run {run} was made with";
        }

        var found = now.Files.ToDictionary(static file => file.Name, StringComparer.Ordinal);
        var known = Files.Select(static file => file.Name).ToHashSet(StringComparer.Ordinal);
        var changes = Files.Where(file => found.GetValueOrDefault(file.Name)?.Sha256 != file.Sha256)
            .Select(file => (file.Part, file.Name, Line: found.TryGetValue(file.Name, out var other)
                ? $"{file.Name} of {model} is not the one that run {run} was made with (sha256 {Shown(file)}, now {Shown(other)})"
                : $"{file.Name} of {model}, which run {run} was made with, is gone"))
            .Concat(now.Files.Where(file => !known.Contains(file.Name)).Select(file =>
                (file.Part, file.Name, Line: $"{file.Name} of {model} was not there when run {run} was made (sha256 {Shown(file)})")))
            .OrderBy(static change => change.Part).ThenBy(static change => change.Name, StringComparer.Ordinal).ToArray();
        if (changes.Length == 0) return null;
        if (changes.Length == 1) return changes[0].Line;
        var others = changes.Length > 4
            ? $"{changes.Length - 1} other files"
            : string.Join(", ", changes.Skip(1).Select(static change => change.Name));
        return $"{changes[0].Line}, nor {others}";
    }

    private static string Shown(BaseFile file) => file.Sha256[..Math.Min(ShownDigits, file.Sha256.Length)];

    private string Of(BasePart part)
    {
        var lines = Files.Where(file => file.Part == part).OrderBy(static file => file.Name, StringComparer.Ordinal)
            .Select(static file => FormattableString.Invariant($"{file.Name} {file.SizeBytes} {file.Sha256}\n"));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(lines))));
    }
}
