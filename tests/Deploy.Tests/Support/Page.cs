namespace FedRLora.Deploy.Tests;

/// <summary>The page of the chart, as far as tests hold it to the chart.</summary>
internal static class Page
{
    private static readonly string[] Lines = Tree.Read("deploy", "k8s", "README.md").Split('\n');

    /// <summary>The fenced block whose first line is a comment with a file's name.</summary>
    public static string Block(string name)
    {
        var first = Array.IndexOf(Lines, $"# {name}");
        Assert.True(first > 0, $"the page has no block of {name}");
        return string.Join('\n', Lines[first..].TakeWhile(static line => line != "```")) + "\n";
    }

    /// <summary>Rows of the tables of values: the first two cells, a value and its default, as they stand between backquotes.</summary>
    public static IReadOnlyList<(string Value, string Default)> Values() =>
    [
        .. Lines.Where(static line => line.StartsWith("| `", StringComparison.Ordinal)).Select(static line => line.Split(" | "))
            .Where(static cells => cells.Length >= 3)
            .Select(static cells => (cells[0].TrimStart('|').Trim().Trim('`'), cells[1].Trim().Trim('`'))),
    ];
}
