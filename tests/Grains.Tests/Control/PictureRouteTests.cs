using System.Net;
using System.Runtime.InteropServices;
using System.Text.Json;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Pictures and tables of a whole run say what its lines say, to the last digit.</summary>
public class PictureRouteTests
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(2)).Token;

    [Fact]
    public async Task A_grid_a_task_and_a_client_say_what_the_lines_of_the_rounds_say()
    {
        var trainer = new FakeTrainer();
        trainer.Afterwards = static (group, result) => (group.Round, result.ClientId) is (1, "c00001") // no number: refused, and no 0
            ? result with { Numbers = result.Numbers with { MeanLoss = double.NaN } } : result;
        trainer.Unscorable.Add("c00002");
        await using var silos = await ControlledFederation.StartAsync(
            federation: await TestFederation.StartAsync(["north", "south"], trainer, mostClientsInMessage: 8));
        await silos.Operator.SubmitAsync(Plan(rounds: 3, "  quorum: 0.5\n  quarantine: {after: 1, rounds: 1}"))
            .ReadAsync(HttpStatusCode.Created);
        Assert.Equal(JobStatus.Finished, (await silos.Federation.FinishAsync("test", InTime)).Status);
        var lines = (await silos.Viewer.GetStringAsync("/v1/runs/test/metrics?format=jsonl", InTime))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => JsonDocument.Parse(line).RootElement).ToList();

        foreach (var (value, key) in new[] { ("loss", "meanLoss"), ("score", "score"), ("seconds", "clientSeconds") })
        {
            var grid = await silos.Viewer.GetAsync($"/v1/runs/test/grid?value={value}").ReadAsync();
            Assert.Equal([0, 1, 2, 3], grid.GetProperty("rounds").EnumerateArray().Select(static round => round.GetInt32()));
            Assert.Equal(value == "score", grid.TryGetProperty("metric", out _));
            var numbers = MemoryMarshal.Cast<byte, float>(grid.GetProperty("values").GetBytesFromBase64()).ToArray();
            var expected = lines.SelectMany(static line => line.GetProperty("clients").EnumerateArray())
                .Select(row => row.TryGetProperty(key, out var number) ? (float)number.GetDouble() : float.NaN);
            Assert.Equal(expected, numbers);
        }

        var outcomes = (await silos.Viewer.GetAsync("/v1/runs/test/grid").ReadAsync()).GetProperty("outcomes").EnumerateArray()
            .Select(static round => round.GetString()).ToList();
        Assert.Equal(("ssns", "trtt"), (outcomes[0], outcomes[1])); // one cannot be scored, and nobody trains in round 0
        Assert.Contains('q', outcomes[2]!);
        Assert.Equal(2, (await silos.Viewer.GetAsync("/v1/runs/test/grid?after=1").ReadAsync()).GetProperty("rounds").GetArrayLength());
        var north = (await silos.Viewer.GetAsync("/v1/runs/test/grid").ReadAsync()).GetProperty("clients")[2];
        Assert.Equal(("c00002", "t0", "north"),
            (north.GetProperty("client").GetString(), north.GetProperty("task").GetString(), north.GetProperty("site").GetString()));

        var tasks = (await silos.Viewer.GetAsync("/v1/runs/test/tasks?task=t0&task=t1").ReadAsync()).GetProperty("tasks");
        foreach (var task in tasks.EnumerateArray())
        {
            Assert.Equal(2, task.GetProperty("clients").GetInt32());
            foreach (var (round, line) in task.GetProperty("rounds").EnumerateArray().Zip(lines))
            {
                var summed = line.GetProperty("summary").GetProperty("tasks").EnumerateArray()
                    .Single(one => one.GetProperty("task").GetString() == task.GetProperty("task").GetString());
                foreach (var key in new[] { "trained", "metric", "loss", "score" })
                    Assert.Equal(summed.GetProperty(key).GetRawText(), round.GetProperty(key).GetRawText());
            }
        }

        var client = await silos.Viewer.GetAsync("/v1/runs/test/clients/c00001/rounds").ReadAsync();
        Assert.Equal(lines.Select(static line => line.GetProperty("clients")[1].GetRawText()),
            client.GetProperty("rounds").EnumerateArray().Select(static row => row.GetRawText()));
        var result = await silos.Viewer.GetAsync("/v1/runs/test/result").ReadAsync();
        Assert.Equal(lines[^1].GetProperty("sha256").GetString(), result.GetProperty("digest").GetString());
        Assert.Equal(lines[^1].GetProperty("clients")[0].GetProperty("score").GetRawText(),
            result.GetProperty("clients")[0].GetProperty("federated").GetRawText());
    }

    [Fact]
    public async Task A_run_at_round_0_has_pictures_of_what_is_there()
    {
        var trainer = new FakeTrainer { BeforeTraining = static (_, token) => Task.Delay(Timeout.Infinite, token) };
        await using var silos = await ControlledFederation.StartAsync(
            federation: await TestFederation.StartAsync(["north", "south"], trainer));
        await silos.Operator.SubmitAsync(Plan(rounds: 3)).ReadAsync(HttpStatusCode.Created);
        while (await silos.Federation.Coordinator("test").GetProgressAsync(-1, InTime) is not { NewRounds.Count: 1 }) await Task.Yield();

        var view = await silos.Viewer.GetAsync("/v1/runs/test").ReadAsync();
        var grid = await silos.Viewer.GetAsync("/v1/runs/test/grid?value=loss").ReadAsync();
        var result = await silos.Viewer.GetAsync("/v1/runs/test/result").ReadAsync();
        var tasks = await silos.Viewer.GetAsync("/v1/runs/test/tasks?task=t1").ReadAsync();

        var round = view.GetProperty("rounds")[0];
        var loss = round.GetProperty("loss");
        Assert.Equal((0, 0), (loss.GetProperty("n").GetInt32(), loss.GetProperty("leftOut").GetInt32()));
        Assert.Equal(1, round.GetProperty("timing").GetProperty("attempts").GetInt32());
        Assert.False(round.GetProperty("timing").TryGetProperty("closedBy", out _));
        Assert.All(MemoryMarshal.Cast<byte, float>(grid.GetProperty("values").GetBytesFromBase64()).ToArray(),
            static number => Assert.Equal(float.NaN, number));
        Assert.Equal("ssss", grid.GetProperty("outcomes")[0].GetString());
        Assert.Equal(("running", 0), (result.GetProperty("status").GetString(), result.GetProperty("round").GetInt32()));
        Assert.False(result.GetProperty("clients")[0].TryGetProperty("federated", out _));
        Assert.Equal(0, tasks.GetProperty("tasks")[0].GetProperty("rounds")[0].GetProperty("trained").GetInt32());
    }

    [Fact]
    public async Task What_is_not_there_is_refused_by_name()
    {
        await using var silos = await ControlledFederation.StartAsync();
        await silos.Federation.RunAsync("test", TestFederation.Plan(clients: 2, rounds: 1), InTime);

        Assert.Contains("give loss, score or seconds",
            await silos.Viewer.GetAsync("/v1/runs/test/grid?value=norm").RefusalAsync(HttpStatusCode.BadRequest), StringComparison.Ordinal);
        Assert.Contains("give from 1 to 32",
            await silos.Viewer.GetAsync("/v1/runs/test/tasks").RefusalAsync(HttpStatusCode.BadRequest), StringComparison.Ordinal);
        Assert.Contains("no task t7",
            await silos.Viewer.GetAsync("/v1/runs/test/tasks?task=t7").RefusalAsync(HttpStatusCode.NotFound), StringComparison.Ordinal);
        Assert.Contains("no client x",
            await silos.Viewer.GetAsync("/v1/runs/test/clients/x/rounds").RefusalAsync(HttpStatusCode.NotFound), StringComparison.Ordinal);
        foreach (var route in new[] { "grid", "tasks?task=a", "result", "clients/x/rounds" })
            await silos.Viewer.GetAsync($"/v1/runs/none/{route}").RefusalAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_path_that_takes_other_methods_names_them_and_each_GET_has_its_HEAD()
    {
        await using var silos = await ControlledFederation.StartAsync();
        await silos.Federation.RunAsync("test", TestFederation.Plan(clients: 1, rounds: 1), InTime);
        foreach (var (method, path, allowed) in new[]
        {
            ("DELETE", "/v1/runs", "GET, HEAD, POST"), ("PUT", "/v1/runs/test", "GET, HEAD"), ("GET", "/v1/runs/test/pause", "POST"),
            ("HEAD", "/v1/runs/test/pause", "POST"),
        })
        {
            using var refused = await silos.Nobody.SendAsync(new(new(method), path));
            Assert.Equal((HttpStatusCode.MethodNotAllowed, allowed),
                (refused.StatusCode, string.Join(", ", refused.Content.Headers.Allow.Order(StringComparer.Ordinal))));
            var said = await refused.Content.ReadAsStringAsync();
            if (method != "HEAD") Assert.Contains(allowed.Split(", ")[0], said, StringComparison.Ordinal);
        }

        foreach (var path in new[]
        {
            "/v1/runs", "/v1/runs/test/events", "/v1/events?run=test", "/v1/runs/test/rounds", "/v1/runs/none", "/nowhere",
        })
        {
            using var got = await silos.Viewer.SendAsync(new(HttpMethod.Get, path), HttpCompletionOption.ResponseHeadersRead);
            using var head = await silos.Viewer.SendAsync(new(HttpMethod.Head, path));
            Assert.Equal((got.StatusCode, got.Content.Headers.ContentType), (head.StatusCode, head.Content.Headers.ContentType));
            Assert.Empty(await head.Content.ReadAsByteArrayAsync());
        }
    }

    private static string Plan(int rounds, string strategy = "") => TestFederation.Plan(
        clients: 4, rounds: rounds, more: "training: {groupSize: 1}", strategy: strategy, site: static i => i < 2 ? "south" : "north");
}
