using System.Text.Json.Nodes;

namespace FedRLora.Deploy.Tests;

/// <summary>The chart's schema, walked with its references followed.</summary>
internal static class ValuesSchema
{
    private static readonly JsonObject Root = JsonNode.Parse(Tree.Read("deploy", "k8s", "fedrlora", "values.schema.json"))!.AsObject();

    /// <summary>Every object that has keys of its own: where it stands (<c>[]</c> for the items of a list), and its schema.</summary>
    public static IReadOnlyList<(string Path, JsonObject Schema)> Objects { get; } =
        [.. All("", Root).Where(static one => one.Schema.ContainsKey("properties"))];

    /// <summary>Objects whose keys are the reader's own.</summary>
    public static IReadOnlyList<string> Free { get; } = [.. All("", Root)
        .Where(static one => (string?)one.Schema["type"] == "object" && !one.Schema.ContainsKey("properties"))
        .Select(static one => one.Path)];

    /// <summary>Every value that is no object with keys of its own.</summary>
    public static IReadOnlyList<string> Values { get; } = [.. All("", Root)
        .Where(static one => !one.Schema.ContainsKey("properties") && !one.Path.Contains("[]", StringComparison.Ordinal))
        .Select(static one => one.Path)];

    private static IEnumerable<(string Path, JsonObject Schema)> All(string path, JsonObject found)
    {
        var schema = Followed(found);
        yield return (path, schema);
        if (schema["properties"] is JsonObject properties)
        {
            foreach (var (name, below) in properties)
            {
                foreach (var one in All(path.Length == 0 ? name : $"{path}.{name}", below!.AsObject())) yield return one;
            }
        }

        if (schema["items"] is JsonObject items)
        {
            foreach (var one in All(path + "[]", items)) yield return one;
        }
    }

    private static JsonObject Followed(JsonObject schema) => schema["$ref"] is { } reference
        ? Root["definitions"]![((string)reference!)["#/definitions/".Length..]]!.AsObject()
        : schema;
}
