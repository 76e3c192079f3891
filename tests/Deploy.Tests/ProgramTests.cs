using System.Text.RegularExpressions;

namespace FedRLora.Deploy.Tests;

/// <summary>What the chart, the page on deployment and alerts name is the program's own, as <c>--help</c> has it.</summary>
public sealed partial class ProgramTests
{
    private static readonly string Program = Tree.At("src", "Client", "bin", "Release", "net10.0", "fedrlora.dll");

    private static readonly Dictionary<string, HashSet<string>> Helps = [];

    [ProgramFact]
    public async Task Every_option_that_the_chart_gives_a_silo_is_one()
    {
        var args = Tree.Read("deploy", "k8s", "fedrlora", "templates", "statefulset.yaml").Split('\n')
            .SkipWhile(static line => line.Trim() != "args:").TakeWhile(static line => line.Trim() != "env:")
            .SelectMany(static line => Option().Matches(line)).Select(static match => match.Value).Distinct().ToList();

        Assert.True(args.Count > 20, "options are not found in the chart");
        Assert.Empty(await UnknownAsync(args.Select(static arg => ("silo", arg))));
    }

    [ProgramFact]
    public async Task Every_command_of_the_page_on_deployment_is_one_with_options_that_it_takes()
    {
        var typed = Tree.Read("docs", "deploy.md").Split('\n')
            .Where(static line => line.StartsWith("$ fedrlora ", StringComparison.Ordinal))
            .Select(static line => line.Split(' ')[2..]).ToList();

        Assert.True(typed.Count > 10, "commands are not found in the page");
        Assert.Empty(await UnknownAsync(typed.SelectMany(static words => words
            .Where(static word => word.StartsWith("--", StringComparison.Ordinal)).Prepend("--help")
            .Select(word => (CommandOf(words), word)))));
    }

    [ProgramFact]
    public async Task Every_command_that_an_alert_names_is_one()
    {
        var named = Named().Matches(Tree.Read("deploy", "telemetry", "prometheus", "alerts.yml"))
            .Select(static match => match.Groups[1].Value).Distinct().ToList();

        Assert.True(named.Count > 1, "commands are not found in the alerts");
        Assert.Empty(await UnknownAsync(named.Select(static command => (command, "--help"))));
    }

    // Commands for certificates have a second word.
    private static string CommandOf(string[] words) => words[0] == "pki" ? $"{words[0]} {words[1]}" : words[0];

    private static async Task<List<string>> UnknownAsync(IEnumerable<(string Command, string Option)> uses)
    {
        var unknown = new List<string>();
        foreach (var (command, option) in uses.Distinct())
        {
            if (!(await HelpAsync(command)).Contains(option)) unknown.Add($"{command} {option}");
        }

        return unknown;
    }

    // The options of a command; none where there is no such command.
    private static async Task<HashSet<string>> HelpAsync(string command)
    {
        if (Helps.TryGetValue(command, out var known)) return known;
        var said = await Shell.RunAsync("dotnet", [Program, .. command.Split(' '), "--help"]);
        return Helps[command] = said.Code == 0 && said.Output.Contains($"fedrlora {command}", StringComparison.Ordinal)
            ? [.. Listed().Matches(said.Output).Select(static match => match.Groups[1].Value)]
            : [];
    }

    [GeneratedRegex(@"`fedrlora\s+([a-z]+)")]
    private static partial Regex Named();

    [GeneratedRegex("--[a-z][a-z-]*")]
    private static partial Regex Option();

    [GeneratedRegex(@"^  (?:-\S+, )*(--[a-z][a-z-]*)", RegexOptions.Multiline)]
    private static partial Regex Listed();

    /// <summary>A test that asks the program, which is not built with this project.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    private sealed class ProgramFactAttribute : FactAttribute
    {
        public ProgramFactAttribute() => Skip = File.Exists(Program) ? null : "the program is not built (make test builds it first)";
    }
}
