using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>A shell with one command in it.</summary>
internal sealed class Terminal : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();

    public Terminal(string folder, string script, string line)
    {
        Line = line;
        // A test host that a script started in the background would hand on that interrupts are ignored.
        _process = Process.Start(new ProcessStartInfo("env", ["--default-signal=INT", "bash", "-c", script])
        {
            WorkingDirectory = folder, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        _process.StandardInput.Close();
        _process.OutputDataReceived += Keep;
        _process.ErrorDataReceived += Keep;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public string Line { get; }

    public string Output
    {
        get
        {
            lock (_output) return _output.ToString();
        }
    }

    public void Interrupt()
    {
        if (_process.HasExited) return;
        using var kill = Process.Start("sh", ["-c", string.Create(CultureInfo.InvariantCulture, $"kill -INT {_process.Id}")]);
        kill.WaitForExit();
    }

    /// <summary>Types a line and waits for its end.</summary>
    public static async Task<(int? Code, string Output)> RunAsync(string folder, string line)
    {
        await using var terminal = new Terminal(folder, line, line);
        return (await terminal.ExitAsync(TimeSpan.FromMinutes(2)), terminal.Output);
    }

    /// <summary>The exit code; null if it does not end in time.</summary>
    public async Task<int?> ExitAsync(TimeSpan patience)
    {
        using var limit = new CancellationTokenSource(patience);
        try
        {
            await _process.WaitForExitAsync(limit.Token);
            return _process.ExitCode;
        }
        catch (OperationCanceledException)
        {
            return null;
        }
    }

    /// <summary>Whether it came to hold before the command ended or patience did.</summary>
    public async Task<bool> UntilAsync(Func<Terminal, bool> holds, TimeSpan patience)
    {
        var started = Stopwatch.GetTimestamp();
        while (!holds(this))
        {
            if (_process.HasExited || Stopwatch.GetElapsedTime(started) > patience) return false;
            await Task.Delay(20);
        }

        return true;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited) _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private void Keep(object sender, DataReceivedEventArgs line)
    {
        lock (_output) _output.AppendLine(line.Data);
    }
}
