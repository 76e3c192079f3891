using System.Formats.Tar;
using System.Text;

namespace FedRLora.EndToEnd.Tests.Control;

/// <summary>What commands on one run make of answers that are cut, hostile or of a run that goes on meanwhile.</summary>
public sealed class RunsOfSilosTests : IDisposable
{
    private const string Plan = """
        name: tiny
        model: model
        strategy: {rounds: 3}
        clients:
          - {id: one, task: a, site: north, data: {train: one.jsonl}}
          - {id: two, task: b, site: south, data: {train: two.jsonl}}
        """;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-control-");
    private readonly string _token;

    public RunsOfSilosTests()
    {
        _token = Path.Combine(_folder.FullName, "token");
        File.WriteAllText(_token, new string('t', 43));
        File.SetUnixFileMode(_token, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    private string Out => Path.Combine(_folder.FullName, "out");

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData("export", "tiny")]
    [InlineData("report", "tiny")]
    [InlineData("metrics", "tiny")]
    [InlineData("resume", "tiny")]
    [InlineData("extend", "tiny", "--rounds", "4")]
    [InlineData("fork", "tiny", "--round", "1")]
    [InlineData("eval", "--run", "tiny")]
    [InlineData("generate", "--run", "tiny", "--prompt", "a")]
    public async Task A_name_that_is_no_folder_here_is_answered_with_both_ways(params string[] command)
    {
        var result = await CommandLine.RunAsync(command);

        Assert.Equal(2, result.Code);
        Assert.StartsWith(
            "tiny: there is no such run folder here; give its path, or, for a run of silos by its name, say where one answers: "
                + $"fedrlora {command[0]}", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.EndsWith("--server http://127.0.0.1:8470", result.ErrorLines[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("export")]
    [InlineData("report")]
    [InlineData("resume")]
    public async Task A_folder_given_with_a_server_is_said_to_be_one(string command)
    {
        var folder = _folder.CreateSubdirectory("run").FullName;

        var result = await CommandLine.RunAsync(command, folder, "--server", "http://127.0.0.1:1", "--out", Out);
        if (command == "resume") result = await CommandLine.RunAsync(command, folder, "--server", "http://127.0.0.1:1");

        Assert.Equal((2, $"{folder}: is a folder; with --server a run is given by its name, and a run folder without --server\n"),
            (result.Code, result.Error));
    }

    [Fact]
    public async Task Adapters_come_whole_into_their_folders_and_what_else_lies_there_stays()
    {
        await using var server = Silos(static client => Tar(("adapter_config.json", $"{{\"of\":\"{client}\"}}"), Model));
        var other = Path.Combine(Directory.CreateDirectory(Path.Combine(Out, "one")).FullName, "README");
        await File.WriteAllTextAsync(other, "mine");

        var result = await RunAsync(server, "export", "tiny", "--out", Out);

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Equal($"2 adapters of round 3/3: {Out}/CLIENT, in PEFT's layout\n", result.Output);
        Assert.Equal("{\"of\":\"one\"}", await File.ReadAllTextAsync(Path.Combine(Out, "one", "adapter_config.json")));
        Assert.Equal("{\"of\":\"two\"}", await File.ReadAllTextAsync(Path.Combine(Out, "two", "adapter_config.json")));
        Assert.Equal("mine", await File.ReadAllTextAsync(other));
        Assert.Equal(["one", "two"], Names(Out));
    }

    [Fact]
    public async Task A_site_that_is_away_is_named_and_the_rest_is_written()
    {
        await using var server = Silos(static client => client == "one"
            ? Tar(("adapter_config.json", "{}"), Model)
            : ScriptedServer.Http(503, "{\"schema\":1,\"error\":\"site south has no live silo\"}"));

        var result = await RunAsync(server, "export", "tiny", "--out", Out);

        Assert.Equal((3, "site south does not answer, so that nothing was written of two: site south has no live silo\n"),
            (result.Code, result.Error));
        Assert.StartsWith("1 adapter of round 3/3", result.Output, StringComparison.Ordinal);
        Assert.Equal(["one"], Names(Out));
    }

    public static TheoryData<string, byte[]> NoAdapters => new()
    {
        { "is no file of an adapter", Tar(("../../evil", "x"), Model) },
        { "is no file of an adapter", Tar(("/etc/evil", "x"), Model) },
        { "is no file of an adapter", Tar(("sub/adapter_config.json", "x"), Model) },
        { "is no file of an adapter", Tar(("link", ""), Model, link: "/etc/passwd") },
        { "adapter_model.safetensors is missing", Tar(("adapter_config.json", "{}")) },
        { "it is no archive, or was cut", ScriptedServer.Http(200, new string('x', 2000), "application/x-tar") },
        { "it is no archive, or was cut", ScriptedServer.Http(200, "", "application/x-tar") },
        { "instead of application/x-tar", ScriptedServer.Http(200, "<html>", "text/html") },
        { "was lost in the middle of its answer", Tar(("adapter_config.json", "{}"), Model)[..^3000] },
    };

    [Theory, MemberData(nameof(NoAdapters))]
    public async Task What_is_no_adapter_leaves_nothing_behind(string why, byte[] answer)
    {
        await using var server = Silos(_ => answer);

        var result = await RunAsync(server, "export", "tiny", "--client", "one", "--out", Out);

        Assert.Equal(3, result.Code);
        Assert.Contains(why, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.False(Directory.Exists(Out));
        Assert.Equal(["token"], Names(_folder.FullName));
    }

    [Fact]
    public async Task Adapters_of_two_rounds_are_fetched_again_until_they_are_of_one()
    {
        var fetched = 0;
        await using var server = Silos(
            _ =>
            {
                fetched++;
                return Tar(("adapter_config.json", "{}"), Model);
            },
            committed: () => fetched < 2 ? 1 : 2);

        var result = await RunAsync(server, "export", "tiny", "--out", Out);

        Assert.Equal((0, 4), (result.Code, fetched));
        Assert.StartsWith("2 adapters of round 2/3", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_run_that_goes_on_faster_than_its_adapters_come_is_said_so()
    {
        var asked = 0;
        await using var server = Silos(static _ => Tar(("adapter_config.json", "{}"), Model), committed: () => asked++);

        var result = await RunAsync(server, "export", "tiny", "--out", Out);

        Assert.Equal(2, result.Code);
        Assert.Contains("try again when it is finished or paused", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.False(Directory.Exists(Out));
    }

    [Theory]
    [InlineData(0, "ab",
        "event: piece\ndata: {\"text\":\"a\"}\n\nevent: piece\ndata: {\"text\":\"b\"}\n\nevent: end\ndata: {\"text\":\"\"}\n\n")]
    [InlineData(3, "", "event: piece\ndata: {\"text\":\"a\"}\n\n")]
    [InlineData(3, "", "event: piece\ndata: nothing\n\n")]
    [InlineData(3, "", "")]
    public async Task A_text_without_an_end_is_no_text(int code, string text, string events)
    {
        await using var server = new ScriptedServer((head, to, token) => to.WriteAsync(
            head.StartsWith("POST", StringComparison.Ordinal) ? ScriptedServer.Http(200, events, "text/event-stream") : PlanAnswer, token)
            .AsTask());

        var result = await RunAsync(server, "generate", "--run", "tiny", "--client", "one", "--prompt", "x");

        Assert.Equal(code, result.Code);
        if (code == 0) Assert.Equal(text + "\n", result.Output);
        else Assert.Single(result.ErrorLines);
    }

    [Fact]
    public async Task A_page_of_something_else_is_not_taken_for_a_report()
    {
        await using var server = ScriptedServer.Giving(200, "<html>It works!</html>", "text/html");
        var file = Path.Combine(_folder.FullName, "report.html");

        var result = await RunAsync(server, "report", "tiny", "--out", file);

        Assert.Equal(3, result.Code);
        Assert.Contains("is no silo of this program (text/html instead of application/yaml)", Assert.Single(result.ErrorLines),
            StringComparison.Ordinal);
        Assert.False(File.Exists(file));
    }

    [Theory]
    [InlineData("report", "text/html")]
    [InlineData("metrics", "text/csv")]
    public async Task A_file_that_is_cut_leaves_what_was_there(string command, string type)
    {
        await using var server = new ScriptedServer((head, to, token) => to.WriteAsync(
            head.Contains("/plan", StringComparison.Ordinal) ? PlanAnswer
            : [.. ScriptedServer.Head(200, 1000, type), .. "half"u8], token).AsTask());
        var file = Path.Combine(_folder.FullName, "file");
        await File.WriteAllTextAsync(file, "before");

        var result = await RunAsync(server, command, "tiny", "--out", file);

        Assert.Equal(3, result.Code);
        Assert.Contains("was lost in the middle of its answer", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.Equal("before", await File.ReadAllTextAsync(file));
        Assert.Equal(["file", "token"], Names(_folder.FullName));
    }

    [Fact]
    public async Task Points_of_steps_say_whose_they_are_and_a_site_that_is_away_is_named()
    {
        await using var server = Silos(static client => client == "one"
            ? ScriptedServer.Http(200, "{\"round\":1,\"step\":4}\n{\"round\":1,\"step\":8}\n", "application/jsonl")
            : ScriptedServer.Http(503, "{\"schema\":1,\"error\":\"site south has no live silo\"}"));

        var result = await RunAsync(server, "metrics", "tiny", "--by", "steps");

        Assert.Equal((3, "site south does not answer, so that steps of its clients are not among these: site south has no live silo\n"),
            (result.Code, result.Error));
        Assert.Equal("{\"schema\":1,\"client\":\"one\",\"round\":1,\"step\":4}\n{\"schema\":1,\"client\":\"one\",\"round\":1,\"step\":8}\n",
            result.Output);
    }

    [Fact]
    public async Task Lines_of_logs_are_shown_page_by_page_without_what_would_steer_a_terminal()
    {
        const string Line = "{\"silo\":\"north-1\",\"line\":{\"number\":1,\"at\":\"2026-05-04T12:00:00+00:00\",\"level\":\"warning\","
            + "\"category\":\"C\",\"event\":7,\"text\":\"TEXT\"}}";
        await using var server = new ScriptedServer((head, to, token) => to.WriteAsync(ScriptedServer.Http(
            200, head.Contains("after=", StringComparison.Ordinal)
                ? "{\"schema\":1,\"lines\":[],\"next\":\"north-1:9\",\"forgotten\":0,\"missing\":[\"south-1: it does not answer\"]}"
                : $"{{\"schema\":1,\"lines\":[{Line.Replace("TEXT", "a\\u001b[2Jb", StringComparison.Ordinal)}],\"next\":\"north-1:9\","
                    + "\"forgotten\":3,\"missing\":[]}"), token).AsTask());

        var result = await RunAsync(server, "logs", "tiny");

        Assert.Equal("2026-05-04T12:00:00Z north-1 warning: a [2Jb\n", result.Output);
        Assert.Equal((3, "3 lines before these are no longer remembered\nsouth-1: it does not answer\n"), (result.Code, result.Error));
    }

    [Theory]
    [InlineData("export", "tiny", "--client", "none", "--out", "OUT")]
    [InlineData("eval", "--run", "tiny", "--client", "none")]
    [InlineData("generate", "--run", "tiny", "--client", "none", "--prompt", "x")]
    public async Task A_client_that_the_run_does_not_have_is_named_with_those_it_has(params string[] command)
    {
        await using var server = Silos(static _ => []);

        var result = await RunAsync(server, [.. command.Select(word => word == "OUT" ? Out : word)]);

        Assert.Equal((2, "--client: tiny has no client none; its clients are one, two.\n"), (result.Code, result.Error));
    }

    private Task<CommandResult> RunAsync(ScriptedServer server, params string[] command) =>
        CommandLine.RunAsync([.. command, "--server", server.Url, "--token-file", _token]);

    private static byte[] PlanAnswer => ScriptedServer.Http(200, Plan, "application/yaml");

    private static (string, string) Model => ("adapter_model.safetensors", new string('w', 5000));

    // A run of three rounds with two clients at two sites.
    private static ScriptedServer Silos(Func<string, byte[]> adapter, Func<int>? committed = null) => new((head, to, token) =>
    {
        var path = head.Split(' ')[1];
        return to.WriteAsync(
            path.Contains("/clients/", StringComparison.Ordinal) ? adapter(path.Split('/')[5])
            : path.EndsWith("/plan", StringComparison.Ordinal) ? PlanAnswer
            : ScriptedServer.Http(200, "{\"schema\":1,\"runs\":[{\"schema\":1,\"run\":\"tiny\",\"name\":\"tiny\",\"status\":\"finished\","
                + $"\"committed\":{committed?.Invoke() ?? 3},\"round\":3,\"rounds\":3,\"phase\":\"idle\"}}]}}"), token).AsTask();
    });

    private static byte[] Tar((string Name, string Content) first, (string Name, string Content)? second = null, string? link = null)
    {
        using var archive = new MemoryStream();
        using (var tar = new TarWriter(archive, TarEntryFormat.Pax, leaveOpen: true))
        {
            tar.WriteEntry(link is null
                ? new PaxTarEntry(TarEntryType.RegularFile, first.Name)
                {
                    DataStream = new MemoryStream(Encoding.UTF8.GetBytes(first.Content)),
                }
                : new PaxTarEntry(TarEntryType.SymbolicLink, first.Name) { LinkName = link });
            if (second is var (name, content))
            {
                tar.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, name)
                {
                    DataStream = new MemoryStream(Encoding.UTF8.GetBytes(content)),
                });
            }
        }

        return [.. ScriptedServer.Head(200, archive.Length, "application/x-tar"), .. archive.ToArray()];
    }

    private static string[] Names(string folder) =>
        [.. Directory.EnumerateFileSystemEntries(folder).Select(static entry => Path.GetFileName(entry)).Order(StringComparer.Ordinal)];
}
