using System.CommandLine;
using System.Text.RegularExpressions;
using FedRLora.Client;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>Holds what pages say of the program's commands and options to the program's own parser.</summary>
internal static partial class ProgramShape
{
    public static IReadOnlyDictionary<string, Command> Commands { get; } =
        Program.Commands.Select(static create => create()).ToDictionary(static command => command.Name);

    /// <summary>Every option of every command.</summary>
    public static IReadOnlySet<string> Options { get; } =
        Commands.Values.SelectMany(static command => command.Subcommands.Prepend(command)).SelectMany(OptionsOf).Append("--help")
            .ToHashSet(StringComparer.Ordinal);

    /// <summary>The words of a span that names one of the commands, with or without the program's name; null for any other.</summary>
    public static string[]? Words(string span)
    {
        var words = span.Split(' ');
        if (words[0] is "fedrlora" or "./fedrlora") words = words[1..];
        return words.Length > 0 && (words.Length < span.Split(' ').Length || Commands.ContainsKey(words[0])) ? words : null;
    }

    /// <summary>What is wrong with a command as a page names it; null for nothing. Operands may be left out.</summary>
    public static string? Problem(string[] words)
    {
        if (!Commands.TryGetValue(words[0], out var command)) return $"there is no command {words[0]}";
        if (command.Subcommands.Count > 0 && words.Length > 1 && !words[1].StartsWith('-'))
        {
            if (command.Subcommands.FirstOrDefault(one => one.Name == words[1]) is not { } sub)
                return $"there is no command {words[0]} {words[1]}";
            command = sub;
        }

        var known = OptionsOf(command).Append("--help").ToList();
        var options = words[1..].Where(static word => word.StartsWith('-')).Select(static word => word.Split('=')[0]);
        return options.FirstOrDefault(option => !known.Contains(option)) is { } unknown ? $"{words[0]} has no option {unknown}" : null;
    }

    /// <summary>What the parser says of a command line whose values may be placeholders in capitals; null for nothing.</summary>
    public static string? ParseProblem(string[] words)
    {
        if (Problem(words) is { } problem) return problem;
        var root = new RootCommand { Commands[words[0]] };
        var filled = words.Select(static word =>
            word == "PORT" ? "1" : word.Replace("HOST:PORT", "127.0.0.1:6379", StringComparison.Ordinal));
        return root.Parse([.. filled]).Errors is [var error, ..] ? error.Message : null;
    }

    /// <summary>The options that a text names.</summary>
    public static IEnumerable<string> OptionsIn(string text) => Option().Matches(text).Select(static option => option.Value);

    private static IEnumerable<string> OptionsOf(Command command) =>
        command.Options.SelectMany(static option => option.Aliases.Prepend(option.Name));

    [GeneratedRegex(@"(?<=^|\s)--[a-z][a-z-]*")]
    private static partial Regex Option();
}
