using System.Diagnostics;
using System.Text;
using System.Text.Json;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Standard output as a shell hands it over: of any locale, full, or closed.</summary>
public sealed class OutputTests : IDisposable
{
    private const string Named = "größe-Łódź-词";

    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Run => Path.Combine(_tiny.Root, "run");

    [Theory]
    [InlineData("de_DE.ISO-8859-1", "--json")]
    [InlineData("de_DE.ISO-8859-1", "")]
    [InlineData("ja_JP.eucJP", "")]
    [InlineData("C", "--json")]
    public async Task What_programs_read_is_utf_8_in_every_locale(string locale, string option)
    {
        WritePlan();

        var (code, error) = await ShellAsync($"LC_ALL={locale} $fedrlora simulate plan.yaml --out run {option} > out");

        Assert.Equal((0, ""), (code, error));
        var lines = Strict.GetString(await File.ReadAllBytesAsync(Path.Combine(_tiny.Root, "out"))).TrimEnd().Split('\n');
        Assert.Contains(lines, static line => line.Contains(Named, StringComparison.Ordinal));
        if (option.Length == 0) return;
        Assert.Contains(lines, static line => JsonDocument.Parse(line).RootElement.TryGetProperty("final", out _));
    }

    [Fact]
    public async Task What_goes_wrong_is_written_in_utf_8_in_every_locale()
    {
        var (code, error) = await ShellAsync($"LC_ALL=de_DE.ISO-8859-1 $fedrlora validate {Named}.yaml");

        Assert.Equal((2, $"{Named}.yaml: no such file.\n"), (code, error));
    }

    [TerminalFact]
    public async Task A_terminal_of_another_charset_shows_what_it_lacks_as_escapes()
    {
        var named = Named + "😀"; // of two code units
        await ShellAsync($"LC_ALL=de_DE.ISO-8859-1 script -qec \"$fedrlora validate {named}.yaml\" out < /dev/null > /dev/null");

        var shown = Encoding.Latin1.GetString(await File.ReadAllBytesAsync(Path.Combine(_tiny.Root, "out")));
        Assert.Contains(@"größe-\u0141ód\u017A-\u8BCD\U0001F600.yaml: no such file.", shown, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("> /dev/full", "No space left on device")]
    [InlineData(">&-", "it is closed")]
    public async Task A_run_whose_output_cannot_be_written_is_finished_and_says_so_once(string output, string reason)
    {
        WritePlan();

        var (code, error) = await ShellAsync($"$fedrlora simulate plan.yaml --out run {output}");

        Assert.Equal((3, $"standard output cannot be written: {reason}; the command goes on without it\n"), (code, error));
        Assert.True(File.Exists(Path.Combine(Run, "report.html")));
        Assert.Equal(["one", "two"], Directory.GetDirectories(Path.Combine(Run, "adapters"))
            .Select(static folder => Path.GetFileName(folder)).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("eval --model model --data one.test.jsonl --json")]
    [InlineData("generate --model model --prompt one")]
    [InlineData("methods")]
    [InlineData("validate plan.yaml --json")]
    [InlineData("--help")]
    public async Task Output_that_cannot_be_written_is_no_success_of_any_command(string command)
    {
        WritePlan();

        foreach (var output in new[] { "> /dev/full", ">&-" })
        {
            var (code, error) = await ShellAsync($"$fedrlora {command} {output}");
            Assert.Equal((3, true), (code, error.StartsWith("standard output cannot be written: ", StringComparison.Ordinal)));
            Assert.Single(error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        }
    }

    private void WritePlan()
    {
        var path = _tiny.WritePlan();
        File.WriteAllText(path, File.ReadAllText(path).Replace("task: one", $"task: {Named}", StringComparison.Ordinal));
    }

    private async Task<(int Code, string Error)> ShellAsync(string command)
    {
        var program = $"dotnet '{Path.Combine(AppContext.BaseDirectory, "fedrlora.dll")}'";
        var start = new ProcessStartInfo("sh", ["-c", command.Replace("$fedrlora", program, StringComparison.Ordinal)])
        {
            WorkingDirectory = _tiny.Root, RedirectStandardError = true, StandardErrorEncoding = Strict,
        };
        using var shell = Process.Start(start) ?? throw new InvalidOperationException("sh did not start");
        var error = await shell.StandardError.ReadToEndAsync();
        await shell.WaitForExitAsync();
        return (shell.ExitCode, error);
    }
}

/// <summary>A test that needs a terminal.</summary>
internal sealed class TerminalFactAttribute : FactAttribute
{
    public TerminalFactAttribute() => Skip = File.Exists("/usr/bin/script") ? null : "script, which makes a terminal, is not installed";
}
