using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;
using FedRLora.EndToEnd.Tests.Client;

namespace FedRLora.EndToEnd.Tests.Control;

/// <summary><c>watch</c> over streams that are cut, repeat themselves, leave events out or are none.</summary>
public sealed partial class WatchTests : IDisposable
{
    private const string StateOfRound =
        "\"rounds\":3,\"attempt\":1,\"phase\":\"train\",\"reported\":0,\"cohort\":3,\"name\":\"demo\",\"text\":\"t\"";
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-control-");
    private readonly string _token;

    public WatchTests()
    {
        _token = Path.Combine(_folder.FullName, "token");
        File.WriteAllText(_token, new string('t', 43));
        File.SetUnixFileMode(_token, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task A_stream_that_is_cut_again_and_again_shows_each_round_once()
    {
        var streams = new Queue<string>(
        [
            State("1", 0) + Round("2", 1),
            Round("2", 1) + Round("3", 2)[..20], // one that was heard, and half of the next
            "",
            Round("3", 2) + Round("4", 3) + State("5", 3, "finished"),
        ]);
        await using var server = Silo(streams);

        var result = await WatchAsync(server.Url);

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Equal(["0", "1", "2", "3"], Shown(result));
        Assert.Equal(["", At("2", 1), At("2", 1), At("2", 1)],
            server.Requests.Where(static head => head.Contains("/events", StringComparison.Ordinal)).Select(static head =>
                LastId().Match(head).Groups[1].Value));
        Assert.Contains($"digest: {Digest(3)}", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rounds_of_which_no_event_tells_are_shown_all_the_same()
    {
        await using var server = Silo(new([State("1", 3, "finished")]));

        var result = await WatchAsync(server.Url);

        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Equal(["0", "1", "2", "3"], Shown(result));
    }

    [Fact]
    public async Task Another_server_goes_on_where_the_first_one_ended()
    {
        await using var second = Silo(new([Round("9", 2) + Round("9", 3) + State("9", 3, "finished")]));
        var first = Silo(new([State("1", 0) + Round("2", 1)]), afterwards: static server => server.DisposeAsync().AsTask());
        await using (first)
        {
            var result = await WatchAsync(first.Url, second.Url);

            Assert.Equal((0, ""), (result.Code, result.Error));
            Assert.Equal(["0", "1", "2", "3"], Shown(result));
            Assert.Contains(second.Requests, head => head.Contains($"Last-Event-ID: {At("2", 1)}", StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData("event: state\nid: x\ndata: nothing\n\n", "an event of the silo is not the JSON that is expected")]
    [InlineData("event: state\nid: x\ndata: {\"schema\":1}\n\n", "an event of the silo is not the JSON that is expected")]
    public async Task Events_that_are_none_end_it_with_one_line(string events, string line)
    {
        await using var server = Silo(new([events]));

        var result = await WatchAsync(server.Url);

        Assert.Equal(3, result.Code);
        Assert.Contains(line, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_event_without_an_end_is_read_no_further_than_its_bound()
    {
        var block = Encoding.ASCII.GetBytes(new string('x', 1 << 20));
        long sent = 0;
        await using var server = Silo(new([""]), async (to, token) =>
        {
            await to.WriteAsync("event: state\ndata: "u8.ToArray(), token);
            for (; sent < 1L << 30; sent += block.Length) await to.WriteAsync(block, token);
        });

        var result = await WatchAsync(server.Url);

        Assert.Equal(3, result.Code);
        Assert.Contains("its answer is longer than", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        Assert.InRange(sent, 1, 256L << 20);
    }

    [Fact]
    public async Task A_round_that_does_not_have_its_digest_is_refused()
    {
        await using var server = new ScriptedServer((head, to, token) => to.WriteAsync(
            head.Contains("/events", StringComparison.Ordinal) ? Stream(State("1", 0))
            : head.Contains("/rounds", StringComparison.Ordinal)
                ? ScriptedServer.Http(200, Lines(-1, 0).Replace("0.2", "0.9", StringComparison.Ordinal), "application/jsonl")
            : Plan, token).AsTask());

        var result = await WatchAsync(server.Url);

        Assert.Equal(3, result.Code);
        Assert.Contains("does not have its digest", Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_program_hears_last_how_the_run_ended()
    {
        await using var server = Silo(new([State("1", 2) + State("2", 2, "paused")]));

        var result = await CommandLine.RunAsync("watch", "demo-1", "--json", "--server", server.Url, "--token-file", _token);

        Assert.Equal(1, result.Code);
        var lines = result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(4, lines.Length); // rounds 0 to 2, and the end
        Assert.Equal($"{{\"schema\":1,\"end\":{{\"run\":\"demo-1\",\"status\":\"paused\",\"committed\":2,\"rounds\":3,"
            + $"\"sha256\":\"{Digest(2)}\"}}}}", lines[3]);
    }

    private Task<CommandResult> WatchAsync(params string[] servers) => CommandLine.RunAsync(
        ["watch", "demo-1", "--no-local-only", .. servers.SelectMany(static url => new[] { "--server", url }), "--token-file", _token]);

    // A silo whose streams are cut where they end here.
    private static ScriptedServer Silo(
        Queue<string> streams, Func<Stream, CancellationToken, Task>? more = null, Func<ScriptedServer, Task>? afterwards = null)
    {
        ScriptedServer server = null!;
        var committed = -1;
        return server = new(async (head, to, token) =>
        {
            if (head.Contains("/events", StringComparison.Ordinal))
            {
                if (!streams.TryDequeue(out var events)) return;
                committed = RoundOfId().Matches(events).Select(static id => int.Parse(id.Groups[1].Value, CultureInfo.InvariantCulture))
                    .Append(committed).Max();
                await to.WriteAsync(Stream(events), token);
                if (more is not null) await more(to, token);
                if (streams.Count == 0 && afterwards is not null) _ = afterwards(server);
            }
            else await to.WriteAsync(
                RoundsAfter().Match(head) is { Success: true } after
                    ? ScriptedServer.Http(200, Lines(int.Parse(after.Groups[1].Value, CultureInfo.InvariantCulture), committed),
                        "application/jsonl")
                    : Plan, token);
        });
    }

    private static byte[] Plan => ScriptedServer.Http(200, SampleRun.Yaml, "application/yaml");

    private static byte[] Stream(string events) =>
        [.. ScriptedServer.Head(200, 1L << 40, "text/event-stream"), .. Encoding.UTF8.GetBytes(events)];

    private static string Lines(int after, int last) =>
        string.Concat(Enumerable.Range(after + 1, Math.Max(0, last - after)).Select(static n =>
            Encoding.UTF8.GetString(RoundLine.Of(SampleRun.Round(n) with { ManifestSha256 = Digest(n) }))));

    private static string Digest(int round) => RoundManifest.Digest(SampleRun.Round(round).Manifest.ToBytes());

    private static string At(string number, int round) => $"{RunPosition.TagOf("demo-1")}.{round}.silo.{number}";

    private static string Round(string number, int round) => $"event: round\nid: {At(number, round)}\ndata: {{\"round\":{round}}}\n\n";

    private static string State(string number, int committed, string status = "running") => $"event: state\nid: {At(number, committed)}\n"
        + $"data: {{\"schema\":1,{StateOfRound},\"status\":\"{status}\",\"round\":{committed},\"committed\":{committed}}}\n\n";

    private static IEnumerable<string> Shown(CommandResult result) =>
        RoundOfLine().Matches(result.Output).Select(static line => line.Groups[1].Value);

    [GeneratedRegex(@"^round (\d)/3", RegexOptions.Multiline)]
    private static partial Regex RoundOfLine();

    [GeneratedRegex(@"Last-Event-ID: (\S*)")]
    private static partial Regex LastId();

    [GeneratedRegex(@"id: \w+\.(\d)\.")]
    private static partial Regex RoundOfId();

    [GeneratedRegex(@"/rounds\?after=(-?\d+)")]
    private static partial Regex RoundsAfter();
}
