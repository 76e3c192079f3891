namespace FedRLora.Benchmarks;

/// <summary>What the benchmarks read from their command line, and where they find the repository.</summary>
internal static class CommandLine
{
    /// <summary>What follows an option, or null where it is not given.</summary>
    public static string? Option(string[] args, string option) =>
        Array.IndexOf(args, option) is var at and >= 0 && at + 1 < args.Length ? args[at + 1] : null;

    /// <summary>Names that an option lists with commas, all of them where it is not given.</summary>
    /// <exception cref="ArgumentException">A name is none of them.</exception>
    public static string[] Chosen(string[] args, string option, string[] all)
    {
        var chosen = Option(args, option)?.Split(',') ?? all;
        return chosen.FirstOrDefault(name => !all.Contains(name)) is { } unknown
            ? throw new ArgumentException($"{option}: {unknown} is none of {string.Join(", ", all)}") : chosen;
    }

    /// <summary>The folder of FedRLora.sln.</summary>
    public static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "FedRLora.sln")))
            folder = folder.Parent ?? throw new InvalidOperationException("FedRLora.sln is in no folder above this program.");
        return folder.FullName;
    }
}
