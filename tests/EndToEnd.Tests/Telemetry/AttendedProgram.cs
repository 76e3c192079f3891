using System.Diagnostics;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>A program of somebody else that a test needs; it goes with this process, however that ends.</summary>
internal sealed class AttendedProgram : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly Process _shell;
    private readonly string _log;

    /// <param name="folder">Its working directory, and where its log is.</param>
    /// <param name="environment">Variables beside this process's.</param>
    /// <param name="command">The program with its arguments.</param>
    public AttendedProgram(string folder, IEnumerable<(string Name, string Value)> environment, params string[] command)
    {
        _log = Path.Combine(folder, $"{Path.GetFileName(command[0])}.log");
        // The shell waits for the end of its input, which comes when this process closes the pipe or is gone.
        var start = new ProcessStartInfo("sh",
            ["-c", "log=$1; shift; \"$@\" < /dev/null > \"$log\" 2>&1 & server=$!; cat > /dev/null; kill -9 $server; wait", "sh",
                _log, .. command])
        {
            RedirectStandardInput = true, WorkingDirectory = folder,
        };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        _shell = Process.Start(start)!;
    }

    /// <summary>Where a program is that is found by its name; null where it is not installed.</summary>
    public static string? Find(string name) => Environment.GetEnvironmentVariable("PATH")!.Split(':')
        .Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists);

    /// <summary>Asks again until something holds.</summary>
    public async Task UntilAsync(Func<Task<bool>> holds, string what)
    {
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                if (await holds()) return;
            }
            catch (HttpRequestException)
            {
                // it does not listen yet
            }

            Assert.True(Stopwatch.GetElapsedTime(started) < Patience,
                $"waited in vain for {what}:\n{(File.Exists(_log) ? await File.ReadAllTextAsync(_log) : "")}");
            await Task.Delay(100);
        }
    }

    public async ValueTask DisposeAsync()
    {
        _shell.StandardInput.Close();
        await _shell.WaitForExitAsync();
        _shell.Dispose();
    }
}
