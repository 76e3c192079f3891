using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>A plan's faults, by the program and the real trainer.</summary>
public sealed class FaultTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Simulate_refuses_the_update_of_a_planned_fault_by_name_and_goes_on()
    {
        var plan = _tiny.WritePlan(strategy: "rounds: 2, quorum: 0.5");
        await File.AppendAllTextAsync(plan, "faults: [{kind: nan, clients: [two], rounds: {from: 2}}]\n");

        var result = await CommandLine.RunAsync("simulate", plan, "--out", Path.Combine(_tiny.Root, "run"));

        Assert.Equal(0, result.Code);
        var rounds = result.Output.Split('\n').Where(static line => line.StartsWith("round ", StringComparison.Ordinal)).ToList();
        Assert.DoesNotContain("refused:", rounds[1], StringComparison.Ordinal);
        Assert.Matches(@"refused: two \(\S+ holds NaN at element 0\.\)", rounds[2]);
    }
}
