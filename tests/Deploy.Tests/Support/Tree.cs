namespace FedRLora.Deploy.Tests;

/// <summary>The working tree that the tests were built from.</summary>
internal static class Tree
{
    public static string Root { get; } = Find();

    /// <summary>A path below the root.</summary>
    public static string At(params string[] path) => Path.Combine([Root, .. path]);

    public static string Read(params string[] path) => File.ReadAllText(At(path));

    private static string Find()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "FedRLora.sln")))
            folder = folder.Parent ?? throw new InvalidOperationException("no FedRLora.sln above the test assembly");
        return folder.FullName;
    }
}
