namespace FedRLora.Training.Tests.Adapters;

/// <summary>The example of docs/methods.md is a file of this project: it is compiled, and <see cref="UnlistedMethods"/> runs it.</summary>
public sealed class WorkedExampleTests
{
    [Fact]
    public void The_page_shows_the_method_that_is_tested()
    {
        var source = File.ReadAllText(SourceTree.File("tests", "Training.Tests", "Adapters", "WorkedExample.cs"));
        var page = File.ReadAllText(SourceTree.File("docs", "methods.md"));

        var code = Between(source, "// begin\n", "// end\n");

        Assert.Equal(code, Between(page, "```csharp\n", "```\n"));
        Assert.True(code.Split('\n').Length <= 32, "the example is no short one any more");
    }

    private static string Between(string text, string begin, string end)
    {
        var from = text.IndexOf(begin, StringComparison.Ordinal) + begin.Length;
        return text[from..text.IndexOf(end, from, StringComparison.Ordinal)];
    }
}
