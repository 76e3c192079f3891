using FedRLora.Abstractions;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Golden;

namespace FedRLora.Training.Tests;

/// <summary>The reference numbers of the shared folder as data of theories.</summary>
public static class Fixtures
{
    /// <summary>The folders that hold reference numbers: <c>fixtures</c>, <c>reports</c>, and others whose names begin so.</summary>
    public static IReadOnlyList<string> Roots { get; } = [.. SharedFolder.FoldersOf()
        .Where(static name => name.StartsWith("fixtures", StringComparison.Ordinal) || name.StartsWith("reports", StringComparison.Ordinal))];

    /// <summary>Everything in them; nothing where the shared folder is absent.</summary>
    public static FixtureTree Tree { get; } = SharedFolder.Root is null ? new("") : new(SharedFolder.Root, Roots);

    /// <summary>Places of the fixtures of these kinds that are not listed as not yet.</summary>
    public static TheoryData<string> Of(params IReadOnlyList<string> kinds) =>
        [.. Tree.All.Where(fixture => kinds.Any(kind => NotYet.Matches(kind, fixture.Kind)) && !NotYet.Has(fixture.Kind)).Select(static fixture => fixture.Place)];

    /// <summary>A place's folder and part.</summary>
    public static (string Folder, string Part) Split(string place) => place.Split('#') is [var folder, var part] ? (folder, part) : (place, "");

    /// <summary>
    /// The folder of the tokenizer that cases are about: the cases' own, or the one in <c>tokenizers</c> or <c>models</c> of the shared
    /// folder with whose name theirs begins.
    /// </summary>
    public static string TokenizerOf(string cases)
    {
        if (File.Exists(SharedFolder.Of(cases, "tokenizer.json"))) return SharedFolder.Of(cases);
        var known = new[] { "tokenizers", "models" }.SelectMany(static kind => SharedFolder.FoldersOf(kind).Select(name => (kind, name)))
            .Where(entry => Path.GetFileName(cases).StartsWith(entry.name, StringComparison.Ordinal)).MaxBy(static entry => entry.name.Length);
        return known.name is null ? throw new InvalidOperationException($"{cases}: which tokenizer these cases are about is not known; put its files beside them") : SharedFolder.Of(known.kind, known.name);
    }

    /// <summary>Whether the product refuses what a fixture of a listed kind is about; null where only a test could tell.</summary>
    public static bool? IsRefused(Fixture fixture) => fixture.Kind.Split('/')[0] switch
    {
        "model" => Refuses(() => ModelConfig.Load(SharedFolder.Of(fixture.Folder))),
        "adapter" => Refuses(() => PeftAdapter.Read(SharedFolder.Of(fixture.Folder)).On(FrozenBase.LayersOf(SharedFolder.Of(Path.GetDirectoryName(fixture.Folder)!)))),
        "tokenizer" or "chat" => Refuses(() => Tokenizer.Load(TokenizerOf(fixture.Folder))),
        _ => null,
    };

    private static bool Refuses(Func<object> read)
    {
        try
        {
            _ = read();
            return false;
        }
        catch (BadInputException)
        {
            return true;
        }
    }
}
