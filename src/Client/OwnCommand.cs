namespace FedRLora.Client;

/// <summary>Commands of this program in the form in which the user's shell takes them.</summary>
internal static class OwnCommand
{
    /// <summary>How the program was started, from the launcher; without it the program's name.</summary>
    public const string StartedAs = "FEDRLORA_STARTED_AS";

    // besides letters and digits, what no shell takes apart
    private const string Plain = "/._-+,:=@%";

    /// <summary>The program's name or path, as it was started.</summary>
    public static string Name => Environment.GetEnvironmentVariable(StartedAs) is { Length: > 0 } name ? Quoted(name) : "fedrlora";

    /// <summary>A command with its words, each quoted where a shell would take it apart.</summary>
    public static string Line(params IEnumerable<string> words) => string.Join(' ', words.Select(Quoted).Prepend(Name));

    private static string Quoted(string word) =>
        word.Length > 0 && word.All(static letter => char.IsLetterOrDigit(letter) || Plain.Contains(letter, StringComparison.Ordinal))
            ? word
            : $"'{word.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}
