namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>
/// A folder in which a page's commands find what they find in the repository's: the launcher, the samples, and the program built.
/// </summary>
internal sealed class Scratch : IDisposable
{
    private static readonly string[] Inputs = ["Directory.Build.props", "Directory.Packages.props"];
    private readonly DirectoryInfo _folder;

    public Scratch()
    {
        _folder = Directory.CreateTempSubdirectory("fedrlora-pages-");
        File.Copy(Path.Combine(Repository.Root, "fedrlora"), Under("fedrlora"));
        Directory.CreateDirectory(Under("src/Client/bin/Release"));
        Directory.CreateSymbolicLink(Under("src/Client/bin/Release/net10.0"), AppContext.BaseDirectory);
        foreach (var input in Inputs)
        {
            // The launcher builds where one of them is newer than the program.
            File.WriteAllText(Under(input), "");
            File.SetLastWriteTimeUtc(Under(input), DateTime.UnixEpoch);
        }

        Directory.CreateDirectory(Under("artifacts"));
        Directory.CreateDirectory(Under("tests"));
        Directory.CreateSymbolicLink(Under("samples"), Path.Combine(Repository.Root, "samples"));
        Directory.CreateSymbolicLink(Under("tests/azurite"), Path.Combine(Repository.Root, "tests", "azurite"));
    }

    public string Folder => _folder.FullName;

    /// <summary>The generator of the samples as it was built beside this test.</summary>
    public static string Generator { get; } = Path.Combine(
        Repository.Root, "samples", "Generator",
        Path.GetRelativePath(Path.Combine(Repository.Root, "tests", "EndToEnd.Tests"), AppContext.BaseDirectory), "FedRLora.Generator.dll");

    public string Under(string path) => Path.Combine(Folder, path);

    public void Dispose() => _folder.Delete(recursive: true);
}
