namespace FedRLora.Training.Gguf;

/// <summary>The chat templates of a GGUF file, by the names of a folder's files.</summary>
internal static class GgufChatTemplates
{
    private const string Key = "tokenizer.chat_template";
    private const string NamesKey = "tokenizer.chat_templates";
    private const string Standard = "chat_template.jinja";
    private const string Folder = "additional_chat_templates/";
    private const string Extension = ".jinja";

    /// <summary>Names of the files.</summary>
    public static IEnumerable<string> Documents(GgufMetadata metadata) => Keys(metadata).Select(static entry => entry.Document);

    /// <summary>The text of one.</summary>
    public static string Text(GgufMetadata metadata, string document) =>
        metadata.Text(Keys(metadata).First(entry => entry.Document == document).Key);

    private static List<(string Document, string Key)> Keys(GgufMetadata metadata)
    {
        var named = metadata.Keys.Where(static key => key.StartsWith(Key + ".", StringComparison.Ordinal)).ToList();
        foreach (var name in metadata.OptionalTexts(NamesKey) ?? [])
        {
            if (name != "default" && !metadata.Has($"{Key}.{name}")) throw metadata.Missing($"{Key}.{name}");
        }

        // A template alone is the default one, whatever it is called.
        if (string.IsNullOrEmpty(metadata.OptionalText(Key)))
            return named is [var only] ? [(Standard, only)] : [.. named.Select(key => (DocumentOf(metadata, key), key))];
        return [(Standard, Key), .. named.Select(key => (DocumentOf(metadata, key), key))];
    }

    // The name becomes a file's.
    private static string DocumentOf(GgufMetadata metadata, string key)
    {
        var name = key[(Key.Length + 1)..];
        return name.Length > 0 && name.All(static character => char.IsAsciiLetterOrDigit(character) || character is '_' or '-')
            ? Folder + name + Extension
            : throw metadata.Wrong(Key, $"named \"{name}\"", "a name of letters, digits, _ and -");
    }
}
