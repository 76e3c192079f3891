using System.Diagnostics;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

public sealed class LauncherTests
{
    [Theory]
    [InlineData("./fedrlora", "./fedrlora")]
    [InlineData("bash fedrlora", "./fedrlora")]
    [InlineData("cd src && ../fedrlora", "../fedrlora")]
    [InlineData("PATH=$PWD:$PATH fedrlora", "FOLDER/fedrlora")]
    [InlineData("$PWD/fedrlora", "FOLDER/fedrlora")]
    [InlineData("ln -s fedrlora fl && ./fl", "./fl")]
    public async Task The_launcher_hands_on_a_name_by_which_it_can_be_called_again(string call, string expected)
    {
        using var folder = new TemporaryFolder();
        foreach (var file in new[]
        {
            "Directory.Build.props", "Directory.Packages.props", "src/Client/bin/Release/net10.0/fedrlora.dll", "tools/dotnet",
        })
        {
            Directory.CreateDirectory(Path.GetDirectoryName(folder.File(file))!);
            await File.WriteAllTextAsync(folder.File(file), "#!/bin/sh\necho \"$FEDRLORA_STARTED_AS|$2\"\n");
        }

        File.Copy(Path.Combine(Repository.Root, "fedrlora"), folder.File("fedrlora"));
        File.SetUnixFileMode(folder.File("tools/dotnet"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        var start = new ProcessStartInfo("bash", ["-c", $"PATH=$PWD/tools:$PATH; {call} runs"])
        {
            WorkingDirectory = folder.Root, RedirectStandardOutput = true,
        };
        using var shell = Process.Start(start)!;

        var output = await shell.StandardOutput.ReadToEndAsync();

        Assert.Equal($"{expected.Replace("FOLDER", folder.Root, StringComparison.Ordinal)}|runs", output.Trim());
    }
}
