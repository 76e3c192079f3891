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
    public static IReadOnlyList<string> Roots { get; } =
        [.. SharedFolder.FoldersOf().Where(static name => BeginsWith(name, "fixtures") || BeginsWith(name, "reports"))];

    /// <summary>Everything in them; nothing where the shared folder is absent.</summary>
    public static FixtureTree Tree { get; } = SharedFolder.Root is null ? new("") : new(SharedFolder.Root, Roots);

    /// <summary>Places of the fixtures of these kinds that are not listed as not yet.</summary>
    public static TheoryData<string> Of(params IReadOnlyList<string> kinds)
    {
        var asked = Tree.All.Where(fixture => kinds.Any(kind => NotYet.Matches(kind, fixture.Kind)));
        return [.. asked.Where(static fixture => !NotYet.Has(fixture.Kind)).Select(static fixture => fixture.Place)];
    }

    /// <summary>A place's folder and part.</summary>
    public static (string Folder, string Part) Split(string place) =>
        place.Split('#') is [var folder, var part] ? (folder, part) : (place, "");

    /// <summary>
    /// The folder of the tokenizer that cases are about: the cases' own, or the one in <c>tokenizers</c> or <c>models</c> of the shared
    /// folder with whose name that of the cases begins.
    /// </summary>
    public static string TokenizerOf(string cases)
    {
        if (File.Exists(SharedFolder.Of(cases, "tokenizer.json"))) return SharedFolder.Of(cases);
        static IEnumerable<string> In(string kind) => SharedFolder.FoldersOf(kind).Select(name => SharedFolder.Of(kind, name));
        var fitting = In("tokenizers").Concat(In("models")).Where(folder => BeginsWith(Path.GetFileName(cases), Path.GetFileName(folder)));
        return fitting.MaxBy(static folder => Path.GetFileName(folder).Length)
            ?? throw new InvalidOperationException($"{cases}: no tokenizer has a name that this one begins with; put its files there");
    }

    /// <summary>Whether the product refuses what a fixture of a listed kind is about; null where only a test could tell.</summary>
    public static bool? IsRefused(Fixture fixture) => fixture.Kind.Split('/')[0] switch
    {
        "model" => Refuses(() => ModelConfig.Load(SharedFolder.Of(fixture.Folder))),
        "adapter" => Refuses(() => OnItsModel(fixture.Folder)),
        "tokenizer" or "chat" => Refuses(() => Tokenizer.Load(TokenizerOf(fixture.Folder))),
        _ => null,
    };

    private static PeftAdapter OnItsModel(string folder)
    {
        var (adapter, model) = (PeftAdapter.Read(SharedFolder.Of(folder)), SharedFolder.Of(Path.GetDirectoryName(folder)!));
        _ = adapter.On(FrozenBase.LayersOf(model));
        adapter.CheckBiases(ModelConfig.Load(model));
        return adapter;
    }

    private static bool BeginsWith(string text, string prefix) => text.StartsWith(prefix, StringComparison.Ordinal);

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
