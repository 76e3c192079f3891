using System.Net;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Any page in a browser of the machine can reach loopback: what it sends is refused, and nothing changes.</summary>
public class RequestCheckTests(OneControlledSilo one) : IClassFixture<OneControlledSilo>
{
    [Theory]
    [InlineData("evil.example")]
    [InlineData("evil.example:8470")]
    [InlineData("127.0.0.1.evil.example")]
    [InlineData("10.0.0.1")]
    [InlineData("localhost.evil.example")]
    [InlineData("2130706433.evil")]
    public async Task A_host_of_elsewhere_is_misdirected(string host)
    {
        var silos = one.Silos;
        foreach (var path in new[] { "/health/live", "/v1/runs", "/", "/v1/runs/test/events", "/nowhere" })
        {
            using var asked = new HttpRequestMessage(HttpMethod.Get, path) { Headers = { Host = host } };
            await silos.Operator.SendAsync(asked).RefusalAsync(HttpStatusCode.MisdirectedRequest);
        }
    }

    [Fact]
    public async Task The_names_of_loopback_are_this_server_s_with_whatever_port_a_proxy_has()
    {
        var silos = one.Silos;
        foreach (var host in new[] { "localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:80", "127.8.9.10" })
        {
            using var asked = new HttpRequestMessage(HttpMethod.Get, "/health/live") { Headers = { Host = host } };
            using var answer = await silos.Nobody.SendAsync(asked);
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        }
    }

    [Theory]
    [InlineData("http://evil.example")]
    [InlineData("null")]
    [InlineData("http://localhost:1")]
    [InlineData("https://127.0.0.1")]
    public async Task A_page_of_another_origin_may_neither_read_nor_steer(string origin)
    {
        var silos = one.Silos;
        var run = Identifiers.Of(origin);
        await silos.Operator.SubmitAsync(TestFederation.Plan(rounds: 1), run).ReadAsync(HttpStatusCode.Created);
        foreach (var (method, path) in new[]
        {
            (HttpMethod.Get, "/v1/runs"), (HttpMethod.Get, $"/v1/runs/{run}/events"), (HttpMethod.Post, $"/v1/runs/{run}/cancel"),
            (HttpMethod.Get, "/"), (HttpMethod.Options, "/v1/runs"),
        })
        {
            using var asked = new HttpRequestMessage(method, path) { Headers = { { "Origin", origin } } };
            if (method == HttpMethod.Post) asked.Content = new StringContent("{}", Encoding.UTF8, "application/json");
            await silos.Operator.SendAsync(asked).RefusalAsync(HttpStatusCode.Forbidden);
        }

        var finished = await silos.Federation.FinishAsync(run, CancellationToken.None);
        Assert.Equal(Abstractions.Messages.JobStatus.Finished, finished.Status);
    }

    [Fact]
    public async Task The_server_s_own_pages_may()
    {
        var silos = one.Silos;
        using var asked = new HttpRequestMessage(HttpMethod.Get, "/v1/runs");
        asked.Headers.Add("Origin", silos.Servers[0].Address.GetLeftPart(UriPartial.Authority));
        await silos.Operator.SendAsync(asked).ReadAsync();
    }

    [Theory]
    [InlineData("text/plain")]
    [InlineData("application/x-www-form-urlencoded")]
    [InlineData("multipart/form-data; boundary=x")]
    [InlineData("application/json-seq")]
    [InlineData(null)]
    public async Task What_a_form_can_post_is_no_call(string? type)
    {
        var silos = one.Silos;
        foreach (var caller in new[] { silos.Operator, silos.Nobody })
        {
            using var content = new ByteArrayContent("{}"u8.ToArray());
            if (type is not null) content.Headers.TryAddWithoutValidation("Content-Type", type);
            await caller.PostAsync("/v1/runs/test/cancel", content).RefusalAsync(HttpStatusCode.UnsupportedMediaType);
        }
    }

    [Fact]
    public async Task An_empty_body_is_no_call()
    {
        var silos = one.Silos;
        foreach (var caller in new[] { silos.Operator, silos.Nobody })
            await caller.PostJsonAsync("/v1/runs/test/cancel", "").RefusalAsync(HttpStatusCode.BadRequest);
    }

    [Theory]
    [InlineData("{", "body: no JSON: ")]
    [InlineData("[]", "body: ")]
    [InlineData("{}", "body: plan: missing")]
    [InlineData("""{"plan": 3}""", "body: plan: not a value of its kind")]
    [InlineData("""{"plan": null}""", "body: plan: not a value of its kind")]
    [InlineData("""{"plan": "name: x", "rnu": "y"}""", "body: rnu: unknown key")]
    [InlineData("""{"plan": "name: x", "run": "../y"}""", "plan:1:1: model: missing")]
    public async Task A_body_that_is_wrong_is_told_by_its_key(string body, string start)
    {
        var silos = one.Silos;
        Assert.StartsWith(start, await silos.Operator.PostJsonAsync("/v1/runs", body).RefusalAsync(HttpStatusCode.BadRequest));
    }

    [Fact]
    public async Task A_name_that_is_no_name_reaches_no_store()
    {
        var silos = one.Silos;
        var refusal = await silos.Operator.SubmitAsync(TestFederation.Plan(), "../../x").RefusalAsync(HttpStatusCode.BadRequest);
        Assert.StartsWith("run: \"../../x\" is not a name", refusal);
        foreach (var run in new[] { "..%2F..%2Fetc", "%2e%2e", "%20", "<script>", new string('a', 65) })
            await silos.Operator.GetAsync($"/v1/runs/{run}/plan").RefusalAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_body_beyond_every_plan_is_refused_before_it_is_read()
    {
        var silos = one.Silos;
        using var asked = new HttpRequestMessage(HttpMethod.Post, "/v1/runs")
        {
            Content = new StringContent($$"""{"plan": "{{new string('x', 17 << 20)}}"}""", Encoding.UTF8, "application/json"),
        };
        asked.Headers.ExpectContinue = true;
        await silos.Operator.SendAsync(asked).RefusalAsync(HttpStatusCode.RequestEntityTooLarge);
    }
}
