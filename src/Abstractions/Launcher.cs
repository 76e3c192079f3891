using System.Text.RegularExpressions;

namespace FedRLora.Abstractions;

/// <summary>How this program was started, so that a command in a hint runs as it is printed.</summary>
public static partial class Launcher
{
    /// <summary>Where the script that starts the program says how it was itself called.</summary>
    public const string Variable = "FEDRLORA_LAUNCHER";

    /// <summary>What to type for the program: <c>./fedrlora</c> from the launcher of the repository, else <c>fedrlora</c>.</summary>
    public static string Name { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } called && !called.Any(char.IsControl)
        ? Quoted(called)
        : "fedrlora";

    /// <summary>A command to type: the program and these words, each quoted where a shell would not take it as it is.</summary>
    public static string Hint(params IEnumerable<string> words) => string.Join(' ', words.Select(Quoted).Prepend(Name));

    private static string Quoted(string word) => Plain().IsMatch(word) ? word : $"'{word.Replace("'", @"'\''", StringComparison.Ordinal)}'";

    [GeneratedRegex(@"\A[\w@%+=:,./-]+\z")]
    private static partial Regex Plain();
}
