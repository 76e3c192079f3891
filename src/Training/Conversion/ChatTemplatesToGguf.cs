using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Gguf;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Conversion;

/// <summary>Writes a folder's chat templates as metadata.</summary>
internal static class ChatTemplatesToGguf
{
    private const string Key = "chat_template";
    private const string Standard = "chat_template.jinja";
    private const string ToolUse = "tool_use";
    private const string Default = "default";

    /// <summary>Adds the keys; none where the folder has no template.</summary>
    public static void Set(GgufWriter writer, ModelSource source)
    {
        var named = Read(source).ToList();
        foreach (var (name, text) in named)
            writer.Set(name == Default ? "tokenizer.chat_template" : $"tokenizer.chat_template.{name}", text);
        if (named.Exists(static entry => entry.Name != Default))
            writer.Set("tokenizer.chat_templates", [.. named.Select(static entry => entry.Name)]);
    }

    private static IEnumerable<(string Name, string Text)> Read(ModelSource source)
    {
        if (source.Has(Standard))
        {
            yield return (Default, source.Text(Standard));
            const string Tools = $"additional_chat_templates/{ToolUse}.jinja";
            if (source.Has(Tools)) yield return (ToolUse, source.Text(Tools));
            yield break;
        }

        foreach (var document in (string[])["tokenizer_config.json", "chat_template.json"])
        {
            if (!source.Has(document)) continue;
            var found = FromJson(source.Text(document), source.Called(document));
            foreach (var entry in found) yield return entry;
            if (found.Count > 0) yield break;
        }
    }

    private static List<(string Name, string Text)> FromJson(string json, string called)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            if (!document.RootElement.TryGetProperty(Key, out var value)) return [];
            return value.ValueKind switch
            {
                JsonValueKind.Null => [],
                JsonValueKind.String => [(Default, value.GetString()!)],
                _ => [.. value.EnumerateArray().Select(static entry =>
                    (entry.GetProperty("name").GetString()!, entry.GetProperty("template").GetString()!))],
            };
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            throw new BadInputException($"{called}: {Key} cannot be read: {BadInputException.Shown(exception.Message)}", exception);
        }
    }
}
