using System.Text.Json;

namespace FedRLora.EndToEnd.Tests;

public class DoctorTests
{
    [Fact]
    public async Task A_usable_machine_is_described()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-doctor").FullName;
        var result = await CommandLine.RunAsync("doctor", "--json", "--out", Path.Combine(folder, "runs"));

        Assert.Equal((0, ""), (result.Code, result.Error));
        var found = JsonDocument.Parse(result.Output).RootElement;
        Assert.Equal("10.4.2", found.GetProperty("orleans").GetString());
        Assert.Equal("0.107.0", found.GetProperty("engine").GetProperty("torchSharp").GetString());
        Assert.True(found.GetProperty("engine").GetProperty("gflopsOneThread").GetDouble() > 0);
        Assert.Contains("cpu", found.GetProperty("engine").GetProperty("devices").EnumerateArray().Select(static device => device.GetString()));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder));
        Directory.Delete(folder);
    }

    [Fact]
    public async Task A_folder_that_cannot_be_written_is_a_problem_of_the_machine()
    {
        var result = await CommandLine.RunAsync("doctor", "--out", "/proc/runs");

        Assert.Equal(3, result.Code);
        Assert.StartsWith("/proc/runs: cannot be written", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.Contains("libtorch", result.Output, StringComparison.Ordinal);
    }
}
