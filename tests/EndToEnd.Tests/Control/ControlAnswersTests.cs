using System.Text;
using FedRLora.Abstractions;
using FedRLora.Client;
using FedRLora.Client.Control;

namespace FedRLora.EndToEnd.Tests.Control;

/// <summary>What a command makes of whatever may answer at an address: one line, an exit code, and no end of memory or time.</summary>
public sealed class ControlAnswersTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-control-");

    private string TokenFile => field ??= WriteToken("token", new string('t', 43));

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData(400, "{\"schema\":1,\"error\":\"run: \\\"a b\\\" is not a name\"}", 2, "run: \"a b\" is not a name")]
    [InlineData(409, "{\"schema\":1,\"error\":\"tiny has finished\"}", 2, "tiny has finished")]
    [InlineData(422, "{\"schema\":1,\"error\":\"a blob is not what it was\"}", 2, "a blob is not what it was")]
    [InlineData(503, "{\"schema\":1,\"error\":\"the store is away\"}", 3, "the store is away")]
    [InlineData(502, "<html>Bad Gateway</html>", 3, "no silo answers behind URL (HTTP 502)")]
    [InlineData(500, "{\"schema\":1,\"error\":\"It broke\"}", 1, "URL: It broke")]
    [InlineData(404, "{\"schema\":1,\"error\":\"There is no run x; GET /v1/runs lists them.\"}", 2,
        "There is no run x; fedrlora runs --server URL --token-file TOKEN lists them.")]
    [InlineData(401, "{\"schema\":1,\"error\":\"the token is not this server's\"}", 2,
        "URL does not take the token in TOKEN; name the file of its own with --token-file FILE")]
    [InlineData(403, "{\"schema\":1,\"error\":\"this token does not allow that\"}", 2,
        "URL: this token does not allow that (it is in TOKEN); name the file of another with --token-file FILE")]
    [InlineData(404, "<html>nothing here</html>", 3,
        "what answers at URL is no silo of this program (HTTP 404, application/json); "
        + "name a silo's address with --server, as it printed it at its start")]
    [InlineData(200, "{\"runs\":[]}", 3,
        "what answers at URL is no silo of this program (its answer has no \"schema\"); "
        + "name a silo's address with --server, as it printed it at its start")]
    [InlineData(200, "{\"schema\":1}", 3,
        "what answers at URL is no silo of this program (its answer is not the JSON that is expected); "
        + "name a silo's address with --server, as it printed it at its start")]
    [InlineData(200, "[1,2", 3,
        "what answers at URL is no silo of this program (its answer is not the JSON that is expected); "
        + "name a silo's address with --server, as it printed it at its start")]
    [InlineData(200, "{\"schema\":2,\"runs\":[]}", 3,
        "the silo at URL speaks schema 2, this program 1: they are of different versions; use the program of the silo's version")]
    [InlineData(409, "{\"schema\":7,\"error\":\"no\"}", 3,
        "the silo at URL speaks schema 7, this program 1: they are of different versions; use the program of the silo's version")]
    public async Task An_answer_comes_to_one_line_and_an_exit_code(int status, string body, int code, string line)
    {
        await using var server = ScriptedServer.Giving(status, body);

        var result = await RunsAsync(server);

        Assert.Equal((code, line.Replace("URL", server.Url, StringComparison.Ordinal)
            .Replace("TOKEN", TokenFile, StringComparison.Ordinal) + "\n"), (result.Code, result.Error));
        Assert.Equal("", result.Output);
    }

    [Fact]
    public async Task A_redirect_is_not_followed_and_the_token_goes_nowhere_else()
    {
        await using var other = ScriptedServer.Giving(200, "{\"schema\":1,\"runs\":[]}");
        await using var server = ScriptedServer.Giving(302, "", "text/plain", $"Location: {other.Url}/v1/runs");

        var result = await RunsAsync(server);

        Assert.Equal(3, result.Code);
        Assert.Contains("answers with a redirect (302), which is not followed", result.Error, StringComparison.Ordinal);
        Assert.Empty(other.Requests);
    }

    [Fact]
    public async Task A_proxy_of_the_environment_is_not_asked_for_this_machine()
    {
        await using var proxy = ScriptedServer.Giving(200, "{\"schema\":1,\"runs\":[]}");
        await using var server = ScriptedServer.Giving(200, "{\"schema\":1,\"runs\":[]}");
        await using var runs = Federation.RunningProgram.StartWith(
            [("http_proxy", proxy.Url), ("HTTP_PROXY", proxy.Url), ("all_proxy", proxy.Url)], _folder.FullName,
            "runs", "--server", server.Url, "--token-file", TokenFile);

        Assert.Equal(0, await runs.ExitAsync());
        Assert.Empty(proxy.Requests);
        Assert.Contains($"Authorization: Bearer {new string('t', 43)}", Assert.Single(server.Requests), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Control_characters_of_an_error_do_not_reach_the_terminal()
    {
        await using var server = ScriptedServer.Giving(
            400, $"{{\"schema\":1,\"error\":\"a\\u001b[31mb\\nc\\u202ed{new string('x', 50_000)}\"}}");

        var result = await RunsAsync(server);

        Assert.Equal(2, result.Code);
        Assert.StartsWith("a [31mb c d", result.Error, StringComparison.Ordinal);
        Assert.Single(result.ErrorLines);
        Assert.InRange(result.Error.Length, 4000, 4100);
    }

    [Theory]
    [InlineData("SSH-2.0-OpenSSH_9.2p1\r\n")]
    [InlineData("\0\u0001\u0002\r\n\r\n")]
    [InlineData("HTTP/1.1 2")]
    [InlineData("")]
    public async Task What_speaks_no_HTTP_is_said_so(string bytes)
    {
        await using var server = new ScriptedServer((_, to, token) => to.WriteAsync(Encoding.Latin1.GetBytes(bytes), token).AsTask());

        var result = await RunsAsync(server);

        Assert.Equal(3, result.Code);
        Assert.Contains(server.Url, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_answer_without_an_end_is_read_no_further_than_its_bound()
    {
        var block = new byte[1 << 20];
        Array.Fill(block, (byte)' ');
        long sent = 0;
        await using var server = new ScriptedServer(async (_, to, token) =>
        {
            await to.WriteAsync("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"u8.ToArray(), token);
            while (sent < 1L << 30)
            {
                await to.WriteAsync(block, token);
                sent += block.Length;
            }
        });

        var result = await RunsAsync(server);

        Assert.Equal(3, result.Code);
        Assert.Contains("its answer is longer than", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.InRange(sent, 1, 256L << 20);
    }

    [Theory]
    [InlineData("")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"schema\":1,")]
    public async Task A_server_that_falls_silent_is_given_up(string before)
    {
        await using var server = new ScriptedServer(async (_, to, token) =>
        {
            await to.WriteAsync(Encoding.ASCII.GetBytes(before), token);
            await Task.Delay(Timeout.Infinite, token);
        });
        var moment = TimeSpan.FromMilliseconds(100);
        using var silos = new ControlClient(
            [new(ServerAddress.Parse(server.Url), new Token(TokenFile, "t"))], "fedrlora runs",
            new() { Answer = moment, Silence = moment, Sign = moment });

        var error = await Assert.ThrowsAsync<NoAnswerException>(() => silos.GetAsync<object>("/v1/runs", CancellationToken.None));
        var steered = await Assert.ThrowsAsync<NoAnswerException>(
            () => silos.SteerAsync("/v1/runs/x/pause", new { }, CancellationToken.None));

        Assert.StartsWith(server.Url, error.Message, StringComparison.Ordinal);
        Assert.StartsWith(server.Url, steered.Message, StringComparison.Ordinal);
        Assert.Equal(3, Cli.Explain(error, CancellationToken.None).Code);
    }

    [Fact]
    public async Task Where_nobody_listens_it_is_said_how_a_silo_is_started()
    {
        var port = FreePorts.Take(1)[0];

        var result = await CommandLine.RunAsync("runs", "--server", $"http://127.0.0.1:{port}", "--token-file", TokenFile);

        Assert.Equal((3, $"no silo answers at http://127.0.0.1:{port}; start one with fedrlora silo --site NAME, "
            + "or name the address that one printed with --server\n"), (result.Code, result.Error));
    }

    [Fact]
    public async Task The_next_server_is_asked_where_one_is_gone()
    {
        var port = FreePorts.Take(1)[0];
        await using var server = ScriptedServer.Giving(200, "{\"schema\":1,\"runs\":[]}");

        var result = await CommandLine.RunAsync(
            "runs", "--server", $"http://127.0.0.1:{port}", "--server", server.Url, "--token-file", TokenFile);

        Assert.Equal((0, ""), (result.Code, result.Error));
    }

    [Theory]
    [InlineData("8470", "is no address of a silo")]
    [InlineData("127.0.0.1:8470", "is no address of a silo")]
    [InlineData("ftp://127.0.0.1", "is no address of a silo")]
    [InlineData("http://", "is no address of a silo")]
    [InlineData("http://127.0.0.1:99999", "is no address of a silo")]
    [InlineData("http://127.0.0.1:8470\n", "is no address of a silo")]
    [InlineData("http://me:secret@127.0.0.1:8470", "an address with a name or password in it is not taken")]
    [InlineData("http://127.0.0.1:8470/v1/runs", "write http://127.0.0.1:8470")]
    [InlineData("http://127.0.0.1:8470/?token=secret", "write http://127.0.0.1:8470")]
    [InlineData("http://10.0.0.7:8470", "is another machine over plain http")]
    [InlineData("http://127.0.0.1.evil.example:8470", "is another machine over plain http")]
    [InlineData("http://localhost.evil.example:8470", "is another machine over plain http")]
    [InlineData("http://0.0.0.0:8470", "is another machine over plain http")]
    public async Task An_address_that_is_none_or_would_give_the_token_away_is_refused(string server, string why)
    {
        var result = await CommandLine.RunAsync("runs", "--server", server, "--token-file", TokenFile);

        Assert.Equal(2, result.Code);
        Assert.Contains(why, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.DoesNotContain("secret", result.Error.Replace("token=secret", "", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("http://localhost:8470")]
    [InlineData("http://[::1]:8470")]
    [InlineData("http://127.1.2.3:8470")]
    [InlineData("https://silos.example:8443")]
    public void An_address_of_this_machine_or_over_TLS_is_taken(string server) =>
        Assert.Equal(server, $"{ServerAddress.Parse(server)}");

    [Theory]
    [InlineData(UnixFileMode.GroupRead)]
    [InlineData(UnixFileMode.OtherRead)]
    public async Task A_token_file_that_others_may_read_is_not_used(UnixFileMode others)
    {
        await using var server = ScriptedServer.Giving(200, "{\"schema\":1,\"runs\":[]}");
        File.SetUnixFileMode(TokenFile, File.GetUnixFileMode(TokenFile) | others);

        var result = await RunsAsync(server);

        Assert.Equal((2, $"{TokenFile}: others than its owner may read it; take their rights away with: chmod 600 {TokenFile}\n"),
            (result.Code, result.Error));
        Assert.Empty(server.Requests);
    }

    [Theory]
    [InlineData("")]
    [InlineData("short")]
    [InlineData("two lines of a token that is long enough\nX-Other: header")]
    public async Task A_file_without_a_token_is_named(string content)
    {
        await using var server = ScriptedServer.Giving(200, "{\"schema\":1,\"runs\":[]}");
        var file = WriteToken("other", content);

        var result = await CommandLine.RunAsync("runs", "--server", server.Url, "--token-file", file);

        Assert.Equal(2, result.Code);
        Assert.StartsWith($"{file}: holds no token", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.Empty(server.Requests);
    }

    [Fact]
    public async Task A_token_file_that_is_not_there_or_is_a_folder_is_named()
    {
        var missing = Path.Combine(_folder.FullName, "missing");

        var none = await CommandLine.RunAsync("runs", "--token-file", missing);
        var folder = await CommandLine.RunAsync("runs", "--token-file", _folder.FullName);

        Assert.Equal((2, $"{missing}: is missing; name the file that the silo keeps its token in\n"), (none.Code, none.Error));
        Assert.Equal((2, $"{_folder.FullName}: is a folder; give a file in it\n"), (folder.Code, folder.Error));
    }

    private Task<CommandResult> RunsAsync(ScriptedServer server) =>
        CommandLine.RunAsync("runs", "--server", server.Url, "--token-file", TokenFile);

    private string WriteToken(string name, string text)
    {
        var file = Path.Combine(_folder.FullName, name);
        File.WriteAllText(file, text + "\n");
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return file;
    }
}
