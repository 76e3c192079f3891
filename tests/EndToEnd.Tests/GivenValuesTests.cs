using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>
/// Values of options as a shell hands them over: none of them means anything but itself, and an empty one is said to be empty.
/// </summary>
public sealed class GivenValuesTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Model => Path.Combine(_tiny.Root, "model");

    [Theory]
    [InlineData("@aab ba aab.")]
    [InlineData("@aab")]
    [InlineData("@missing")]
    public async Task A_prompt_that_begins_with_at_is_the_prompt(string prompt)
    {
        _tiny.Write("aab", ["--max-new-tokens", "1"]);
        var result = await ProgramIn(_tiny.Root, "generate", "--model", Model, "--max-new-tokens", "4", "--prompt", prompt);
        var plain = await CommandLine.RunAsync("generate", "--model", Model, "--max-new-tokens", "4", $"--prompt={prompt}");

        Assert.Equal((plain.Code, plain.Output, plain.Error), (result.Code, result.Output, result.Error));
        Assert.Equal(0, result.Code);
    }

    [Theory]
    [InlineData("@none: no such file", "validate", "@none")]
    [InlineData("@none: no such folder; give a Hugging Face model folder or a GGUF file", "generate", "--model", "@none", "--prompt", "a")]
    [InlineData("@none: is not a run folder (no run.json in it); give a folder that fedrlora simulate made", "eval", "--run", "@none")]
    public async Task A_path_that_begins_with_at_is_that_path(string expected, params string[] arguments)
    {
        var result = await CommandLine.RunAsync(arguments);

        Assert.Equal((2, expected), (result.Code, result.Error.TrimEnd('.', '\n')));
    }

    [Theory]
    [InlineData("--data", "eval", "--model", "m", "--data", "")]
    [InlineData("--model", "eval", "--model", " ", "--data", "rows.jsonl")]
    [InlineData("--adapter", "eval", "--model", "m", "--data", "rows.jsonl", "--adapter", "")]
    [InlineData("--metric", "eval", "--model", "m", "--data", "rows.jsonl", "--metric", "")]
    [InlineData("--run", "eval", "--run", "")]
    [InlineData("plan", "simulate", "")]
    [InlineData("--out", "simulate", "plan.yaml", "--out", "")]
    [InlineData("plan", "validate", "\t")]
    [InlineData("plan", "submit", "")]
    [InlineData("run", "resume", "")]
    [InlineData("run", "extend", "", "--rounds", "3")]
    [InlineData("run", "fork", "", "--round", "1")]
    [InlineData("--plan", "fork", "runs/t-1", "--round", "1", "--plan", "")]
    [InlineData("run", "verify", "")]
    [InlineData("--store", "verify", "--store", "", "--job", "t")]
    [InlineData("run", "repair", "")]
    [InlineData("run", "gc", "")]
    [InlineData("run", "export", "")]
    [InlineData("--out", "export", "runs/t-1", "--out", "")]
    [InlineData("--out", "merge", "--model", "m", "--adapter", "a", "--out", "")]
    [InlineData("--adapter", "merge", "--model", "m", "--adapter", "", "--out", "o")]
    [InlineData("--adapter", "combine", "--adapter", "a", "--adapter", "", "--out", "o")]
    [InlineData("--adapter", "generate", "--model", "m", "--adapter", "", "--prompt", "a")]
    [InlineData("--root", "silo", "--site", "s", "--root", "")]
    [InlineData("--store", "silo", "--site", "s", "--store", "")]
    [InlineData("--site-store", "silo", "--site", "s", "--site-store", "")]
    [InlineData("--cluster", "silo", "--site", "s", "--cluster", "")]
    [InlineData("--out", "doctor", "--out", "")]
    public async Task An_empty_value_is_bad_input_that_names_its_option(string option, params string[] arguments)
    {
        var result = await CommandLine.RunAsync(arguments);

        Assert.Equal((2, ""), (result.Code, result.Output));
        Assert.Equal($"{option}: the value is empty; see fedrlora {arguments[0]} --help\n", result.Error);
    }

    [Fact]
    public async Task An_option_that_ends_with_an_equals_sign_is_bad_input_that_names_it()
    {
        var result = await CommandLine.RunAsync("eval", "--model", "m", "--data=");

        Assert.Equal(2, result.Code);
        Assert.Contains("'--data'", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_weight_without_a_folder_is_bad_input()
    {
        var result = await CommandLine.RunAsync("combine", "--adapter", "=0.5", "--out", Path.Combine(_tiny.Root, "sum"));

        Assert.Equal((2, "--adapter: '=0.5' names no folder; write FOLDER=0.5\n"), (result.Code, result.Error));
    }

    [Fact]
    public async Task One_port_for_both_of_a_silo_is_bad_input()
    {
        var result = await CommandLine.RunAsync("silo", "--site", "here", "--port", "31234", "--gateway", "31234");

        Assert.Equal((2, "--port and --gateway are both 31234; a silo listens on two ports, give another --gateway\n"),
            (result.Code, result.Error));
        result = await CommandLine.RunAsync("silo", "--site", "here", "--port", "31234", "--join", "31234");
        Assert.Equal((2, "--port and --join are both 31234; --join is the port of another silo, give another --port\n"),
            (result.Code, result.Error));
    }

    private static async Task<CommandResult> ProgramIn(string folder, params string[] arguments)
    {
        var start = new System.Diagnostics.ProcessStartInfo("dotnet",
            [Path.Combine(AppContext.BaseDirectory, "fedrlora.dll"), .. arguments])
        {
            WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        using var process = System.Diagnostics.Process.Start(start)!;
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        return new(process.ExitCode, await output, await error);
    }
}
