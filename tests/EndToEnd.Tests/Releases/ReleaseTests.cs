using System.Diagnostics;
using System.Text.RegularExpressions;
using FedRLora.ControlPlane.Report;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Releases;

public sealed partial class ReleaseTests
{
    private static string NewestVersion => Heading().Match(Repository.Read("CHANGELOG.md")).Groups[1].Value;

    [Fact]
    public void The_version_is_that_of_the_newest_heading_of_the_changelog_and_said_nowhere_else()
    {
        Assert.NotEmpty(NewestVersion);
        Assert.Equal(NewestVersion, ReportFacts.VersionOf(typeof(FedRLora.Client.Program)));
        Assert.All(
            Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.csproj", SearchOption.AllDirectories)
                .Append(Path.Combine(Repository.Root, "Directory.Build.props")),
            static file => Assert.DoesNotMatch("<Version>[0-9]", File.ReadAllText(file)));
    }

    [Theory]
    [InlineData("cpu", "fedrlora-VERSION-linux-x64")]
    [InlineData("none", "fedrlora-VERSION-linux-x64-no-libtorch")]
    public async Task An_archive_has_the_version_in_its_name(string libtorch, string expected)
    {
        var (code, output, _) = await ShellAsync(Repository.Root, $"LIBTORCH={libtorch} eng/release.sh name");

        Assert.Equal((0, expected.Replace("VERSION", NewestVersion, StringComparison.Ordinal)), (code, output.Trim()));
    }

    [Fact]
    public async Task Another_libtorch_is_refused_before_anything_is_built()
    {
        var (code, _, error) = await ShellAsync(Repository.Root, "LIBTORCH='cpu cuda' eng/release.sh");

        Assert.Equal((2, "LIBTORCH=cuda: expected cpu or none"), (code, error.Trim()));
    }

    [Fact]
    public async Task An_image_without_a_base_is_refused()
    {
        using var folder = new TemporaryFolder();
        foreach (var file in new[] { "eng/image.sh", "eng/release.sh", "CHANGELOG.md" })
        {
            Directory.CreateDirectory(Path.GetDirectoryName(folder.File(file))!);
            File.Copy(Path.Combine(Repository.Root, file), folder.File(file));
        }

        var made = $"fedrlora-{NewestVersion}-linux-x64";
        var (code, _, error) = await ShellAsync(folder.Root,
            $"mkdir -p {made}/lib {made}/samples artifacts/release && touch {made}/lib/fedrlora {made}/samples/rows && "
            + $"tar -czf artifacts/release/{made}.tar.gz {made} && env -u BASE eng/image.sh");

        Assert.Equal(2, code);
        Assert.StartsWith("BASE=IMAGE is required", error, StringComparison.Ordinal);
        Assert.True(File.Exists(folder.File("artifacts/image/context/fedrlora/lib/fedrlora")));
        Assert.False(Path.Exists(folder.File("artifacts/image/context/fedrlora/samples")));
    }

    [Fact]
    public async Task Every_script_is_one_that_its_shell_can_read()
    {
        var scripts = Directory.GetFiles(Path.Combine(Repository.Root, "eng"), "*.sh");

        Assert.True(scripts.Length >= 6, "the scripts are not found");
        foreach (var script in scripts)
        {
            var shell = File.ReadLines(script).First() == "#!/bin/sh" ? "sh" : "bash";
            Assert.Equal((0, "", ""), await ShellAsync(Repository.Root, $"{shell} -n '{script}'"));
        }
    }

    [Theory]
    [InlineData("./fedrlora", "./fedrlora")]
    [InlineData("sh fedrlora", "./fedrlora")]
    [InlineData("PATH=$PWD:$PATH fedrlora", "FOLDER/fedrlora")]
    [InlineData("mkdir bin && ln -s ../fedrlora bin/fl && cd lib && ../bin/fl", "../bin/fl")]
    public async Task The_program_of_an_archive_is_found_from_everywhere(string call, string expected)
    {
        using var folder = Unpacked();

        var (code, output, _) = await ShellAsync(folder.Root, $"{call} runs 'a b'");

        Assert.Equal((0, $"{expected.Replace("FOLDER", folder.Root, StringComparison.Ordinal)}|2|a b"), (code, output.Trim()));
    }

