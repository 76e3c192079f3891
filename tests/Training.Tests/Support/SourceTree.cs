namespace FedRLora.Training.Tests;

/// <summary>The repository that the tests were built in.</summary>
internal static class SourceTree
{
    /// <summary>A file of it.</summary>
    public static string File(params string[] parts) => Path.Combine([Root(), .. parts]);

    private static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!System.IO.File.Exists(Path.Combine(folder.FullName, "FedRLora.sln")))
            folder = folder.Parent ?? throw new InvalidOperationException("FedRLora.sln is in no folder above the tests.");
        return folder.FullName;
    }
}
