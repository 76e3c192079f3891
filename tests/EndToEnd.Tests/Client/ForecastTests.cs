using System.Text.Json;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Client;

/// <summary>What <c>validate --forecast</c> says, and of which plans it says nothing.</summary>
public sealed class ForecastTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task A_plan_s_time_follows_its_work()
    {
        var plan = _tiny.WritePlan(strategy: "rounds: 2");
        var (one, ten, half) = (await SecondsAsync(plan), await SecondsAsync(plan, "strategy.rounds=20"), await SecondsAsync(plan,
            "strategy.selection={rule: uniform, fraction: 0.5}"));
        var text = await CommandLine.RunAsync("validate", plan, "--forecast");

        // A machine is measured anew for each.
        Assert.InRange(ten.Training / one.Training * (ten.Gflops / one.Gflops), 9.99, 10.01);
        Assert.InRange(half.Training / one.Training * (half.Gflops / one.Gflops), 0.499, 0.501);
        Assert.True(one.Scoring > 0);
        Assert.Contains("Forecast, within a factor of two: 0 s on this machine (", text.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("clients[0].data.train=nowhere.jsonl", "nowhere.jsonl")]
    [InlineData("clients[0].data.test=nowhere.jsonl", "nowhere.jsonl")]
    [InlineData("model=nowhere", "nowhere")]
    public async Task What_is_missing_is_told_in_a_line(string set, string said)
    {
        var refused = await CommandLine.RunAsync("validate", _tiny.WritePlan(strategy: "rounds: 2"), "--forecast", "--set", set);

        Assert.Equal(2, refused.Code);
        Assert.Contains(said, Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_rate_that_is_high_for_a_model_s_size_is_noted_for_large_models_alone()
    {
        var note = await CommandLine.RunAsync("validate", _tiny.WritePlan(strategy: "rounds: 2"), "--set", "training.learningRate=0.1");

        Assert.DoesNotContain("is high for", note.Output, StringComparison.Ordinal);
    }

    private static async Task<(double Training, double Scoring, double Gflops)> SecondsAsync(string plan, params string[] sets)
    {
        var result = await CommandLine.RunAsync(["validate", plan, "--forecast", "--json",
            .. sets.SelectMany(static set => (string[])["--set", set])]);
        Assert.True(result.Code == 0, result.Error);
        var forecast = JsonDocument.Parse(result.Output).RootElement.GetProperty("forecast");
        return (forecast.GetProperty("trainingSeconds").GetDouble(), forecast.GetProperty("scoringSeconds").GetDouble(),
            forecast.GetProperty("gflops").GetDouble());
    }
}
