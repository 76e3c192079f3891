using System.Diagnostics;
using System.Globalization;

namespace FedRLora.Benchmarks;

/// <summary>This program again, in a process whose memory is measured alone.</summary>
internal static class ChildProcess
{
    /// <summary>Runs it and reads the numbers that it prints.</summary>
    /// <exception cref="InvalidOperationException">It ended with an error.</exception>
    public static Task<double[]> RunAsync(params string[] args) => RunAsync(new Dictionary<string, string?>(), args);

    /// <summary>As <see cref="RunAsync(string[])"/>, with other variables of the environment; null takes one away.</summary>
    public static async Task<double[]> RunAsync(IReadOnlyDictionary<string, string?> environment, params string[] args)
    {
        string[] program = Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet"
            ? [typeof(ChildProcess).Assembly.Location] : [];
        var start = new ProcessStartInfo(Environment.ProcessPath!, [.. program, .. args]) { RedirectStandardOutput = true };
        foreach (var (variable, value) in environment) start.Environment[variable] = value;
        using var child = Process.Start(start)!;
        var answer = await child.StandardOutput.ReadToEndAsync();
        await child.WaitForExitAsync();
        if (child.ExitCode != 0) throw new InvalidOperationException($"the measuring process ended with {child.ExitCode}");
        return [.. answer.Split(' ').Select(static text => double.Parse(text, CultureInfo.InvariantCulture))];
    }

    /// <summary>The most memory that this process has held, <c>VmHWM</c>, in units of 10^6 bytes.</summary>
    public static double PeakMegabytes()
    {
        var line = File.ReadLines("/proc/self/status").First(static line => line.StartsWith("VmHWM:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) * 1024 / 1e6;
    }
}
