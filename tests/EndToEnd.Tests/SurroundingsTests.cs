using System.Text.RegularExpressions;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>
/// What lies around the program and is not for it: files of the working directory, variables of other programs, the machine's habits.
/// </summary>
public sealed class SurroundingsTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task A_run_is_the_same_whatever_lies_around_it()
    {
        var plan = _tiny.WritePlan();
        var expected = await RunningProgram.RunAsync(_tiny.Root, "simulate", plan, "--out", "alone");
        File.WriteAllText(Path.Combine(_tiny.Root, "appsettings.json"), """
            { "Logging": { "LogLevel": { "Default": "Trace" } }, "Orleans": { "ClusterId": "other" },
            "OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere" }
            """);

        await using var program = RunningProgram.StartWith(
            [
                ("DOTNET_ENVIRONMENT", "Development"), ("ASPNETCORE_URLS", "http://127.0.0.1:1"), ("Logging__LogLevel__Default", "Trace"),
                ("Orleans__ClusterId", "other"), ("LC_ALL", "tr_TR.UTF-8"), ("TZ", "Asia/Kathmandu"), ("COLUMNS", "20"), ("TERM", "dumb"),
                ("HOME", "/proc"), ("XDG_CACHE_HOME", "/proc/cache"), ("TMPDIR", Path.Combine(_tiny.Root, "missing")),
            ],
            _tiny.Root, "simulate", plan, "--out", "among");

        Assert.True(await program.ExitAsync() == 0, program.Output);
        Assert.Equal(Bare(expected, "alone"), Bare(program.Output, "among"));
    }

    [Fact]
    public async Task How_threads_wait_for_each_other_changes_no_bit()
    {
        var plan = _tiny.WritePlan();
        File.WriteAllText(plan, File.ReadAllText(plan).Replace("threads: 1", "threads: 2", StringComparison.Ordinal));
        async Task<string> DigestAsync(string spin)
        {
            await using var program = RunningProgram.StartWith(("FEDRLORA_SPIN", spin), _tiny.Root, "simulate", plan, "--out", spin);
            Assert.True(await program.ExitAsync() == 0, program.Output);
            return Regex.Match(program.Output, "digest: .+").Value;
        }

        var digest = await DigestAsync("brief");

        Assert.NotEmpty(digest);
        Assert.Equal(digest, await DigestAsync("long"));
    }

    // Without the folder's name, what a clock measured, and how far a round is that takes long.
    private static string Bare(string output, string folder) => Regex.Replace(
        output.Replace(folder, "run", StringComparison.Ordinal), @"  \d+\.\d s|^\d{4}-\d\d-\d\dT\S+Z round .*\n", "",
        RegexOptions.Multiline);
}
