using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat.Jinja;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Data.Chat;

/// <summary>Where a model folder keeps its chat template.</summary>
internal static class ChatTemplateFiles
{
    private const string Key = "chat_template";
    private const string ToolUse = "tool_use";
    private const string StandardFile = "chat_template.jinja";
    private const string ToolUseFile = "additional_chat_templates/" + ToolUse + ".jinja";
    private const string OlderFile = "chat_template.json";

    /// <summary>Files that a template is looked for in, besides <c>tokenizer_config.json</c>; not all of them need be there.</summary>
    public static IReadOnlyList<string> Of(string folder) =>
        File.Exists(Path.Combine(folder, StandardFile)) ? [StandardFile, ToolUseFile] : [OlderFile];

    public static ChatTemplate? Read(string folder) => Read(ModelSource.At(folder));

    public static ChatTemplate? Read(ModelSource source)
    {
        if (source.Has(StandardFile))
            return Template(source, FromFile(source, StandardFile), source.Has(ToolUseFile) ? FromFile(source, ToolUseFile) : null);
        foreach (var name in (string[])["tokenizer_config.json", OlderFile])
        {
            if (source.Has(name) && FromJson(source, name) is { } found) return Template(source, found.Default, found.ToolUse);
        }

        return null;
    }

    private static ChatTemplate Template(ModelSource source, JinjaTemplate standard, JinjaTemplate? withTools) =>
        new(standard, withTools, SpecialTokens.Spellings(source));

    private static JinjaTemplate FromFile(ModelSource source, string name) =>
        JinjaTemplate.Parse(source.Text(name), line => $"{source.Called(name)}:{line}");

    private static (JinjaTemplate Default, JinjaTemplate? ToolUse)? FromJson(ModelSource source, string name)
    {
        var path = source.Called(name);
        try
        {
            using var document = JsonDocument.Parse(source.Text(name));
            if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty(Key, out var value)
                || value.ValueKind == JsonValueKind.Null) return null;
            if (value.ValueKind == JsonValueKind.String) return (Parse(value.GetString()!, Key), null);
            if (value.ValueKind != JsonValueKind.Array)
                throw new BadInputException(
                    $"{path}: {Key} is {value.ValueKind}; make it a template, or a list of objects with name and template");
            var named = Named(value, path);
            return named.TryGetValue("default", out var standard)
                || (named.Count == 1 && named.Values.Single() is var only && (standard = only) is not null)
                ? (Parse(standard, "the default " + Key), named.TryGetValue(ToolUse, out var tools)
                    ? Parse(tools, $"the {ToolUse} {Key}") : null)
                : throw new BadInputException($"{path}: {Key} has {named.Count} templates and none is named default; name one so");
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new BadInputException($"{path}: not valid JSON: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }

        JinjaTemplate Parse(string text, string what) => JinjaTemplate.Parse(text, line => $"{path}: line {line} of {what}");
    }

    private static Dictionary<string, string> Named(JsonElement list, string path)
    {
        var named = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var item in list.EnumerateArray())
        {
            var isPair = item.ValueKind == JsonValueKind.Object && item.TryGetProperty("name", out var name)
                && name.ValueKind == JsonValueKind.String
                && item.TryGetProperty("template", out var template) && template.ValueKind == JsonValueKind.String;
            if (!isPair)
                throw new BadInputException($"{path}: item {named.Count + 1} of {Key} has no name and template; give it both as strings");
            named[item.GetProperty("name").GetString()!] = item.GetProperty("template").GetString()!;
        }

        return named;
    }
}
