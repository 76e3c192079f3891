using System.Net.ServerSentEvents;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Access;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Listeners over HTTP: many of them, slow ones, and those whose connection or silo goes away.</summary>
public class ListenerTests
{
    private const int Rounds = 30;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(3)).Token;

    [Fact]
    public async Task A_listener_that_is_dropped_goes_on_through_a_proxy_and_at_another_silo_without_a_lost_or_doubled_round()
    {
        var trainer = new FakeTrainer();
        var paused = new SemaphoreSlim(0);
        trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Round % 5 == 0) await paused.WaitAsync(token); // until the listener has seen the rounds before
        };
        await using var silos = await ControlledFederation.StartAsync(
            federation: await TestFederation.StartAsync(["*", "*", "*"], trainer));
        await using var proxy = new TcpProxy(silos.Servers[0].Address);
        await silos.Operator.SubmitAsync(TestFederation.Plan(clients: 1, rounds: Rounds)).ReadAsync(System.Net.HttpStatusCode.Created);
        using var listener = new HttpClient { BaseAddress = proxy.Address };
        listener.DefaultRequestHeaders.Authorization = new("Bearer", TokenFiles.Read(TokenFiles.ViewerOf(silos.TokenFile)));
        var heard = new List<int>();
        string? last = null;
        var (drops, snapshots) = (0, 0);

        while (!heard.Contains(Rounds))
        {
            try
            {
                await foreach (var one in EventsAsync(listener, last, InTime))
                {
                    last = one.EventId is { Length: > 0 } id ? id : last;
                    if (one.EventType == "round") heard.Add(Content(one).GetProperty("round").GetInt32());
                    if (one.EventType == "snapshot")
                    {
                        snapshots++;
                        heard.AddRange(Content(one).GetProperty("rounds").EnumerateArray().Select(static round =>
                            round.GetProperty("round").GetInt32()));
                    }

                    if (heard.Contains(Rounds)) break;
                    if (heard.Count == 0 || heard[^1] % 5 != 4 || drops > heard[^1] / 5) continue;
                    drops++;
                    if (drops == 3) await silos.KillAsync(0); // the silo behind the stream, which may run the job too
                    else proxy.Cut();
                    proxy.Target = silos.Servers[^1].Address;
                    paused.Release();
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException)
            {
                // dropped: again, from where it was
            }
        }

        Assert.Equal(Enumerable.Range(0, Rounds + 1), heard);
        Assert.Equal(1, snapshots); // the first, which every listener without an id gets
        Assert.True(drops >= 5, $"{drops} drops");
    }

    [Fact]
    public async Task Two_hundred_listeners_hear_every_round_once_and_one_that_does_not_read_holds_up_nobody()
    {
        await using var silos = await ControlledFederation.StartAsync();
        var listening = new CountdownEvent(200);
        silos.Federation.Trainer.BeforeTraining = async (_, token) => await Task.Run(() => listening.Wait(token), token);
        await silos.Operator.SubmitAsync(TestFederation.Plan(clients: 40, rounds: Rounds)).ReadAsync(System.Net.HttpStatusCode.Created);
        using var slow = new TcpClient { ReceiveBufferSize = 1024 };
        await slow.ConnectAsync(silos.Servers[0].Address.Host, silos.Servers[0].Address.Port);
        var asked = "GET /v1/runs/test/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
            + $"Bearer {TokenFiles.Read(silos.TokenFile)}\r\n\r\n";
        await slow.GetStream().WriteAsync(Encoding.ASCII.GetBytes(asked));

        var heard = await Task.WhenAll(Enumerable.Range(0, 200).Select(async _ =>
        {
            var rounds = new List<int>();
            var isCounted = false;
            await foreach (var one in EventsAsync(silos.Viewer, last: null, InTime))
            {
                if (!isCounted) listening.Signal();
                isCounted = true;
                if (one.EventType == "snapshot")
                    rounds.AddRange(Content(one).GetProperty("rounds").EnumerateArray()
                        .Select(static r => r.GetProperty("round").GetInt32()));
                if (one.EventType != "round") continue;
                rounds.Add(Content(one).GetProperty("round").GetInt32());
                if (rounds[^1] == Rounds) break;
            }

            return rounds;
        }));

        Assert.All(heard, static rounds => Assert.Equal(Enumerable.Range(0, Rounds + 1), rounds));
        var over = await silos.Federation.FinishAsync("test", InTime);
        Assert.Equal(JobStatus.Finished, over.Status);
    }

    [Theory]
    [InlineData("00000000.0.abcd1234.1", "another run")]
    [InlineData("nonsense", "")]
    [InlineData("", "")]
    public async Task An_id_that_leads_nowhere_gives_one_snapshot_that_says_why(string id, string reason)
    {
        await using var silos = await ControlledFederation.StartAsync();
        await silos.Federation.RunAsync("test", TestFederation.Plan(rounds: 2), InTime);

        await foreach (var one in EventsAsync(silos.Viewer, id, InTime))
        {
            Assert.Equal("snapshot", one.EventType);
            var view = Content(one);
            Assert.Equal(3, view.GetProperty("rounds").GetArrayLength());
            if (reason.Length > 0) Assert.Contains(reason, view.GetProperty("reason").GetString(), StringComparison.Ordinal);
            break;
        }
    }

    [Fact]
    public async Task A_run_that_is_not_there_has_no_events()
    {
        await using var silos = await ControlledFederation.StartAsync();
        await silos.Viewer.GetAsync("/v1/runs/none/events").RefusalAsync(System.Net.HttpStatusCode.NotFound);
        await silos.Viewer.GetAsync("/v1/runs/none").RefusalAsync(System.Net.HttpStatusCode.NotFound);
    }

    private static JsonElement Content(SseItem<string> one) => JsonDocument.Parse(one.Data).RootElement;

    private static async IAsyncEnumerable<SseItem<string>> EventsAsync(
        HttpClient client, string? last, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken token)
    {
        using var asked = new HttpRequestMessage(HttpMethod.Get, "/v1/runs/test/events");
        if (last is not null) asked.Headers.TryAddWithoutValidation("Last-Event-ID", last);
        using var answer = await client.SendAsync(asked, HttpCompletionOption.ResponseHeadersRead, token);
        Assert.Equal("text/event-stream", answer.EnsureSuccessStatusCode().Content.Headers.ContentType!.MediaType);
        await foreach (var one in SseParser.Create(await answer.Content.ReadAsStreamAsync(token)).EnumerateAsync(token)) yield return one;
    }
}
