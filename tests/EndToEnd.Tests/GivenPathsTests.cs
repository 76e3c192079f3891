using System.Diagnostics;
using System.IO.Compression;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>
/// Files and folders that are whole but something else than what was asked for: the line says what they are and what is wanted.
/// </summary>
public sealed class GivenPathsTests : IDisposable
{
    private const string Row = """{"prompt":"one a:","completion":"up","label":"up"}""";

    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Model => Path.Combine(_tiny.Root, "model");

    [Theory]
    [InlineData("is one JSON array", "[" + Row + ",", Row + "]")]
    [InlineData("is one JSON array", "", "[", "  {", "    \"prompt\": \"a\"", "  }", "]")]
    [InlineData("is JSON with line breaks inside of objects", "{", "  \"prompt\": \"a\",", "  \"completion\": \"b\"", "}")]
    [InlineData("is JSON with line breaks inside of objects", "{\"prompt\": \"a\",", " \"completion\": \"b\"}")]
    [InlineData("is a table with commas between its columns (CSV)", "prompt,completion,label", "a,b,c")]
    [InlineData("is a table with commas between its columns (CSV)", "\"prompt\",\"completion\"", "\"a\",\"b\"")]
    [InlineData("is a table with commas between its columns (CSV)", "prompt;completion", "a;b")]
    [InlineData("is a table with tabs between its columns", "prompt\tcompletion", "a\tb")]
    [InlineData("is YAML", "- prompt: a", "  completion: b")]
    [InlineData("is HTML or XML", "<!doctype html>")]
    [InlineData("is a Git LFS pointer", "version https://git-lfs.github.com/spec/v1", "oid sha256:00", "size 1")]
    [InlineData(":1: the line goes on behind its object", Row + Row)]
    [InlineData(":2: the line ends with a comma", Row, Row + ",")]
    public async Task Rows_in_another_form_of_text_are_named(string expected, params string[] lines)
    {
        _tiny.Write("rows", lines);

        await AssertRowsAsync(expected);
    }

    public static TheoryData<string, byte[]> Binary => new()
    {
        { "is compressed with gzip", Gzip(Row) },
        { "is a Parquet file", [.. "PAR1\0\0\0\0PAR1"u8] },
        { "is an Arrow file", [.. "ARROW1\0\0"u8] },
        { "is a ZIP archive", [.. "PK\x03\x04\x14\0"u8] },
        { "is compressed with zstd", [0x28, 0xb5, 0x2f, 0xfd, 0] },
        { "is text in UTF-16", [0xff, 0xfe, (byte)'{', 0] },
    };

    [Theory]
    [MemberData(nameof(Binary))]
    public async Task Rows_in_another_form_of_bytes_are_named(string expected, byte[] content)
    {
        await File.WriteAllBytesAsync(Path.Combine(_tiny.Root, "rows"), content);

        await AssertRowsAsync(expected);
    }

    [Theory]
    [InlineData(".", "is a folder of models (")]
    [InlineData("model", "is a model and no file of rows")]
    [InlineData("empty", "is a folder and no file of rows")]
    public async Task A_folder_given_for_rows_is_named(string folder, string expected)
    {
        Directory.CreateDirectory(Path.Combine(_tiny.Root, "empty"));
        var result = await CommandLine.RunAsync("eval", "--model", Model, "--data", Path.Combine(_tiny.Root, folder));

        AssertOneLine(expected, result);
    }

    [Fact]
    public async Task Adapters_models_and_runs_in_the_place_of_each_other_are_named()
    {
        var (run, rows) = (Path.Combine(_tiny.Root, "run"), Path.Combine(_tiny.Root, "one.test.jsonl"));
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--out", run)).Code);
        var (adapters, adapter) = (Path.Combine(run, "adapters"), Path.Combine(run, "adapters", "one"));
        string[] onRows = ["--data", rows];

        AssertOneLine($"{adapter}: is an adapter and no model; give the folder of the base model",
            await CommandLine.RunAsync(["eval", "--model", adapter, .. onRows]));
        AssertOneLine($"{adapter}: is an adapter and no model",
            await CommandLine.RunAsync("generate", "--model", adapter, "--prompt", "a"));
        AssertOneLine($"{adapter}: is an adapter and no model",
            await CommandLine.RunAsync("merge", "--model", adapter, "--adapter", adapter, "--out", run + "-2"));
        AssertOneLine($"{run}: is a run and no model", await CommandLine.RunAsync(["eval", "--model", run, .. onRows]));
        AssertOneLine($"{adapters}: is a folder of adapters (", await CommandLine.RunAsync(["eval", "--model", adapters, .. onRows]));
        AssertOneLine($"{rows}: is a file and no model", await CommandLine.RunAsync(["eval", "--model", rows, .. onRows]));
        AssertOneLine($"{Model}: is a model and no adapter",
            await CommandLine.RunAsync(["eval", "--model", Model, "--adapter", Model, .. onRows]));
        AssertOneLine($"{Model}: is a model and no adapter",
            await CommandLine.RunAsync("combine", "--adapter", Model, "--out", run + "-2"));
        AssertOneLine($"{run}: is a run and no adapter; give {adapters}/CLIENT",
            await CommandLine.RunAsync(["eval", "--model", Model, "--adapter", run, .. onRows]));
        AssertOneLine($"{adapters}: is a folder of adapters (",
            await CommandLine.RunAsync("merge", "--model", Model, "--adapter", adapters, "--out", run + "-2"));
        AssertOneLine($"{rows}: is a file and no adapter",
            await CommandLine.RunAsync(["eval", "--model", Model, "--adapter", rows, .. onRows]));
        AssertOneLine($"{adapter}: is an adapter and not a run folder", await CommandLine.RunAsync("eval", "--run", adapter));
        AssertOneLine($"{Model}: is a model and not a run folder", await CommandLine.RunAsync("export", Model));
        AssertOneLine($"{_tiny.Root}: is a folder of runs ({run}) and not a run folder", await CommandLine.RunAsync("resume", _tiny.Root));
        AssertOneLine($"{rows}: is a file and not a run folder", await CommandLine.RunAsync("verify", rows));
        AssertOneLine($"{run}: is a run; give the plan file in it, {Path.Combine(run, "plan.yaml")}",
            await CommandLine.RunAsync("validate", run));
    }

