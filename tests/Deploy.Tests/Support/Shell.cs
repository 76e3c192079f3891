using System.Diagnostics;

namespace FedRLora.Deploy.Tests;

/// <summary>What a program said.</summary>
internal sealed record Said(int Code, string Output, string Error)
{
    /// <summary>Its output, where it ended well.</summary>
    public string Ok => Code == 0 ? Output : throw new InvalidOperationException($"ended with {Code}: {Error}{Output}");
}

/// <summary>Programs of the packages of tests/helm.</summary>
internal static class Shell
{
    private static readonly Lazy<Task<Said>> Programs = new(static () => RunAsync("node", ["tests/helm/unpack.mjs"]));

    /// <summary>Why the tests of the chart cannot run; null where they can.</summary>
    public static string? Missing { get; } = Directory.Exists(Tree.At("tests", "helm", "node_modules"))
        ? null
        : "the packages of tests/helm are not installed (make test installs them where npm can reach its registry)";

    public static Task<Said> HelmAsync(params string[] words) => OfPackageAsync("helm", words);

    public static Task<Said> KubectlAsync(params string[] words) => OfPackageAsync("kubectl", words);

    /// <summary>Runs a program in the root of the tree.</summary>
    public static async Task<Said> RunAsync(string program, IEnumerable<string> words, string? input = null)
    {
        var start = new ProcessStartInfo(program, words)
        {
            WorkingDirectory = Tree.Root, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        if (input is not null) await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        await process.WaitForExitAsync();
        return new(process.ExitCode, await output, await error);
    }

    private static async Task<Said> OfPackageAsync(string program, string[] words) =>
        await RunAsync(Path.Combine((await Programs.Value).Ok.Trim(), program), words);
}

/// <summary>A test that needs helm.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class HelmFactAttribute : FactAttribute
{
    public HelmFactAttribute() => Skip = Shell.Missing;
}

/// <summary>A theory that needs helm.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class HelmTheoryAttribute : TheoryAttribute
{
    public HelmTheoryAttribute() => Skip = Shell.Missing;
}
