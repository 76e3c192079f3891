using System.Diagnostics;
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
    [InlineData("simulate")]
    [InlineData("sweep", "--seeds", "1,2")]
    [InlineData("silo", "--site", "north")]
    public async Task A_GPU_that_is_not_there_ends_a_command_before_it_does_anything(params string[] command)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-device").FullName;
        var plan = Path.Combine(Repository.Root, "samples", "demo.yaml");
        string[] place = command[0] == "silo" ? ["--store", folder] : [plan, "--out", Path.Combine(folder, "run")];
        var result = await CommandLine.RunAsync([.. command, "--device", "cuda:63", .. place]);

        Assert.Equal(3, result.Code);
        Assert.StartsWith("--device: cuda:63: libtorch ", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder));
        Directory.Delete(folder);
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
            // A program without a libtorch, and one as PyTorch's wheel has it.
            const string Native = "runtimes/linux-x64/native";
            var (program, lib) = (Path.Combine(root, "program"), Path.Combine(root, "torch", "lib"));
            Directory.CreateDirectory(Path.Combine(program, Native));
            Directory.CreateDirectory(lib);
            foreach (var file in Directory.EnumerateFiles(AppContext.BaseDirectory))
                File.Copy(file, Path.Combine(program, Path.GetFileName(file)));
            foreach (var file in Directory.EnumerateFiles(Path.Combine(AppContext.BaseDirectory, Native)))
            {
                var name = Path.GetFileName(file);
                if (name == "libLibTorchSharp.so") File.Copy(file, Path.Combine(program, Native, name));
                else if (name is "libtorch.so" or "libtorch_cpu.so" or "libc10.so" || name.StartsWith("libgomp", StringComparison.Ordinal))
                    File.Copy(file, Path.Combine(lib, name));
            }

            await File.WriteAllTextAsync(Path.Combine(root, "torch", "version.py"), "debug = False\n__version__ = '2.10.0+other'\n");
            var start = new ProcessStartInfo("dotnet", [Path.Combine(program, "fedrlora.dll"), "doctor"])
            {
                WorkingDirectory = root, RedirectStandardOutput = true, RedirectStandardError = true,
            };
            start.Environment[Libtorch.Variable] = Path.Combine(root, "torch");
            using var doctor = Process.Start(start)!;
            var (output, error) = (doctor.StandardOutput.ReadToEndAsync(), doctor.StandardError.ReadToEndAsync());
            await doctor.WaitForExitAsync();

            Assert.Equal((0, ""), (doctor.ExitCode, await error));
            Assert.Matches(@"libtorch +2\.10\.0\+other of the host \([0-9a-f]{12}\)", await output);
            Assert.Matches("known answers +all right", await output);
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Theory]
    [InlineData("methods")]
    [InlineData("doctor")]
    public async Task A_program_that_came_with_a_libtorch_refuses_another(string command)
    {
        await using var program = RunningProgram.StartWith((Libtorch.Variable, Path.GetTempPath()), Path.GetTempPath(), command);

        Assert.Equal(3, await program.ExitAsync());
        Assert.StartsWith($"{Libtorch.Variable}: {Path.GetTempPath()}: this program came with a libtorch of its own", program.Output.Trim(),
            StringComparison.Ordinal);
        Assert.DoesNotContain('\n', program.Output.Trim());
    }
}
