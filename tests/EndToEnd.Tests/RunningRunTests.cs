using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Commands that read a run while its rounds are being committed.</summary>
public sealed class RunningRunTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task A_reader_of_a_run_that_goes_on_takes_one_round_whole()
    {
        var run = Path.Combine(_tiny.Root, "run");
        await using var program = RunningProgram.Start(_tiny.Root, "simulate", _tiny.WritePlan(strategy: "rounds: 100000"), "--out", run);
        await program.UntilAsync(() => program.Output.Contains("round      3/", StringComparison.Ordinal), "three rounds");

        for (var time = 0; time < 8; time++)
        {
            var scored = await CommandLine.RunAsync("eval", "--run", run);
            Assert.Equal((0, ""), (scored.Code, scored.Error));
            var exported = await CommandLine.RunAsync("export", run, "--out", Path.Combine(_tiny.Root, $"adapters-{time}"));
            Assert.Equal((0, ""), (exported.Code, exported.Error));
            var verified = await CommandLine.RunAsync("verify", run);
            Assert.Equal((0, ""), (verified.Code, verified.Error));
        }

        Assert.False(program.HasExited);
    }

    [Theory]
    [InlineData("gc")]
    [InlineData("repair")]
    [InlineData("resume")]
    [InlineData("extend", "--rounds", "100000")]
    public async Task What_changes_a_run_says_that_it_goes_on(string command, params string[] options)
    {
        var run = Path.Combine(_tiny.Root, "run");
        await using var program = RunningProgram.Start(_tiny.Root, "simulate", _tiny.WritePlan(strategy: "rounds: 100000"), "--out", run);
        await program.UntilAsync(() => program.Output.Contains("round      3/", StringComparison.Ordinal), "three rounds");

        var result = await CommandLine.RunAsync([command, run, .. options]);

        Assert.Equal((2, $"{run} is in use by another process"), (result.Code, result.Error.Trim()));
        Assert.False(program.HasExited);
    }
}
