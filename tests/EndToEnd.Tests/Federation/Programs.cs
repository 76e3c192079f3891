using System.Diagnostics;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>The program as a process of its own, which can be killed.</summary>
internal sealed class RunningProgram : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _standardOutput = new();

    private RunningProgram(
        string folder, string[] arguments, string interrupts, params ReadOnlySpan<(string Name, string Value)> environment)
        : this(folder, [], arguments, interrupts, environment)
    {
    }

    private RunningProgram(
        string folder, string[] before, string[] arguments, string interrupts,
        params ReadOnlySpan<(string Name, string Value)> environment)
    {
        // env becomes the program. Without it a test host that a script started in the background would hand on
        // that interrupts are ignored.
        string[] command = 
        [
            $"--{interrupts}-signal=INT", .. before, "dotnet", Path.Combine(AppContext.BaseDirectory, "fedrlora.dll"), .. arguments,
        ];
        var start = new ProcessStartInfo("env", command)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        _process = Process.Start(start) ?? throw new InvalidOperationException("dotnet did not start");
        _process.OutputDataReceived += Keep;
        _process.OutputDataReceived += KeepStandardOutput;
        _process.ErrorDataReceived += Keep;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public static RunningProgram Start(string folder, params string[] arguments) => new(folder, arguments, "default");

    /// <summary>Started by another program, which becomes it.</summary>
    public static RunningProgram StartAs(string[] before, string folder, params string[] arguments) =>
        new(folder, before, arguments, "default");

    /// <summary>With a variable in its environment.</summary>
    public static RunningProgram StartWith((string Name, string Value) variable, string folder, params string[] arguments) =>
        new(folder, arguments, "default", variable);

    /// <summary>With several variables in its environment.</summary>
    public static RunningProgram StartWith((string Name, string Value)[] variables, string folder, params string[] arguments) =>
        new(folder, arguments, "default", variables);

    /// <summary>As a script starts what it puts into the background: interrupts are ignored.</summary>
    public static RunningProgram StartInBackground(string folder, params string[] arguments) => new(folder, arguments, "ignore");

    /// <summary>Runs to the end and asserts success; returns what it wrote.</summary>
    public static async Task<string> RunAsync(string folder, params string[] arguments)
    {
        await using var program = Start(folder, arguments);
        var code = await program.ExitAsync();
        Assert.True(code == 0, $"fedrlora {string.Join(' ', arguments)} ended with {code}:\n{program.Output}");
        return program.Output;
    }

    /// <summary>Both streams.</summary>
    public string Output
    {
        get
        {
            lock (_output) return _output.ToString();
        }
    }

    /// <summary>What a pipe behind the program would get.</summary>
    public string StandardOutput
    {
        get
        {
            lock (_output) return _standardOutput.ToString();
        }
    }

    public bool HasExited => _process.HasExited;

    public void Kill() => _process.Kill(); // SIGKILL

    /// <summary>Ctrl-C.</summary>
    public void Interrupt() => Send("INT");

    /// <summary>What a service manager sends.</summary>
    public void Terminate() => Send("TERM");

    /// <summary>What a terminal sends that is closed.</summary>
    public void HangUp() => Send("HUP");

    public async Task<int> ExitAsync()
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        await _process.WaitForExitAsync(patience.Token);
        return _process.ExitCode;
    }

    /// <summary>Waits until something holds, or fails with what the program wrote.</summary>
    public async Task UntilAsync(Func<bool> holds, string what)
    {
        var started = Stopwatch.GetTimestamp();
        while (!holds())
        {
            Assert.True(!_process.HasExited && Stopwatch.GetElapsedTime(started) < TimeSpan.FromMinutes(2),
                $"waited in vain for {what}:\n{Output}");
            await Task.Delay(1);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited) _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private void Send(string signal)
    {
        using var kill = Process.Start("sh", ["-c", $"kill -{signal} {_process.Id}"]); // not every system has kill as a program
        kill.WaitForExit();
    }

    private void Keep(object sender, DataReceivedEventArgs line)
    {
        lock (_output) _output.AppendLine(line.Data);
    }

    private void KeepStandardOutput(object sender, DataReceivedEventArgs line)
    {
        lock (_output) _standardOutput.AppendLine(line.Data);
    }
}

/// <summary>A tiny plan on disk.</summary>
internal static class TinyPlan
{
    public const string Adapter = "{method: r-lora-federated, rank: 4, alpha: 6}";

    public static string Write(
        TinyFederation tiny, int rounds, string clients, string more = "", string adapter = Adapter, string strategy = "",
        string name = "tiny")
    {
        var path = Path.Combine(tiny.Root, $"{name}.yaml");
        File.WriteAllText(path, $$"""
            name: {{name}}
            seed: 7
            model: model
            adapter: {{adapter}}
            training: {steps: 4, batchSize: 3, maxTokens: 20, learningRate: 1e-2, threads: 1, groupSize: 1}
            strategy: {rounds: {{rounds}}{{strategy}}}
            {{more}}
            clients:
            {{clients}}
            """);
        return path;
    }

    /// <summary>What is committed of a run in the store of silos, which is the folder cluster; null for nothing.</summary>
    public static CurrentRound? Committed(TinyFederation tiny, string run)
    {
        var file = Path.Combine(tiny.Root, "cluster", Keys.Current(run));
        return File.Exists(file) ? CurrentRound.Parse(File.ReadAllBytes(file), file) : null;
    }

    public static string Client(string id, string data, string site = "local", string? task = null) =>
        $"  - {{id: {id}, task: {task ?? data}, site: {site}, data: {{train: {data}.train.jsonl, test: {data}.test.jsonl}}}}";
}
