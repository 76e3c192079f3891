using System.Net;
using System.Net.ServerSentEvents;
using System.Text.Json;
using FedRLora.ControlPlane.Access;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Several runs in one stream: each as in a stream of its own, whoever is dropped and whatever does not exist.</summary>
public class ManyEventsTests
{
    private const int Rounds = 12;
    private static readonly string[] Runs = ["one", "two"];

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(3)).Token;

    [Fact]
    public async Task A_listener_of_two_runs_that_is_dropped_goes_on_in_both_and_at_another_silo_without_a_lost_or_doubled_round()
    {
        var trainer = new FakeTrainer();
        var gates = new Dictionary<int, TaskCompletionSource> { [4] = new(), [8] = new() }; // until the listener has seen the rounds before
        trainer.BeforeTraining = (group, token) =>
            gates.TryGetValue(group.Round, out var gate) ? gate.Task.WaitAsync(token) : Task.CompletedTask;
        await using var silos = await ControlledFederation.StartAsync(
            federation: await TestFederation.StartAsync(["*", "*", "*"], trainer));
        await using var proxy = new TcpProxy(silos.Servers[0].Address);
        foreach (var run in Runs)
            await silos.Operator.SubmitAsync(TestFederation.Plan(clients: 1, rounds: Rounds), run).ReadAsync(HttpStatusCode.Created);
        using var listener = new HttpClient { BaseAddress = proxy.Address };
        listener.DefaultRequestHeaders.Authorization = new("Bearer", TokenFiles.Read(TokenFiles.ViewerOf(silos.TokenFile)));
        var heard = Runs.ToDictionary(static run => run, static _ => new List<int>());
        var (snapshots, last) = (new List<string>(), (string?)null);

        while (!heard.Values.All(static rounds => rounds.Contains(Rounds)))
        {
            try
            {
                await foreach (var (one, run, data) in EventsAsync(listener, "?run=one&run=two", last, InTime))
                {
                    last = one.EventId is { Length: > 0 } id ? id : last;
                    if (one.EventType == "round") heard[run!].Add(data.GetProperty("round").GetInt32());
                    if (one.EventType == "snapshot")
                    {
                        snapshots.Add(run!);
                        heard[run!].AddRange(data.GetProperty("rounds").EnumerateArray()
                            .Select(static round => round.GetProperty("round").GetInt32()));
                    }

                    var next = gates.Where(static gate => !gate.Value.Task.IsCompleted).Select(static gate => gate.Key).Order()
                        .FirstOrDefault();
                    if (next == 0 && heard.Values.All(static rounds => rounds.Contains(Rounds))) break;
                    if (next == 0 || !heard.Values.All(rounds => rounds.Contains(next - 1))) continue;
                    if (next == 4) proxy.Cut();
                    else await silos.KillAsync(0); // the silo behind the stream, which may run the jobs too
                    proxy.Target = silos.Servers[^1].Address;
                    gates[next].SetResult();
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException)
            {
                // dropped: again, from where it was
            }
        }

        Assert.All(heard.Values, static rounds => Assert.Equal(Enumerable.Range(0, Rounds + 1), rounds));
        Assert.Equal(Runs, snapshots.Order(StringComparer.Ordinal)); // the first of each, which every listener without an id gets
    }

    [Fact]
    public async Task A_run_that_is_not_there_is_said_once_and_holds_up_no_other()
    {
        await using var silos = await ControlledFederation.StartAsync();
        await silos.Federation.RunAsync("one", TestFederation.Plan(rounds: 2), InTime);

        var (told, ids) = (new Dictionary<string, string>(), new List<string>());
        await foreach (var (one, run, data) in EventsAsync(silos.Viewer, "?run=none&run=one&run=%3Cscript%3E", last: null, InTime))
        {
            told[run!] = one.EventType == "gone" ? data.GetString()! : one.EventType;
            if (one.EventId is { Length: > 0 } id) ids.Add(id);
            if (told.Count == 3) break;
        }

        Assert.Equal(("snapshot", true, true), (told["one"],
            told["none"].Contains("There is no run none", StringComparison.Ordinal),
            told["<script>"].Contains("There is no run", StringComparison.Ordinal)));
        Assert.StartsWith("one=", Assert.Single(ids), StringComparison.Ordinal);
        var rest = new List<string>();
        await foreach (var (one, _, _) in EventsAsync(silos.Viewer, "?run=none&run=neither", last: null, InTime)) rest.Add(one.EventType);
        Assert.Equal(["gone", "gone"], rest); // and nothing more can come
    }

    [Fact]
    public async Task A_first_connection_goes_on_from_the_id_in_its_address_and_a_later_one_from_the_last_event_s()
    {
        await using var silos = await ControlledFederation.StartAsync();
        await silos.Federation.RunAsync("one", TestFederation.Plan(rounds: 2), InTime);
        await silos.Federation.RunAsync("two", TestFederation.Plan(rounds: 2), InTime);
        var both = await FirstIdAsync("?run=one&run=two", null, events: 2);
        Assert.Matches("^one=[^;=]+;two=[^;=]+$", both);
        var of = both.Split(';');

        // of run one all is known, of run two nothing
        Assert.Equal(("two", "snapshot"), await FirstAsync($"?run=one&run=two&after={of[0]}", null));
        Assert.Equal(("one", "snapshot"), await FirstAsync($"?run=one&run=two&after={of[0]}", of[1]));
        Assert.Equal(both, await FirstIdAsync($"?run=one&run=two&after={of[0]}", null, events: 1)); // what was known is not forgotten

        async Task<(string?, string)> FirstAsync(string query, string? last)
        {
            await foreach (var (one, run, _) in EventsAsync(silos.Viewer, query, last, InTime)) return (run, one.EventType);
            throw new InvalidOperationException("There is no event.");
        }

        async Task<string> FirstIdAsync(string query, string? last, int events)
        {
            await foreach (var (one, _, _) in EventsAsync(silos.Viewer, query, last, InTime))
                if (--events == 0) return one.EventId!;
            throw new InvalidOperationException("There is no event.");
        }
    }

    [Fact]
    public async Task A_stream_is_of_one_to_thirty_two_runs()
    {
        await using var silos = await ControlledFederation.StartAsync();
        foreach (var query in new[] { "", "?" + string.Join('&', Enumerable.Range(0, 33).Select(static run => $"run=r{run}")) })
        {
            Assert.Contains("give from 1 to 32",
                await silos.Viewer.GetAsync("/v1/events" + query).RefusalAsync(HttpStatusCode.BadRequest), StringComparison.Ordinal);
        }
    }

    private static async IAsyncEnumerable<(SseItem<string> One, string? Run, JsonElement Data)> EventsAsync(
        HttpClient client, string query, string? last,
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken token)
    {
        using var asked = new HttpRequestMessage(HttpMethod.Get, "/v1/events" + query);
        if (last is not null) asked.Headers.TryAddWithoutValidation("Last-Event-ID", last);
        using var answer = await client.SendAsync(asked, HttpCompletionOption.ResponseHeadersRead, token);
        Assert.Equal("text/event-stream", answer.EnsureSuccessStatusCode().Content.Headers.ContentType!.MediaType);
        await foreach (var one in SseParser.Create(await answer.Content.ReadAsStreamAsync(token)).EnumerateAsync(token))
        {
            var content = JsonDocument.Parse(one.Data).RootElement;
            Assert.Equal(1, content.GetProperty("schema").GetInt32());
            var run = content.TryGetProperty("run", out var named) ? named.GetString() : null;
            yield return (one, run, content.TryGetProperty(one.EventType == "gone" ? "error" : "data", out var data) ? data : default);
        }
    }
}
