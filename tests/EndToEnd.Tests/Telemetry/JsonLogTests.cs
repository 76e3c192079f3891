using System.Text.Json;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Telemetry;

public sealed class JsonLogTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Every_line_of_a_silos_log_is_one_object_that_says_what_it_is_about()
    {
        var (ports, token) = (FreePorts.Take(1), Path.Combine(_tiny.Root, "token"));
        var (port, gateway) = SiloPorts.Free();
        await using var silo = RunningProgram.Start(_tiny.Root, "silo", "--site", "*", "--port", $"{port}", "--gateway", $"{gateway}",
            "--store", "store", "--control", $"{ports[0]}", "--control-token", token, "--log-format", "json", "--may-send", "job");
        await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "the silo");
        await Submitting.SubmitAsync(ports[0], token, _tiny.WritePlan());
        await silo.UntilAsync(() => silo.Output.Contains("Job tiny finished", StringComparison.Ordinal), "the end of the run");
        silo.Terminate();
        await silo.ExitAsync();

        var other = silo.StandardOutput.Split(Environment.NewLine).ToHashSet();
        var lines = silo.Output.Split(Environment.NewLine).Where(line => line.Length > 0 && !other.Contains(line)).ToArray();
        var read = lines.Select(static line => JsonDocument.Parse(line).RootElement).ToArray();
        Assert.All(read, static line => Assert.Equal(1, line.GetProperty("schema").GetInt32()));
        Assert.Contains(read, static line => line.GetProperty("message").GetString()!.Contains("--may-send", StringComparison.Ordinal)
            && line.GetProperty("level").GetString() == "warning");
        var work = Assert.Single(read, static line => line.GetProperty("event").GetInt32() == 301
            && line.GetProperty("phase").GetString() == "Train" && line.GetProperty("round").GetInt32() == 2
            && line.GetProperty("client").GetString() == "one");
        Assert.Equal(("tiny", "local"), (work.GetProperty("run").GetString(), work.GetProperty("site").GetString()));
    }
}
