namespace FedRLora.EndToEnd.Tests;

/// <summary>The working tree that the tests were built from.</summary>
internal static class Repository
{
    private static readonly string[] NotOurs = ["node_modules", "bin", "obj", "artifacts", "runs", "TestResults"];

    public static string Root { get; } = Find();

    /// <summary>Every Markdown file, by its path in the repository.</summary>
    public static IEnumerable<string> Pages() =>
        Under(new DirectoryInfo(Root)).Select(static file => Path.GetRelativePath(Root, file.FullName)).Order(StringComparer.Ordinal);

    public static string Read(params string[] path) => File.ReadAllText(Path.Combine([Root, .. path]));

    private static IEnumerable<FileInfo> Under(DirectoryInfo folder) => folder.EnumerateFiles("*.md").Concat(folder.EnumerateDirectories()
        .Where(static below => !below.Name.StartsWith('.') && !NotOurs.Contains(below.Name)).SelectMany(Under));

    private static string Find()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "FedRLora.sln")))
            folder = folder.Parent ?? throw new InvalidOperationException("no FedRLora.sln above the test assembly");
        return folder.FullName;
    }
}
