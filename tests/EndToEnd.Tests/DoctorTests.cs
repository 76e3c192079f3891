using System.Text.Json;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Devices;

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
        Assert.Equal(Environment.ProcessorCount, found.GetProperty("engine").GetProperty("lanes").GetInt32());
        Assert.Equal(1, found.GetProperty("engine").GetProperty("laneThreads").GetInt32());
        Assert.True(found.GetProperty("engine").GetProperty("gflopsAllLanes").GetDouble() > 0);
        Assert.Contains("cpu",
            found.GetProperty("engine").GetProperty("devices").EnumerateArray().Select(static device => device.GetString()));
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

    [Theory]
    [InlineData("FEDRLORA_SPIN", "brief", "brief: spin 1,000 turns, then sleep; FEDRLORA_SPIN is set")]
    [InlineData("FEDRLORA_SPIN", "long", "long: spin 10,000 turns, then sleep; FEDRLORA_SPIN is set")]
    [InlineData("OMP_WAIT_POLICY", "PASSIVE", "as OpenMP has it; OMP_WAIT_POLICY is set")]
    public async Task How_threads_wait_is_said_with_its_reason(string variable, string value, string expected)
    {
        await using var program = RunningProgram.StartWith((variable, value), Path.GetTempPath(), "doctor");

        Assert.True(await program.ExitAsync() == 0, program.Output);
        Assert.Contains(expected, program.Output, StringComparison.Ordinal);
        Assert.Contains($"{Environment.ProcessorCount} on the CPU, with 1 thread each", program.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_way_to_wait_that_is_none_is_refused()
    {
        await using var program = RunningProgram.StartWith(("FEDRLORA_SPIN", "never"), Path.GetTempPath(), "methods");

        Assert.Equal(2, await program.ExitAsync());
        Assert.Equal("FEDRLORA_SPIN: 'never' is neither brief nor long; give one of them, or unset it.", program.Output.Trim());
    }

    [Fact]
    public async Task A_libtorch_of_the_host_is_used_tried_and_named_by_its_version_and_digest()
    {
        var root = Directory.CreateTempSubdirectory("fedrlora-libtorch").FullName;
        try
        {
            // As PyTorch's wheel has it.
            Directory.CreateDirectory(Path.Combine(root, "lib"));
            foreach (var file in Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, "runtimes/linux-x64/native")))
            {
                var name = Path.GetFileName(file);
                if (name.StartsWith("libtorch.", StringComparison.Ordinal) || name.StartsWith("libtorch_cpu", StringComparison.Ordinal)
                    || name.StartsWith("libc10", StringComparison.Ordinal) || name.StartsWith("libgomp", StringComparison.Ordinal))
                    File.Copy(file, Path.Combine(root, "lib", name));
            }

            await File.WriteAllTextAsync(Path.Combine(root, "version.py"), "debug = False\n__version__ = '2.10.0+other'\n");
            await using var program = RunningProgram.StartWith((Libtorch.Variable, root), Path.GetTempPath(), "doctor");

            Assert.True(await program.ExitAsync() == 0, program.Output);
            Assert.Matches(@"libtorch +2\.10\.0\+other of the host \([0-9a-f]{12}\)", program.Output);
            Assert.Matches("known answers +all right", program.Output);
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Theory]
    [InlineData("methods")]
    [InlineData("doctor")]
    public async Task A_folder_without_a_libtorch_is_refused_before_another_is_used(string command)
    {
        await using var program = RunningProgram.StartWith((Libtorch.Variable, Path.GetTempPath()), Path.GetTempPath(), command);

        Assert.Equal(3, await program.ExitAsync());
        Assert.StartsWith($"{Libtorch.Variable}: {Path.GetTempPath()}: holds no libtorch.so", program.Output.Trim(), StringComparison.Ordinal);
        Assert.DoesNotContain('\n', program.Output.Trim());
    }
}
