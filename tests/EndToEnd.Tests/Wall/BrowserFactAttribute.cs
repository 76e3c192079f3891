namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>A test that drives chromium through the packages of tests/wall; skipped with the reason where they are not there.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class BrowserFactAttribute : FactAttribute
{
    internal static readonly string? Missing =
        !Directory.Exists(Path.Combine(Folder, "node_modules")) ? "the packages of tests/wall are not installed"
        : !File.Exists("/usr/bin/chromium") && !File.Exists("/usr/bin/chromium-browser")
            ? "chromium is not installed (apt-get install chromium)" : null;

    public BrowserFactAttribute() => Skip = Missing;

    internal static string Folder => Path.Combine(Repository.Root, "tests", "wall");
}
