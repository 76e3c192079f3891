using System.Text.Json;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Points of steps of a run in this process, and of what is said of them before it.</summary>
public sealed class StepPointsTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task A_run_keeps_the_points_that_its_plan_asks_for_and_verify_knows_them()
    {
        var (plan, run) = (WritePlan("{stepEvery: 2, steps: hub}"), Path.Combine(_tiny.Root, "run"));
        var valid = await CommandLine.RunAsync("validate", plan);
        var refused = await CommandLine.RunAsync("simulate", plan, "--out", run, "--no-local-only", "--may-send", "job");
        var done = await CommandLine.RunAsync("simulate", plan, "--out", run, "--no-local-only");
        var verified = await CommandLine.RunAsync("verify", run);

        Assert.Contains("points of steps (telemetry.steps: hub)", string.Join(' ', valid.Output.Split()), StringComparison.Ordinal);
        Assert.Equal((2, 0, 0), (refused.Code, done.Code, verified.Code));
        Assert.Contains("which would send points of its clients' steps", Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
        Assert.DoesNotContain("not named", verified.Output, StringComparison.Ordinal);
        var store = Path.Combine(run, "store");
        var own = await File.ReadAllLinesAsync(Path.Combine(store, "sites/local/jobs/tiny/clients/one/steps/2.jsonl"));
        Assert.Equal(own, await File.ReadAllLinesAsync(Path.Combine(store, "jobs/tiny/steps/one/2.jsonl")));
        var points = own.Select(static line => JsonDocument.Parse(line).RootElement).ToList();
        Assert.Equal([6, 8], points[..^1].Select(static point => point.GetProperty("step").GetInt32()));
        Assert.All(points[..^1], static point => Assert.True(point.GetProperty("gradientNorm").GetDouble() > 0));
        Assert.True(points[^1].TryGetProperty("sha256", out _));
    }

    private string WritePlan(string telemetry)
    {
        var plan = _tiny.WritePlan();
        File.AppendAllText(plan, $"telemetry: {telemetry}\n");
        return plan;
    }
}
