using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Events;
using FedRLora.ControlPlane.Http;
using FedRLora.EndToEnd.Tests.Client;
using Orleans.Runtime;

namespace FedRLora.EndToEnd.Tests.ControlPlane;

/// <summary>What listeners of a run hear through a silo, whichever they ask, whatever becomes of the coordinator.</summary>
public sealed class RunFeedTests
{
    private readonly ManualTime _time = new(new DateTimeOffset(2026, 3, 4, 5, 6, 7, TimeSpan.Zero));
    private readonly FakeCoordinator _coordinator = FakeCoordinator.Create();

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(30)).Token;

    [Fact]
    public async Task A_new_listener_gets_one_snapshot_and_then_what_happens()
    {
        _coordinator.Commit();
        await using var feed = Feed();
        await using var ear = new Ear(feed, null);

        var snapshot = await ear.NextAsync("snapshot");
        Assert.Equal(_coordinator.Last.ToString(), snapshot.Id);
        Assert.False(Json(snapshot).TryGetProperty("reason", out _));
        Assert.Equal(0, Json(snapshot).GetProperty("rounds")[0].GetProperty("round").GetInt32());
        Assert.Equal(["a", "b", "c"], Json(snapshot).GetProperty("clients").EnumerateArray()
            .Select(static client => client.GetProperty("client").GetString()));

        _coordinator.Commit();
        Assert.Equal(1, Json(await ear.NextAsync("round")).GetProperty("round").GetInt32());
        Assert.Equal(2, Json(await ear.NextAsync("state")).GetProperty("round").GetInt32());
        Assert.Equal(3, Json(await ear.NextAsync("clients")).GetProperty("clients").GetArrayLength());
    }

    [Fact]
    public async Task After_any_id_come_exactly_the_events_after_it_through_any_silo()
    {
        _coordinator.Commit();
        await using var north = Feed();
        await using var first = new Ear(north, null);
        await first.NextAsync("snapshot");
        for (var i = 0; i < 4; i++) _coordinator.Commit();
        _coordinator.Say(FakeCoordinator.Now("b", ClientStage.Reported, 1.5));
        var heard = await first.UntilAsync(_coordinator.Last);
        await using var south = Feed(); // it has heard none of them

        foreach (var feed in new[] { north, south })
        {
            for (var i = 0; i < heard.Count - 1; i++)
            {
                await using var again = new Ear(feed, heard[i].Id);
                var rest = await again.UntilAsync(_coordinator.Last);
                Assert.Equal(heard.Skip(i + 1).Select(static one => (one.Id, one.Type)), rest.Select(static one => (one.Id, one.Type)));
                Assert.Equal(
                    heard.Skip(i + 1).Where(static one => one.Type != "state").Select(static one => Convert.ToHexString(one.Json)),
                    rest.Where(static one => one.Type != "state").Select(static one => Convert.ToHexString(one.Json)));
            }
        }
    }

    [Fact]
    public async Task A_listener_that_was_told_all_gets_what_happens_next_alone()
    {
        _coordinator.Commit();
        await using var feed = Feed();
        await using var ear = new Ear(feed, _coordinator.Last.ToString());
        var next = ear.NextAsync();
        while (feed.Listeners == 0) await Task.Yield();

        _coordinator.Say(FakeCoordinator.Now("b", ClientStage.Reported, 1.5));

        Assert.Equal("clients", (await next).Type);
    }

    [Fact]
    public async Task Where_the_coordinator_has_moved_rounds_come_once_and_then_one_state_and_the_clients()
    {
        _coordinator.Commit();
        await using var feed = Feed();
        await using var live = new Ear(feed, null);
        var known = (await live.NextAsync("snapshot")).Id;
        _coordinator.Trouble = new SiloUnavailableException("lost");
        _coordinator.Wake();
        var stale = Json(await live.NextAsync("state"));
        Assert.True(stale.TryGetProperty("staleSince", out _));
        _coordinator.Commit();
        _coordinator.Commit();
        _coordinator.Move("second");
        _coordinator.Trouble = null;
        await AdvanceAsync(TimeSpan.FromMilliseconds(250));

        string[] restated = ["round", "round", "state", "clients"];
        var told = await live.UntilAsync(_coordinator.Last);
        Assert.Equal(restated, told.Select(static one => one.Type));
        Assert.Equal([1, 2], told.Where(static one => one.Type == "round").Select(static one => Json(one).GetProperty("round").GetInt32()));
        Assert.False(Json(told[2]).TryGetProperty("staleSince", out _));
        Assert.Equal(told.Count, told.Select(static one => one.Id).Distinct().Count());

        await using var south = Feed();
        foreach (var other in new[] { feed, south })
        {
            await using var back = new Ear(other, known);
            Assert.Equal(restated, (await back.UntilAsync(_coordinator.Last)).Select(static one => one.Type));
            _coordinator.Say(FakeCoordinator.Now("a", ClientStage.Reported));
            Assert.Equal("clients", (await back.NextAsync()).Type);
        }
    }

    [Fact]
    public async Task Within_what_stands_for_the_events_between_a_listener_loses_nothing()
    {
        _coordinator.Commit();
        var old = _coordinator.Last.ToString();
        _coordinator.Commit();
        _coordinator.Move("second");
        await using var feed = Feed();
        await using var whole = new Ear(feed, old);
        var told = await whole.UntilAsync(_coordinator.Last);
        Assert.Equal(["round", "state", "clients"], told.Select(static one => one.Type));

        await using var afterRound = new Ear(feed, told[0].Id);
        Assert.Equal(["state", "clients"], (await afterRound.UntilAsync(_coordinator.Last)).Select(static one => one.Type));
        await using var afterState = new Ear(feed, told[1].Id);
        Assert.Equal("clients", (await afterState.UntilAsync(_coordinator.Last))[^1].Type);
    }

    [Theory]
    [InlineData("garbage", "none of a run")]
    [InlineData("", "none of a run")]
    [InlineData("00000000.1.first.3", "of another run")]
    [InlineData("{tag}.7.first.3", "not committed")]
    [InlineData("{tag}.0.first.3", "more than 3 rounds")]
    public async Task An_id_that_cannot_be_gone_on_from_gives_one_snapshot_that_says_why(string id, string reason)
    {
        for (var i = 0; i < 6; i++) _coordinator.Commit();
        await using var feed = Feed(new() { RoundsBehind = 3 });
        await using var ear = new Ear(feed, id.Replace("{tag}", RunPosition.TagOf(FakeCoordinator.Run), StringComparison.Ordinal));

        Assert.Contains(reason, Json(await ear.NextAsync("snapshot")).GetProperty("reason").GetString(), StringComparison.Ordinal);
        _coordinator.Commit();
        Assert.Equal("round", (await ear.NextAsync()).Type);
    }

    [Fact]
    public async Task A_slow_listener_is_told_once_how_things_stand_and_goes_on()
    {
        _coordinator.Commit();
        await using var feed = Feed(new() { Pending = 10 });
        await using var slow = new Ear(feed, null);
        await using var quick = new Ear(feed, null);
        await slow.NextAsync("snapshot");
        await quick.NextAsync("snapshot");
        for (var i = 0; i < 20; i++)
        {
            _coordinator.Commit();
            await quick.UntilAsync(_coordinator.Last);
        }

        var snapshot = await slow.NextAsync("snapshot");
        Assert.Contains("faster", Json(snapshot).GetProperty("reason").GetString(), StringComparison.Ordinal);
        Assert.Equal((_coordinator.Last.ToString(), 21), (snapshot.Id, Json(snapshot).GetProperty("rounds").GetArrayLength()));
        _coordinator.Commit();
        Assert.Equal("round", (await slow.NextAsync()).Type);
    }

    [Fact]
    public async Task Events_are_written_once_for_all_listeners()
    {
        _coordinator.Commit();
        await using var feed = Feed();
        var ears = Enumerable.Range(0, 200).Select(_ => new Ear(feed, null)).ToList();
        var snapshots = await Task.WhenAll(ears.Select(static ear => ear.NextAsync("snapshot")));
        _coordinator.Commit();
        var rounds = await Task.WhenAll(ears.Select(static ear => ear.NextAsync("round")));

        Assert.Single(snapshots.Select(static one => one.Json).Distinct());
        Assert.Single(rounds.Select(static one => one.Json).Distinct());
        foreach (var ear in ears) await ear.DisposeAsync();
        Assert.Equal(0, feed.Listeners);
        Assert.True(_coordinator.Questions < 20, $"{_coordinator.Questions} questions");
    }

    [Fact]
    public async Task While_the_coordinator_does_not_answer_the_run_says_since_when_and_why()
    {
        _coordinator.Commit();
        await using var feed = Feed();
        await using var ear = new Ear(feed, null);
        await ear.NextAsync("snapshot");
        var since = _time.GetUtcNow();
        _coordinator.Trouble = new Abstractions.Ports.StoreUnavailableException("the store is away");
        _coordinator.Wake();

        var state = await ear.NextAsync("state");
        Assert.Null(state.Id);
        Assert.Equal("the store is away", Json(state).GetProperty("staleReason").GetString());
        _time.Advance(TimeSpan.FromMilliseconds(100));
        Assert.Equal(since, (await feed.ViewAsync(InTime)).State.StaleSince);

        _coordinator.Trouble = null;
        _coordinator.Say(FakeCoordinator.Now("a", ClientStage.Reported));
        await AdvanceAsync(TimeSpan.FromMilliseconds(250));
        await ear.NextAsync("clients");
        Assert.Null((await feed.ViewAsync(InTime)).State.StaleSince);
    }

    [Fact]
    public async Task A_run_that_was_begun_again_under_its_name_is_a_snapshot()
    {
        for (var i = 0; i < 3; i++) _coordinator.Commit();
        await using var feed = Feed();
        await using var ear = new Ear(feed, null);
        await ear.NextAsync("snapshot");

        _coordinator.BeginAgain();
        _coordinator.Commit();

        JsonElement snapshot;
        do snapshot = Json(await ear.NextAsync());
        while (!snapshot.TryGetProperty("reason", out _));
        Assert.Contains("others than before", snapshot.GetProperty("reason").GetString(), StringComparison.Ordinal);
        Assert.Equal("0000again", (await feed.ViewAsync(InTime)).State.Sha256);
    }

    [Fact]
    public async Task Of_a_run_that_is_not_there_a_listener_hears_so()
    {
        _coordinator.IsThere = false;
        await using var feeds = new RunFeeds((run, settings) => Feed(settings), _time);

        await Assert.ThrowsAsync<NoSuchRunException>(() => feeds.ViewAsync(FakeCoordinator.Run, InTime));
        await Assert.ThrowsAsync<NoSuchRunException>(() => feeds.ViewAsync("../evil", InTime));
        Assert.Empty(feeds.Followed);
        _coordinator.IsThere = true;
        Assert.Equal(FakeCoordinator.Run, (await feeds.ViewAsync(FakeCoordinator.Run, InTime)).Run); // it may have been begun since
    }

    [Fact]
    public async Task A_listener_that_hears_nothing_gets_a_ping()
    {
        await using var feed = Feed(new() { PingAfter = TimeSpan.FromSeconds(5) });
        await using var ear = new Ear(feed, null);
        await ear.NextAsync("snapshot");
        var waiting = ear.NextAsync();

        await AdvanceAsync(TimeSpan.FromSeconds(5));

        Assert.Equal((null, "ping"), ((await waiting).Id, (await waiting).Type));
    }

    [Fact]
    public async Task A_feed_goes_on_for_a_while_after_its_last_listener_and_then_ends()
    {
        var made = 0;
        await using var feeds = new RunFeeds(
            (run, settings) =>
            {
                made++;
                return Feed(settings);
            },
            _time);
        await feeds.ViewAsync(FakeCoordinator.Run, InTime);
        _time.Advance(TimeSpan.FromSeconds(59));
        await feeds.ViewAsync(FakeCoordinator.Run, InTime);
        Assert.Equal((1, 1), (made, feeds.Followed.Count));

        await using (var ear = new Ear(feeds.SubscribeAsync(FakeCoordinator.Run, null, InTime)))
        {
            await ear.NextAsync("snapshot");
            _time.Advance(TimeSpan.FromMinutes(5));
            Assert.Single(feeds.Followed);
        }

        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Empty(feeds.Followed);
        await feeds.ViewAsync(FakeCoordinator.Run, InTime);
        Assert.Equal(2, made);
    }

    [Fact]
    public async Task Rounds_in_several_messages_are_one_snapshot()
    {
        for (var i = 0; i < 7; i++) _coordinator.Commit();
        _coordinator.MostRounds = 2;
        await using var feed = Feed();
        await using var ear = new Ear(feed, null);

        Assert.Equal(7, Json(await ear.NextAsync("snapshot")).GetProperty("rounds").GetArrayLength());
    }

    private RunFeed Feed(FeedSettings? settings = null) =>
        new(FakeCoordinator.Run, _coordinator, static _ => Task.FromResult<string?>(SampleRun.Yaml), _time, settings);

    // Once somebody waits for the time.
    private async Task AdvanceAsync(TimeSpan by)
    {
        while (!_time.IsAwaited(by)) await Task.Yield();
        _time.Advance(by);
    }

    private static JsonElement Json(FeedEvent one) => JsonDocument.Parse(one.Json).RootElement;

    private sealed class Ear(IAsyncEnumerable<FeedEvent> events) : IAsyncDisposable
    {
        private readonly IAsyncEnumerator<FeedEvent> _events = events.GetAsyncEnumerator();

        public Ear(RunFeed feed, string? lastEventId)
            : this(feed.SubscribeAsync(lastEventId, InTime))
        {
        }

        public async Task<FeedEvent> NextAsync(string? type = null)
        {
            Assert.True(await _events.MoveNextAsync());
            if (type is not null) Assert.Equal(type, _events.Current.Type);
            return _events.Current;
        }

        public async Task<IReadOnlyList<FeedEvent>> UntilAsync(RunPosition last)
        {
            var heard = new List<FeedEvent>();
            do heard.Add(await NextAsync());
            while (heard[^1].Id != last.ToString());
            return heard;
        }

        public ValueTask DisposeAsync() => _events.DisposeAsync();
    }
}
