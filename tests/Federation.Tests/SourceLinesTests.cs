namespace FedRLora.Federation.Tests;

/// <summary>The sources fit on a screen beside something else: no line is longer than the bound of .editorconfig.</summary>
public class SourceLinesTests
{
    private const int Most = 140;

    private static readonly string Root = ArchitectureTests.Root();
    private static readonly string[] Folders = ["src", "tests", "samples", "eng"];

    [Fact]
    public void No_line_of_a_source_file_is_too_long()
    {
        var sources = Folders.SelectMany(static folder => Sources(Path.Combine(Root, folder))).Order(StringComparer.Ordinal).ToList();
        Assert.NotEmpty(sources);
        var found = sources.SelectMany(static file => TooLong(Path.GetRelativePath(Root, file), File.ReadLines(file))).ToList();
        Assert.True(found.Count == 0, string.Join('\n', found));
    }

    [Fact]
    public void A_line_that_is_too_long_is_named_with_its_file_and_length_in_characters()
    {
        string[] lines = [new('a', Most), new('ä', Most), string.Concat(Enumerable.Repeat("😀", Most)), new('b', Most + 1)];
        Assert.Equal(["a.cs:4: 141 characters, at most 140 fit; break the line"], TooLong("a.cs", lines));
    }

    [Fact]
    public void The_bound_is_that_of_editorconfig() =>
        Assert.Contains($"max_line_length = {Most}", File.ReadLines(Path.Combine(Root, ".editorconfig")));

    // What the compiler generates is beside the sources.
    private static IEnumerable<string> Sources(string folder) => Directory.EnumerateFiles(folder, "*.cs")
        .Concat(Directory.EnumerateDirectories(folder)
            .Where(static inner => Path.GetFileName(inner) is not ("bin" or "obj" or "node_modules")).SelectMany(Sources));

    private static IEnumerable<string> TooLong(string file, IEnumerable<string> lines) => lines
        .Select(static (line, index) => (Number: index + 1, Length: line.EnumerateRunes().Count()))
        .Where(static line => line.Length > Most)
        .Select(line => $"{file}:{line.Number}: {line.Length} characters, at most {Most} fit; break the line");
}