    [Theory]
    [InlineData("libc.so.6", 3)]
    [InlineData("libssl.so.3", 0)]
    [InlineData("", 0)]
    public async Task A_system_without_libssl_is_told_so_in_a_line(string libraries, int expected)
    {
        using var folder = Unpacked();
        Directory.CreateDirectory(folder.File("tools"));
        await File.WriteAllTextAsync(folder.File("tools/ldconfig"), $"#!/bin/sh\necho '{libraries}'\n");

        var (code, _, error) = await ShellAsync(folder.Root,
            "chmod +x tools/ldconfig && unset LD_LIBRARY_PATH; PATH=$PWD/tools:$PATH ./fedrlora runs");

        Assert.Equal(expected, code);
        Assert.Equal(expected == 0 ? 0 : 1, error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
    }

    [Fact]
    public void Both_ways_to_an_image_give_it_the_same_user_and_environment_and_no_base_of_their_own()
    {
        var file = Repository.Read("deploy", "image", "Containerfile");
        var project = Repository.Read("eng", "Container.targets");

        Assert.Equal(["${BASE}"], From().Matches(file).Select(static line => line.Groups[1].Value));
        Assert.DoesNotContain("ContainerBaseImage", project, StringComparison.Ordinal);
        Assert.Contains("\nUSER 1654:1654\n", file, StringComparison.Ordinal);
        Assert.Contains("<ContainerUser>1654:1654</ContainerUser>", project, StringComparison.Ordinal);
        Assert.Equal(
            Variables().Match(file).Groups[1].Value.Split(' '),
            Variable().Matches(project).Select(static variable => $"{variable.Groups[1]}={variable.Groups[2]}"));
        var program = EntryPoint().Match(file).Groups[1].Value;
        Assert.NotEmpty(program);
        Assert.Contains($"<ContainerWorkingDirectory>{program}</ContainerWorkingDirectory>", project, StringComparison.Ordinal);
    }

    private static TemporaryFolder Unpacked()
    {
        var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.File("lib"));
        File.WriteAllText(folder.File("lib/fedrlora"), "#!/bin/sh\necho \"$FEDRLORA_STARTED_AS|$#|$2\"\n");
        File.Copy(Path.Combine(Repository.Root, "eng", "release-launcher.sh"), folder.File("fedrlora"));
        const UnixFileMode Executable = UnixFileMode.UserRead | UnixFileMode.UserExecute;
        File.SetUnixFileMode(folder.File("lib/fedrlora"), Executable);
        File.SetUnixFileMode(folder.File("fedrlora"), Executable);
        return folder;
    }

    private static async Task<(int Code, string Output, string Error)> ShellAsync(string folder, string command)
    {
        using var shell = Process.Start(new ProcessStartInfo("bash", ["-c", command])
        {
            WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        var error = shell.StandardError.ReadToEndAsync();
        var output = await shell.StandardOutput.ReadToEndAsync();
        await shell.WaitForExitAsync();
        return (shell.ExitCode, output, await error);
    }

    [GeneratedRegex(@"^## \[([0-9][^\]]*)\]", RegexOptions.Multiline)]
    private static partial Regex Heading();

    [GeneratedRegex("^FROM (.+)$", RegexOptions.Multiline)]
    private static partial Regex From();

    [GeneratedRegex("^ENV (.+)$", RegexOptions.Multiline)]
    private static partial Regex Variables();

    [GeneratedRegex("^ENTRYPOINT \\[\"(.+)/fedrlora\"\\]$", RegexOptions.Multiline)]
    private static partial Regex EntryPoint();

    [GeneratedRegex("<ContainerEnvironmentVariable Include=\"([^\"]+)\" Value=\"([^\"]*)\"")]
    private static partial Regex Variable();
}
