namespace FedRLora.Training.Tests;

/// <summary>
/// Reference material that does not live in the repository: <c>$FEDRLORA_SHARED</c>, or the folder <c>shared</c> beside the
/// repository's root. Tests that need it are skipped where it is absent.
/// </summary>
public static class SharedFolder
{
    public const string Absent = "needs the folder of reference fixtures: set FEDRLORA_SHARED, or put it beside the repository as 'shared'";

    public static string? Root { get; } = Find();

    public static string Of(params string[] parts) => Path.Combine([Root ?? throw new InvalidOperationException(Absent), .. parts]);

    /// <summary>Why tests that take minutes are skipped; null where they run.</summary>
    public static string? WhyNoSoak { get; } = Root is null ? Absent
        : Environment.GetEnvironmentVariable("FEDRLORA_SOAK") is { Length: > 0 } ? null
        : "takes minutes: set FEDRLORA_SOAK=1, as make soak does";

    /// <summary>Names of the folders below, in ordinal order; empty where the shared folder is absent.</summary>
    public static IReadOnlyList<string> FoldersOf(params string[] parts) => Root is null || !Directory.Exists(Of(parts))
        ? []
        : [.. Directory.GetDirectories(Of(parts)).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    private static string? Find()
    {
        if (Environment.GetEnvironmentVariable("FEDRLORA_SHARED") is { Length: > 0 } given) return Directory.Exists(given) ? given : null;
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (!File.Exists(Path.Combine(folder.FullName, "FedRLora.sln"))) continue;
            var beside = Path.Combine(folder.Parent?.FullName ?? folder.FullName, "shared");
            return Directory.Exists(beside) ? beside : null;
        }

        return null;
    }
}

/// <summary>A fact that is skipped without the shared folder.</summary>
public sealed class SharedFactAttribute : FactAttribute
{
    public SharedFactAttribute() => Skip = SharedFolder.Root is null ? SharedFolder.Absent : null!;
}

/// <summary>A theory that is skipped without the shared folder.</summary>
public sealed class SharedTheoryAttribute : TheoryAttribute
{
    public SharedTheoryAttribute() => Skip = SharedFolder.Root is null ? SharedFolder.Absent : null!;
}

/// <summary>A fact that takes minutes: skipped unless FEDRLORA_SOAK is set, and without the shared folder.</summary>
public sealed class SharedSoakFactAttribute : FactAttribute
{
    public SharedSoakFactAttribute() => Skip = SharedFolder.WhyNoSoak!;
}

/// <summary>A theory that takes minutes, likewise.</summary>
public sealed class SharedSoakTheoryAttribute : TheoryAttribute
{
    public SharedSoakTheoryAttribute() => Skip = SharedFolder.WhyNoSoak!;
}
