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

/// <summary>A longer one, of <c>make soak</c>: several processes beside a browser.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class BrowserSoakAttribute : FactAttribute
{
    public BrowserSoakAttribute() => Skip = BrowserFactAttribute.Missing
        ?? (Environment.GetEnvironmentVariable("FEDRLORA_SOAK") == "1" ? null : "takes minutes: set FEDRLORA_SOAK=1, as make soak does");
}
