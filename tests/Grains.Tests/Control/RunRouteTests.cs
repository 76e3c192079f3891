using System.Formats.Tar;
using System.Net;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Runs as callers of the API begin, steer and fetch them, whichever silo they ask.</summary>
public class RunRouteTests
{
    private static readonly string[] Sites = ["north", "south"];

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(2)).Token;

    private static string Plan(int rounds = 2) => TestFederation.Plan(clients: 4, rounds: rounds, site: static i => Sites[i % 2]);

    [Fact]
    public async Task A_run_is_begun_once_and_told_by_every_silo()
    {
        await using var silos = await ControlledFederation.StartAsync(Sites);
        var begun = await silos.Operator.SubmitAsync(Plan()).ReadAsync(HttpStatusCode.Created);
        Assert.Equal(("test", 1), (begun.GetProperty("run").GetString(), begun.GetProperty("schema").GetInt32()));
        await silos.Operator.SubmitAsync(Plan()).ReadAsync(HttpStatusCode.Created); // the same plan again changes nothing
        Assert.Contains("another plan", await silos.Operator.SubmitAsync(Plan(rounds: 3)).RefusalAsync(HttpStatusCode.BadRequest),
            StringComparison.Ordinal);
        var digest = (await silos.Federation.FinishAsync("test", InTime)).NewRounds[^1].ManifestSha256;

        foreach (var silo in new[] { 0, 1 })
        {
            using var viewer = silos.As(ControlPlane.Access.TokenFiles.Read(silos.TokenFile + ".viewer"), silo);
            Assert.Equal(Plan(), await viewer.GetStringAsync("/v1/runs/test/plan", InTime));
            var line = (await viewer.GetAsync("/v1/runs").ReadAsync()).GetProperty("runs").EnumerateArray().Single();
            Assert.Equal(("finished", 2), (line.GetProperty("status").GetString(), line.GetProperty("committed").GetInt32()));
            var view = await viewer.GetAsync("/v1/runs/test").ReadAsync();
            Assert.Equal(digest, view.GetProperty("state").GetProperty("sha256").GetString());
            var rounds = (await viewer.GetStringAsync("/v1/runs/test/rounds", InTime)).Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(static text => RoundLine.Parse(text, "answer")).ToList();
            Assert.Equal([0, 1, 2], rounds.Select(static round => round.Manifest.Round));
            Assert.Equal(digest, rounds[^1].ManifestSha256);
            Assert.Single((await viewer.GetStringAsync("/v1/runs/test/rounds?after=1", InTime)).Trim().Split('\n'));
        }
    }

    [Fact]
    public async Task A_run_is_paused_resumed_extended_forked_and_cancelled()
    {
        var trainer = new FakeTrainer();
        var open = new TaskCompletionSource();
        trainer.BeforeTraining = (group, token) => group.Round == 2 ? open.Task.WaitAsync(token) : Task.CompletedTask;
        await using var silos = await ControlledFederation.StartAsync(federation: await TestFederation.StartAsync(Sites, trainer));
        await silos.Operator.SubmitAsync(Plan()).ReadAsync(HttpStatusCode.Created);

        Assert.Equal("paused", await StatusAsync("/v1/runs/test/pause", "{}"));
        open.SetResult();
        Assert.Equal("running", await StatusAsync("/v1/runs/test/resume", "{}"));
        await silos.Federation.FinishAsync("test", InTime);
        await silos.Operator.PostJsonAsync("/v1/runs/test/pause", "{}").RefusalAsync(HttpStatusCode.Conflict);
        await silos.Operator.PostJsonAsync("/v1/runs/test/extend", """{"rounds": 2}""").RefusalAsync(HttpStatusCode.Conflict);
        await StatusAsync("/v1/runs/test/extend", """{"rounds": 4}""");
        Assert.Equal(4, (await silos.Federation.FinishAsync("test", InTime)).NewRounds[^1].Manifest.Round);
        var forked = await silos.Operator.PostJsonAsync("/v1/runs/test/fork",
            """{"round": 4, "run": "other", "set": ["strategy.rounds=6"]}""").ReadAsync(HttpStatusCode.Created);
        Assert.Equal("other", forked.GetProperty("run").GetString());
        Assert.Equal(JobStatus.Finished, (await silos.Federation.FinishAsync("other", InTime)).Status);
        await silos.Operator.PostJsonAsync("/v1/runs/none/cancel", "{}").RefusalAsync(HttpStatusCode.NotFound);

        async Task<string?> StatusAsync(string path, string body) =>
            (await silos.Operator.PostJsonAsync(path, body).ReadAsync()).GetProperty("status").GetString();
    }

    [Fact]
    public async Task What_a_run_has_made_is_fetched_through_a_silo_of_another_site()
    {
        await using var silos = await ControlledFederation.StartAsync(Sites);
        await silos.Operator.SubmitAsync(Plan()).ReadAsync(HttpStatusCode.Created);
        await silos.Federation.FinishAsync("test", InTime);

        foreach (var client in new[] { "c00000", "c00001" }) // one of each site
        {
            await using var archive = await silos.Operator.GetStreamAsync($"/v1/runs/test/clients/{client}/adapter", InTime);
            await using var tar = new TarReader(archive);
            var files = new List<string>();
            while (await tar.GetNextEntryAsync(cancellationToken: InTime) is { } entry)
            {
                using var content = new MemoryStream();
                await entry.DataStream!.CopyToAsync(content, InTime);
                Assert.Equal(entry.Length, content.Length);
                files.Add(entry.Name);
            }

            Assert.Equal(["adapter_model.safetensors", "adapter_config.json"], files);
        }

        var scored = await silos.Operator.PostJsonAsync("/v1/runs/test/evaluate", "{}").ReadAsync();
        Assert.Equal(4, scored.GetProperty("clients").GetArrayLength());
        Assert.All(scored.GetProperty("clients").EnumerateArray(), static one => Assert.True(one.GetProperty("equal").GetBoolean()));
        var verified = await silos.Viewer.GetAsync("/v1/runs/test/verification").ReadAsync();
        Assert.True(verified.GetProperty("intact").GetBoolean());
        Assert.StartsWith("round,client,task,", await silos.Viewer.GetStringAsync("/v1/runs/test/metrics", InTime),
            StringComparison.Ordinal);
        Assert.StartsWith("<!DOCTYPE html>", await silos.Viewer.GetStringAsync("/v1/runs/test/report", InTime), StringComparison.Ordinal);
        var sites = (await silos.Viewer.GetAsync("/v1/sites").ReadAsync()).GetProperty("sites").EnumerateArray().ToList();
        Assert.Equal(Sites, sites.Select(static site => site.GetProperty("site").GetString()));
        Assert.Equal(2, (await silos.Viewer.GetAsync("/v1/silos").ReadAsync()).GetProperty("silos").GetArrayLength());
        var said = await silos.Viewer.GetAsync("/v1/runs/test/logs").ReadAsync();
        Assert.NotEqual(0, said.GetProperty("lines").GetArrayLength());
        var later = await silos.Viewer.GetAsync($"/v1/runs/test/logs?after={said.GetProperty("next").GetString()}").ReadAsync();
        Assert.Equal(0, later.GetProperty("lines").GetArrayLength());
        Assert.Contains("has been scored", await silos.Operator.GetAsync("/v1/runs/test/clients/c00001/row-scores")
            .RefusalAsync(HttpStatusCode.NotFound), StringComparison.Ordinal);
        foreach (var path in new[] { "adapter", "row-scores", "steps" })
            await silos.Operator.GetAsync($"/v1/runs/test/clients/nobody/{path}").RefusalAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_text_comes_piece_by_piece_and_says_that_it_has_ended()
    {
        await using var silos = await ControlledFederation.StartAsync(Sites);
        await silos.Operator.SubmitAsync(Plan()).ReadAsync(HttpStatusCode.Created);
        await silos.Federation.FinishAsync("test", InTime);

        using var answer = await silos.Operator.PostJsonAsync("/v1/runs/test/clients/c00001/generate", """{"prompt": "once"}""");
        var text = await answer.Content.ReadAsStringAsync(InTime);
        Assert.Contains("event: piece\n", text, StringComparison.Ordinal);
        Assert.EndsWith("event: end\ndata: {\"text\":\"\"}\n\n", text, StringComparison.Ordinal);
        foreach (var body in new[]
        {
            """{"prompt": "x", "topP": 0}""", """{"prompt": "x", "maxNewTokens": 0}""", """{"prompt": "x", "stop": [""]}""",
        })
            await silos.Operator.PostJsonAsync("/v1/runs/test/clients/c00001/generate", body).RefusalAsync(HttpStatusCode.BadRequest);
    }

    [Fact]
    public async Task Values_out_of_range_and_nulls_in_lists_are_refused_and_hold_up_nobody()
    {
        await using var silos = await ControlledFederation.StartAsync(Sites);
        await silos.Operator.SubmitAsync(Plan()).ReadAsync(HttpStatusCode.Created);
        await silos.Federation.FinishAsync("test", InTime);

        foreach (var after in new[] { "-2147483648", "-5", "abc", "99999999999" })
            await silos.Viewer.GetAsync($"/v1/runs/test/rounds?after={after}").RefusalAsync(HttpStatusCode.BadRequest);
        foreach (var (path, body) in new[]
        {
            ("fork", """{"round": 1, "run": "b", "set": [null]}"""), ("fork", """{"round": 1, "run": "test"}"""),
            ("extend", """{"rounds": -1}"""), ("evaluate", """{"clients": [null]}"""), ("evaluate", """{"clients": []}"""),
            ("clients/c00001/generate", """{"prompt": "x", "stop": [null]}"""), ("pause", "[]"),
        })
        {
            var refusal = await silos.Operator.PostJsonAsync($"/v1/runs/test/{path}", body).RefusalAsync(HttpStatusCode.BadRequest);
            Assert.DoesNotContain("Exception", refusal, StringComparison.Ordinal);
        }

        var progress = await silos.Federation.Coordinator("test").GetProgressAsync(int.MinValue, InTime);
        Assert.Equal([0, 1, 2], progress!.NewRounds.Select(static round => round.Manifest.Round));
    }

    [Fact]
    public async Task An_address_lets_one_browser_in_and_its_cookie_is_no_token()
    {
        await using var silos = await ControlledFederation.StartAsync();
        var address = silos.Servers[0].EntranceAddress();
        using var entered = await silos.Nobody.GetAsync(address);
        var cookie = entered.Headers.GetValues("Set-Cookie").Single().Split(';')[0];

        Assert.Equal(HttpStatusCode.Redirect, entered.StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await silos.Nobody.GetAsync(address)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await AsBrowserAsync(cookie)).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await AsBrowserAsync(cookie + "x")).StatusCode);
        using var thief = silos.As(cookie.Split('=', 2)[1]);
        await thief.GetAsync("/v1/runs").RefusalAsync(HttpStatusCode.Unauthorized);
        var token = ControlPlane.Access.TokenFiles.Read(silos.TokenFile);
        Assert.Equal(HttpStatusCode.Unauthorized, (await AsBrowserAsync($"{cookie.Split('=', 2)[0]}={token}")).StatusCode);

        async Task<HttpResponseMessage> AsBrowserAsync(string sent)
        {
            using var asked = new HttpRequestMessage(HttpMethod.Get, "/") { Headers = { { "Cookie", sent } } };
            return await silos.Nobody.SendAsync(asked);
        }
    }

    [Fact]
    public async Task A_server_that_is_there_for_one_run_begins_no_other()
    {
        await using var silos = await ControlledFederation.StartAsync(isOfOneRun: true);
        await silos.Federation.RunAsync("test", TestFederation.Plan(), InTime);
        await silos.Operator.SubmitAsync(TestFederation.Plan(), "other").RefusalAsync(HttpStatusCode.Conflict);
        await silos.Operator.PostJsonAsync("/v1/runs/test/extend", """{"rounds": 9}""").RefusalAsync(HttpStatusCode.Conflict);
        await silos.Operator.PostJsonAsync("/v1/runs/test/fork", """{"round": 1, "run": "b"}""").RefusalAsync(HttpStatusCode.Conflict);
        Assert.Equal(1, (await silos.Viewer.GetAsync("/v1/runs").ReadAsync()).GetProperty("runs").GetArrayLength());
    }
}
