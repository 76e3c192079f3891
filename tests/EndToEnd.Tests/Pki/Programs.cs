using System.Diagnostics;

namespace FedRLora.EndToEnd.Tests.Pki;

/// <summary>The program <c>openssl</c>, which shares no code with the framework's certificates above the library.</summary>
internal static class OpenSsl
{
    /// <summary>Why tests that need it are skipped; null where it is installed.</summary>
    public static string? Missing { get; } =
        Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(static folder => File.Exists(Path.Combine(folder, "openssl")))
            ? null
            : "openssl is not installed (apt-get install openssl)";

    /// <summary>Runs it and returns what it wrote.</summary>
    public static async Task<(int Code, string Output)> TryAsync(string folder, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("openssl", arguments)
        {
            WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true,
        })!;
        process.StandardInput.Close();
        var error = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, output + await error);
    }

    /// <summary>The same; it must succeed.</summary>
    public static async Task<string> RunAsync(string folder, params string[] arguments)
    {
        var (code, output) = await TryAsync(folder, arguments);
        Assert.True(code == 0, $"openssl {string.Join(' ', arguments)} ended with {code}:\n{output}");
        return output;
    }
}

/// <summary>A test that needs <see cref="OpenSsl"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class OpenSslFactAttribute : FactAttribute
{
    public OpenSslFactAttribute() => Skip = OpenSsl.Missing;
}
