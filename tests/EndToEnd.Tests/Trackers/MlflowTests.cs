using System.Globalization;
using System.Text.Json;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Silo.Trackers;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Trackers;

/// <summary>A run in MLflow: what it has, when the server is away, and when the run is taken up.</summary>
public sealed class MlflowTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Run => Path.Combine(_tiny.Root, "run");

    [Fact]
    public async Task MLflow_has_every_number_of_the_lines_and_an_extended_run_goes_on_in_its_run_there()
    {
        await using var server = new MlflowStandIn();

        var run = await SimulateAsync(server.Url);

        Assert.Equal((0, ""), (run.Code, run.Error));
        var there = Assert.Single(server.Runs);
        Assert.Equal(("FINISHED", "finished", "tiny"), (there.Status, there.Tags["fedrlora.state"], there.Name));
        var parameters = there.Parameters;
        Assert.Equal(("7", "0.01", "2"), (parameters["seed"], parameters["training.learningRate"], parameters["clients"]));
        Assert.DoesNotContain(parameters.Values.Concat(there.Tags.Values), value =>
            value.Contains(_tiny.Root, StringComparison.Ordinal) || value.Contains("jsonl", StringComparison.Ordinal));

        Assert.Equal(0, (await CommandLine.RunAsync("extend", Run, "--rounds", "4")).Code);
        Assert.Equal(0, (await CommandLine.RunAsync("resume", Run)).Code);

        there = Assert.Single(server.Runs);
        Assert.Equal(("FINISHED", "4", "2"), (there.Status, there.Tags["fedrlora.rounds"], there.Parameters["strategy.rounds"]));
        RequireAll(there);

        Assert.Equal(0, (await CommandLine.RunAsync("fork", Run, "--round", "3", "--out", Run + "-fork")).Code);
        Assert.Equal(2, server.Runs.Count);
        RequireAll(server.Runs[1], Run + "-fork");
        Assert.Empty(server.Faults);
    }

    [Fact]
    public async Task A_killed_run_has_one_point_a_step_after_it_is_resumed()
    {
        await using var server = new MlflowStandIn();
        var plan = _tiny.WritePlan(strategy: "rounds: 30");
        await using (var program = RunningProgram.StartWith(
            [("MLFLOW_TRACKING_TOKEN", "secret-token")], _tiny.Root, "simulate", plan, "--out", "run", "--mlflow", server.Url))
        {
            await program.UntilAsync(() => server.Look(static runs => runs.Any(static run => run.Points.Count > 0)), "the first points");
            program.Kill();
            await program.ExitAsync();
            Assert.DoesNotContain("secret-token", program.Output, StringComparison.Ordinal);
        }

        Assert.Equal(["Bearer secret-token"], server.Shown);
        Assert.Equal("RUNNING", Assert.Single(server.Runs).Status); // nobody was there to say otherwise
        Assert.Equal(0, (await CommandLine.RunAsync("resume", Run)).Code);

        var there = Assert.Single(server.Runs);
        Assert.Equal("FINISHED", there.Status);
        RequireAll(there);
        Assert.Empty(server.Faults);
    }

    [Fact]
    public async Task Points_that_a_server_missed_while_it_was_away_are_counted_in_one_line_and_come_once_with_resume()
    {
        var port = FreePorts.Take(1)[0];
        await using (var program = RunningProgram.Start(
            _tiny.Root, "simulate", _tiny.WritePlan(), "--out", "run", "--mlflow", $"http://127.0.0.1:{port}"))
        {
            await program.ExitAsync();
            Assert.Single(program.Output.Split('\n'), static line =>
                line.EndsWith("points of 3 rounds of tiny are sent when it is resumed", StringComparison.Ordinal));
        }

        await using var server = new MlflowStandIn(port);
        var resumed = await CommandLine.RunAsync("resume", Run);
        Assert.Equal((0, ""), (resumed.Code, resumed.Error));
        Assert.Equal("FINISHED", Assert.Single(server.Runs).Status);
        RequireAll(server.Runs[0]);
        Assert.Equal(0, (await CommandLine.RunAsync("resume", Run)).Code);
        RequireAll(Assert.Single(server.Runs));
        Assert.Empty(server.Faults);
    }

    [Fact]
    public async Task A_request_that_was_taken_and_not_answered_is_not_sent_twice()
    {
        await using var server = new MlflowStandIn { Unanswered = 1 };

        var run = await SimulateAsync(server.Url, rounds: 12);

        Assert.Equal(0, run.Code);
        Assert.True(server.Unanswered < 1);
        RequireAll(Assert.Single(server.Runs));
        Assert.Empty(server.Faults);
    }

    [Fact]
    public async Task A_server_that_is_away_at_the_start_has_every_point_in_the_end()
    {
        var refused = 0;
        await using var server = new MlflowStandIn();
        server.Instead = context => refused++ < 3 && MlflowStandIn.Answer(context, 503, "", "text/plain", "Retry-After", "0");

        var run = await SimulateAsync(server.Url, rounds: 12);

        Assert.Equal((0, ""), (run.Code, run.Error));
        RequireAll(Assert.Single(server.Runs));
    }

    [Theory]
    [InlineData(200, "<html>sign in</html>", "text/html", "it answers with 200 and text/html, which is not MLflow's API", true)]
    [InlineData(404, "<html>no</html>", "text/html", "it answers with 404 and text/html, which is not MLflow's API", true)]
    [InlineData(302, "", "text/plain", "it sends requests on to http://elsewhere.example/login; name that server, "
        + "since credentials go to the named one alone", true)]
    [InlineData(403, """{"error_code": "PERMISSION_DENIED", "message": "no\nway"}""", "application/json",
        "403 (Forbidden): PERMISSION_DENIED: no way", true)]
    [InlineData(429, "", "text/plain", "429 (Too Many Requests)", false)]
    [InlineData(503, "<html>busy</html>", "text/html", "503 (Service Unavailable)", false)]
    public async Task Another_answer_than_MLflows_is_one_line(int status, string body, string type, string reason, bool needsSomebody)
    {
        await using var server = new MlflowStandIn();
        var (header, value) = status == 302 ? ("Location", "http://elsewhere.example/login?t=1") : ("Retry-After", "7");
        server.Instead = context => MlflowStandIn.Answer(context, status, body, type, header, value);
        using var http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false });
        var api = new MlflowApi(server.Url, credentials: null, http, TimeSpan.FromSeconds(10));

        var trouble = await Assert.ThrowsAsync<TrackerTroubleException>(
            () => api.GetAsync("runs/get", "run_id", "1", CancellationToken.None));

        Assert.Equal((reason, needsSomebody), (trouble.Message, trouble.NeedsSomebody));
        if (!needsSomebody) Assert.Equal(TimeSpan.FromSeconds(7), trouble.After);
    }

    [Theory]
    [InlineData("localhost:5000", "is no address")]
    [InlineData("me:secret@localhost:5000", "the value is no address")]
    [InlineData("http://me:secret@localhost:5000", "a command line is no place for a password")]
    [InlineData("http://localhost:5000/?a=1", "has no part after ? or #")]
    public async Task An_address_that_cannot_be_one_is_bad_input(string address, string reason)
    {
        var run = await SimulateAsync(address);

        Assert.Equal(2, run.Code);
        Assert.Contains(reason, run.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", run.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Run));
    }

    private Task<CommandResult> SimulateAsync(string server, int rounds = 2) =>
        CommandLine.RunAsync("simulate", _tiny.WritePlan(strategy: $"rounds: {rounds}"), "--out", Run, "--mlflow", server);

    // Every number of the lines is there, once, to the last digit, and nothing else.
    private void RequireAll(StoredRun there, string? folder = null)
    {
        var points = there.Points.ToDictionary(static point => (point.Step, point.Key), static point => point.Value);
        var lines = File.ReadAllLines(Path.Combine(folder ?? Run, "metrics.jsonl"));
        (string Name, string Key)[] spreads =
            [("loss", "loss"), ("score", "score"), ("update norm", "norm"), ("client seconds", "clientSeconds")];
        foreach (var line in lines.Select(static line => JsonDocument.Parse(line).RootElement))
        {
            var (step, summary) = (line.GetProperty("round").GetInt64(), line.GetProperty("summary"));
            Require(step, "seconds", line, "seconds");
            Require(step, "bytes sent", line, "updateBytes");
            Require(step, "agreement", line, "coherence");
            foreach (var (name, key) in spreads)
            {
                if (!summary.TryGetProperty(key, out var spread)) continue;
                foreach (var part in new[] { "mean", "p10", "median", "p90", "worst" }) Require(step, $"{name}/{part}", spread, part);
            }
        }

        Assert.Equal(lines.Length, points.Keys.Select(static key => key.Step).Distinct().Count());

        void Require(long step, string name, JsonElement of, string key)
        {
            var isThere = of.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number;
            Assert.True(isThere == points.ContainsKey((step, name)), string.Create(CultureInfo.InvariantCulture, $"{name} of {step}"));
            if (isThere) Assert.Equal(value.GetDouble(), points[(step, name)]);
        }
    }
}
