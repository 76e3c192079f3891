using System.Net;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Runs side by side, whichever silo is asked and at whichever sites the rows are.</summary>
public class CompareRouteTests
{
    private static readonly string[] Sites = ["north", "south"];

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(2)).Token;

    private static string Plan => TestFederation.Plan(clients: 4, rounds: 2, site: static i => Sites[i % 2]);

    [Fact]
    public async Task Runs_are_compared_with_the_first_that_is_named()
    {
        await using var silos = await ControlledFederation.StartAsync(Sites);
        await silos.Operator.SubmitAsync(Plan).ReadAsync(HttpStatusCode.Created);
        await silos.Federation.FinishAsync("test", InTime);
        await silos.Operator.PostJsonAsync("/v1/runs/test/fork", """{"round": 1, "run": "other", "set": ["strategy.rounds=3"]}""")
            .ReadAsync(HttpStatusCode.Created);
        var forked = await silos.Federation.FinishAsync("other", InTime);

        var compared = await silos.Viewer.GetAsync("/v1/compare?run=test&run=other").ReadAsync();

        Assert.Equal(["test", "other"],
            compared.GetProperty("runs").EnumerateArray().Select(static run => run.GetProperty("run").GetString()));
        Assert.Equal(forked.NewRounds[^1].ManifestSha256, compared.GetProperty("runs")[1].GetProperty("sha256").GetString());
        Assert.Equal(0, compared.GetProperty("runs")[1].GetProperty("partsIn").GetInt32());
        Assert.Equal("strategy.rounds", compared.GetProperty("plan")[0].GetProperty("key").GetString());
        Assert.Equal(4, compared.GetProperty("clients").GetArrayLength());
        foreach (var query in new[] { "", "?run=test", "?run=test&run=test" })
            await silos.Viewer.GetAsync($"/v1/compare{query}").RefusalAsync(HttpStatusCode.BadRequest);
        await silos.Viewer.GetAsync("/v1/compare?run=test&run=none").RefusalAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_value_of_a_fork_that_is_wrong_is_named_by_its_key_and_by_no_line_of_a_text_that_nobody_sent()
    {
        await using var silos = await ControlledFederation.StartAsync(Sites);
        await silos.Operator.SubmitAsync(Plan).ReadAsync(HttpStatusCode.Created);

        var refusal = await silos.Operator.PostJsonAsync("/v1/runs/test/fork",
            """{"round": 0, "run": "b", "set": ["training.steps=ten"]}""").RefusalAsync(HttpStatusCode.BadRequest);

        Assert.StartsWith("set training.steps=ten: training.steps: ", refusal, StringComparison.Ordinal);
    }
}
