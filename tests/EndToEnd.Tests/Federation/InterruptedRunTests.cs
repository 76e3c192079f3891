using System.Diagnostics;
using System.Text.Json;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Ctrl-C while threads are in native code.</summary>
public sealed class InterruptedRunTests : IDisposable
{
    private const int Interruptions = 4;
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Ctrl_C_in_mid_round_ends_with_130_and_writes_what_was_seen()
    {
        var plan = TinyPlan.Write(_tiny, 5000, TinyPlan.Client("only", "one"));
        for (var i = 0; i < Interruptions; i++)
        {
            var folder = Path.Combine(_tiny.Root, $"run-{i}");
            await using var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--out", folder);
            await program.UntilAsync(() => program.Output.Contains($"round {2 + i}/", StringComparison.Ordinal)
                || program.Output.Contains($"   {2 + i}/", StringComparison.Ordinal), "some rounds");
            program.Interrupt();

            Assert.True(await program.ExitAsync() == 130, program.Output);
            Assert.Contains("Continue with: fedrlora resume", program.Output, StringComparison.Ordinal);
            Assert.True(File.ReadLines(Path.Combine(folder, "metrics.jsonl")).Count() > 2);
            Assert.True(File.Exists(Path.Combine(folder, "report.html")));
        }
    }

    [Fact]
    public async Task Ctrl_C_twice_leaves_at_once_with_130()
    {
        var plan = TinyPlan.Write(_tiny, 5000, TinyPlan.Client("only", "one"));
        await using var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--out", "run");
        await program.UntilAsync(() => program.Output.Contains("   2/5000", StringComparison.Ordinal), "round 2");
        program.Interrupt();
        program.Interrupt();

        Assert.True(await program.ExitAsync() == 130, program.Output);
    }

    [Fact]
    public async Task A_run_in_the_background_of_a_script_goes_on_at_Ctrl_C_and_ends_by_SIGTERM()
    {
        var plan = TinyPlan.Write(_tiny, 5000, TinyPlan.Client("only", "one"));
        await using var program = RunningProgram.StartInBackground(_tiny.Root, "simulate", plan, "--out", "run");
        await program.UntilAsync(() => program.Output.Contains("   2/5000", StringComparison.Ordinal), "round 2");
        program.Interrupt();
        await program.UntilAsync(() => program.Output.Contains("  50/5000", StringComparison.Ordinal), "round 50");
        Assert.DoesNotContain("Stopping", program.Output, StringComparison.Ordinal);

        program.Terminate();

        Assert.True(await program.ExitAsync() == 130, program.Output);
        Assert.Contains("Continue with: fedrlora resume", program.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Who_terminates_or_hangs_up_waits_for_no_step_and_can_resume(bool hangsUp)
    {
        var plan = TinyPlan.Write(_tiny, 3, TinyPlan.Client("only", "one"));
        File.WriteAllText(plan,
            File.ReadAllText(plan).Replace("steps: 4, batchSize: 3", "steps: 100000, batchSize: 2000", StringComparison.Ordinal));
        await using var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--out", "run");
        await program.UntilAsync(() => program.Output.Contains("round 0/3", StringComparison.Ordinal), "round 0");

        var began = Stopwatch.GetTimestamp();
        if (hangsUp) program.HangUp();
        else program.Terminate();

        Assert.True(await program.ExitAsync() == 130, program.Output);
        Assert.InRange(Stopwatch.GetElapsedTime(began), TimeSpan.Zero, TimeSpan.FromSeconds(30)); // 2, and what a machine at its limit adds
        Assert.EndsWith("Stopped; what is committed is kept. Continue with: fedrlora resume run", program.Output.TrimEnd(),
            StringComparison.Ordinal);
        await RunningProgram.RunAsync(_tiny.Root, "verify", "run");
    }

    [Fact]
    public async Task A_run_that_is_terminated_before_its_first_round_says_nothing_but_how_it_goes_on()
    {
        var plan = TinyPlan.Write(_tiny, 3, TinyPlan.Client("only", "one"));
        await using var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--out", "run");
        await program.UntilAsync(() => program.Output.Contains("seed 7, in run", StringComparison.Ordinal), "the silo's start");
        program.Terminate();

        Assert.True(await program.ExitAsync() == 130, program.Output);
        var lines = program.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.DoesNotContain(lines, static line => line.StartsWith("fail:", StringComparison.Ordinal));
        // nothing is left, or the way on is named
        Assert.True(lines[^1] is "Interrupted." != Directory.Exists(Path.Combine(_tiny.Root, "run")), program.Output);
        if (lines[^1] != "Interrupted.") await RunningProgram.RunAsync(_tiny.Root, "resume", "run");
    }

    [Fact]
    public async Task Json_for_programs_is_all_that_goes_to_standard_output()
    {
        var plan = TinyPlan.Write(_tiny, 3, TinyPlan.Client("only", "one"));
        await using var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--out", "run", "--json");

        Assert.True(await program.ExitAsync() == 0, program.Output);
        var lines = program.StandardOutput.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(5, lines.Length); // rounds 0 to 3 and the final table
        Assert.All(lines, static line => JsonDocument.Parse(line).Dispose());
    }
}
