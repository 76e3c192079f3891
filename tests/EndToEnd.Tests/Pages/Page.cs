using System.Text.RegularExpressions;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>A fenced block of a page; <paramref name="Line"/> is that of its first line of content.</summary>
internal sealed record PageBlock(string Page, int Line, string Language, IReadOnlyList<string> Lines)
{
    public string Text => string.Join('\n', Lines) + "\n";

    public override string ToString() => $"{Page}:{Line}";
}

/// <summary>A code span in the prose or a table of a page.</summary>
internal sealed record PageSpan(string Page, int Line, string Text)
{
    public override string ToString() => $"{Page}:{Line}: {Text}";
}

/// <summary>A command line as a page has it, without the comment behind it.</summary>
internal sealed record PageCommand(string Page, int Line, string Text, string Comment)
{
    public override string ToString() => $"{Page}:{Line}: {Text}";
}

/// <summary>A Markdown page of the repository, as far as commands are concerned.</summary>
internal sealed partial class Page
{
    /// <summary>What a fence may say: <c>sh</c> holds commands and nothing else, the others hold none.</summary>
    public static IReadOnlyList<string> Languages { get; } = ["sh", "text", "yaml", "json", "csharp"];

    /// <summary>Programs of others that a code span starts when operands follow. Our own commands are held to the parser.</summary>
    private static readonly string[] Programs =
    [
        "./fedrlora", "make", "dotnet", "npm", "npx", "node", "apt-get", "az", "cp", "chgrp", "chmod", "kill", "redis-server", "git",
        "docker", "kubectl", "pip", "python", "python3", "curl", "export",
    ];

    private readonly List<PageBlock> _blocks = [];
    private readonly List<PageSpan> _spans = [];
    private readonly List<string> _problems = [];

    public Page(string name, string text)
    {
        Name = name;
        Text = text;
        Read(text.Split('\n'));
    }

    /// <summary>Its path in the repository.</summary>
    public string Name { get; }

    public string Text { get; }

    public IReadOnlyList<PageBlock> Blocks => _blocks;

    public IReadOnlyList<PageSpan> Spans => _spans;

    /// <summary>Forms from which commands cannot be told.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <summary>
    /// Every command that could be typed: lines of <c>sh</c> blocks, and spans that start a program with operands; in the page's order.
    /// </summary>
    public IReadOnlyList<PageCommand> Commands =>
    [
        .. _blocks.Where(static block => block.Language == "sh").SelectMany(CommandsOf)
            .Concat(_spans.Where(static span => IsCommand(span.Text))
                .Select(static span => new PageCommand(span.Page, span.Line, span.Text, "")))
            .OrderBy(static command => command.Line),
    ];

    /// <summary>Every page of the repository.</summary>
    public static IReadOnlyList<Page> All { get; } = [.. Repository.Pages().Select(static name => new Page(name, Repository.Read(name)))];

    /// <summary>Whether a text starts a program with something to do it on: <c>kill -9</c> and <c>make</c> only name one.</summary>
    internal static bool IsCommand(string text) => text.Split(' ') is [var program, .. var words] && Programs.Contains(program)
        && words.Any(static word => !word.StartsWith('-')) && (program != "export" || words[0].Contains('='));

    private static IEnumerable<PageCommand> CommandsOf(PageBlock block) => block.Lines
        .Select((text, i) => (Text: text, Line: block.Line + i))
        .Where(static line => line.Text.Trim().Length > 0 && !line.Text.StartsWith('#'))
        .Select(line => Comment().Match(line.Text) is { Success: true } comment
            ? new PageCommand(block.Page, line.Line, line.Text[..comment.Index].Trim(), comment.Groups[1].Value)
            : new PageCommand(block.Page, line.Line, line.Text.Trim(), ""));

    private void Read(string[] lines)
    {
        for (var i = 0; i < lines.Length; i++)
        {
            if (Fence().Match(lines[i]) is not { Success: true } fence)
            {
                if (lines[i].StartsWith("    ", StringComparison.Ordinal) && (i == 0 || lines[i - 1].Length == 0))
                    _problems.Add($"{Name}:{i + 1}: an indented block; fence it and say what it holds ({string.Join(", ", Languages)})");
                _spans.AddRange(Span().Matches(lines[i]).Select(span => new PageSpan(Name, i + 1, span.Groups[1].Value)));
                continue;
            }

            var end = Array.FindIndex(lines, i + 1, static line => line.TrimEnd() == "```");
            if (end < 0)
            {
                _problems.Add($"{Name}:{i + 1}: a block without an end");
                return;
            }

            Take(new PageBlock(Name, i + 2, fence.Groups[1].Value, lines[(i + 1)..end]));
            i = end;
        }
    }

    private void Take(PageBlock block)
    {
        _blocks.Add(block);
        if (!Languages.Contains(block.Language))
            _problems.Add($"{block}: the block says '{block.Language}'; one of {string.Join(", ", Languages)} is wanted");
        if (block.Language == "sh")
            Refuse(static line => line.EndsWith('\\'), "a command over several lines");
        else
            Refuse(static line => IsCommand(line.Trim()), "a command outside of a block that says sh");

        void Refuse(Func<string, bool> isWrong, string why) =>
            _problems.AddRange(block.Lines.Where(isWrong).Select(line => $"{block}: {why}: {line}"));
    }

    [GeneratedRegex(@"^```(\S*)\s*$")]
    private static partial Regex Fence();

    [GeneratedRegex(@"`([^`]+)`")]
    private static partial Regex Span();

    [GeneratedRegex(@"\s+# (.*)$")]
    private static partial Regex Comment();
}
