using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Variables by which the libraries behind libtorch take other kernels.</summary>
public sealed class EngineTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task A_variable_that_changes_bits_is_another_engine()
    {
        await RunningProgram.RunAsync(_tiny.Root, "simulate", _tiny.WritePlan(), "--out", "run");

        await using var program = RunningProgram.StartWith(("MKL_CBWR", "COMPATIBLE"), _tiny.Root, "extend", "run", "--rounds", "3");

        Assert.Equal(2, await program.ExitAsync());
        Assert.Contains("MKL_CBWR=COMPATIBLE", program.Output, StringComparison.Ordinal);
    }
}
