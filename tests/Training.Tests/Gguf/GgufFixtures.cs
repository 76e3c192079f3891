using System.Text.Json;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>The GGUF files among the reference fixtures.</summary>
internal static class GgufFixtures
{
    /// <summary>Those with a configuration and numbers beside them, relative to the shared folder and without their ending.</summary>
    public static TheoryData<string> Models { get; } = [.. Fixtures.Tree.All
        .Where(static fixture => fixture.Kind.StartsWith("gguf/model/", StringComparison.Ordinal))
        .Select(static fixture => $"{fixture.Folder}/{fixture.Part}")];

    /// <summary>The path of a file beside a model.</summary>
    public static string Of(string model, string ending) => SharedFolder.Of(model + ending);

    /// <summary>What is known of a model's tensors and numbers.</summary>
    public static JsonElement Expected(string model) => JsonDocument.Parse(File.ReadAllText(Of(model, ".expected.json"))).RootElement;
}
