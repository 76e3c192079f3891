using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Commands in hints are spelt as the program was called, so that they run as they are printed.</summary>
public sealed class LauncherTests
{
    [Theory]
    [InlineData("./fedrlora", "./fedrlora")]
    [InlineData("bash fedrlora", "./fedrlora")]
    [InlineData("PATH=$PWD:$PATH fedrlora", "fedrlora")]
    [InlineData("cd src && ../fedrlora", "../fedrlora")]
    [InlineData("$PWD/fedrlora", "FOLDER/fedrlora")]
    [InlineData("ln -s fedrlora fl && ./fl", "./fl")]
    public async Task The_launcher_tells_the_program_how_it_was_called(string call, string expected)
    {
        using var folder = new TemporaryFolder();
        foreach (var file in new[] { "Directory.Build.props", "Directory.Packages.props", "src/Client/bin/Release/net10.0/fedrlora.dll", "tools/dotnet" })
        {
            Directory.CreateDirectory(Path.GetDirectoryName(folder.File(file))!);
            await File.WriteAllTextAsync(folder.File(file), "#!/bin/sh\necho \"$FEDRLORA_LAUNCHER|$2\"\n");
        }

        File.Copy(Path.Combine(SampleTests.Root(), "fedrlora"), folder.File("fedrlora"));
        File.SetUnixFileMode(folder.File("tools/dotnet"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        using var shell = Process.Start(new ProcessStartInfo("bash", ["-c", $"PATH=$PWD/tools:$PATH; {call} runs"]) { WorkingDirectory = folder.Root, RedirectStandardOutput = true })!;

        Assert.Equal($"{expected.Replace("FOLDER", folder.Root, StringComparison.Ordinal)}|runs", (await shell.StandardOutput.ReadToEndAsync()).Trim());
    }

    [Theory]
    [InlineData("./fedrlora", "start one with ./fedrlora silo,")]
    [InlineData("/my tools/fedrlora", "start one with '/my tools/fedrlora' silo,")]
    [InlineData("", "start one with fedrlora silo,")]
    public async Task Hints_are_spelt_as_the_program_was_called(string called, string expected)
    {
        using var tiny = new TinyFederation();
        await using var runs = RunningProgram.StartWith((Launcher.Variable, called), tiny.Root, "runs", "--gateway", $"{SiloPorts.Free().Gateway}");
        await using var typo = RunningProgram.StartWith((Launcher.Variable, called), tiny.Root, "rums");

        Assert.Equal((3, 2), (await runs.ExitAsync(), await typo.ExitAsync()));
        Assert.Contains(expected, runs.Output, StringComparison.Ordinal);
        Assert.Contains($"see {expected["start one with ".Length..^" silo,".Length]} --help", typo.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Words_are_quoted_where_a_shell_would_cut_them() =>
        Assert.Equal(@"fedrlora resume 'runs/my run' 'it'\''s' plain-1", Launcher.Hint("resume", "runs/my run", "it's", "plain-1"));
}