    [Theory]
    [InlineData("gone")]
    [InlineData("link")]
    public async Task A_link_that_leads_nowhere_is_no_file(string target)
    {
        var (link, rows) = (Path.Combine(_tiny.Root, "link"), Path.Combine(_tiny.Root, "one.test.jsonl"));
        File.CreateSymbolicLink(link, Path.Combine(_tiny.Root, target));
        var kind = $"{link}: is a link that leads nowhere";

        AssertOneLine($"{kind}; give a folder for the run", await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--out", link));
        AssertOneLine($"{kind} and not a run folder", await CommandLine.RunAsync("verify", link));
        AssertOneLine($"{kind} and no model", await CommandLine.RunAsync("eval", "--model", link, "--data", rows));
        AssertOneLine($"{kind} and no adapter",
            await CommandLine.RunAsync("merge", "--model", Model, "--adapter", link, "--out", link + "-2"));
        Assert.Equal(Path.Combine(_tiny.Root, target), new FileInfo(link).LinkTarget);
    }

    [Fact]
    public async Task A_plan_that_takes_an_adapter_for_its_model_is_told_so()
    {
        File.Copy(Path.Combine(Model, "config.json"), Path.Combine(Model, "adapter_config.json"));
        File.Delete(Path.Combine(Model, "config.json"));
        File.Delete(Path.Combine(Model, "model.safetensors"));

        AssertOneLine("model: is an adapter and no model",
            await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--out", Path.Combine(_tiny.Root, "run")));
    }

    [Theory]
    [InlineData("one.train.jsonl", "quorum: 1")]
    [InlineData("one.train.jsonl", "quorum: 0.5")] // the failure of one client
    [InlineData("one.test.jsonl", "rounds: 1")]
    [InlineData("model/config.json", "rounds: 1")]
    [InlineData("model/model.safetensors", "rounds: 1")]
    [InlineData("plan.yaml", "rounds: 1")]
    public async Task A_pipe_in_the_place_of_a_file_is_refused_and_never_opened(string name, string strategy)
    {
        var plan = _tiny.WritePlan(strategy: strategy);
        var path = Path.Combine(_tiny.Root, name);
        File.Delete(path);
        using (var made = Process.Start("mkfifo", [path])) await made.WaitForExitAsync();

        var result = await CommandLine.RunAsync("simulate", plan, "--out", Path.Combine(_tiny.Root, "run"))
            .WaitAsync(TimeSpan.FromMinutes(2));

        Assert.Contains($"{name}: is a pipe and no plain file; ", result.Output + result.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("model/config.json")]
    [InlineData("one.train.jsonl")]
    [InlineData("one.test.jsonl")]
    public async Task Nor_does_validate_open_one(string name)
    {
        var path = Path.Combine(_tiny.Root, name);
        File.Delete(path);
        using (var made = Process.Start("mkfifo", [path])) await made.WaitForExitAsync();

        var result = await CommandLine.RunAsync("validate", _tiny.WritePlan(), "--forecast").WaitAsync(TimeSpan.FromMinutes(2));

        Assert.Contains($"{name}: is a pipe and no plain file; ", result.Output + result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_in_the_place_of_rows_is_refused()
    {
        AssertOneLine("/dev/zero: is a device and no plain file",
            await CommandLine.RunAsync("eval", "--model", Model, "--data", "/dev/zero"));
        AssertOneLine("/dev/zero: is a device and no plain file", await CommandLine.RunAsync("validate", "/dev/zero"));
    }

    private static byte[] Gzip(string text)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest)) gzip.Write(System.Text.Encoding.UTF8.GetBytes(text));
        return packed.ToArray();
    }

    private async Task AssertRowsAsync(string expected)
    {
        var rows = Path.Combine(_tiny.Root, "rows");
        AssertOneLine(expected, await CommandLine.RunAsync("eval", "--model", Model, "--data", rows));
        _tiny.WritePlan();
        File.Copy(rows, Path.Combine(_tiny.Root, "one.train.jsonl"), overwrite: true);
        AssertOneLine(expected,
            await CommandLine.RunAsync("simulate", Path.Combine(_tiny.Root, "plan.yaml"), "--out", Path.Combine(_tiny.Root, "run")));
    }

    private static void AssertOneLine(string expected, CommandResult result)
    {
        Assert.Equal(2, result.Code);
        Assert.Contains(expected, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }
}
