using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Events;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.TestingHost;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests;

/// <summary>
/// A run as listeners follow it: rounds once and in order whoever tells of them, and within an activation every event once.
/// </summary>
public sealed class RunFollowingTests(ITestOutputHelper output)
{
    private const string Job = "job";
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(20);

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    [Fact]
    public async Task Of_a_run_that_is_not_there_nothing_is_told()
    {
        await using var federation = await TestFederation.StartAsync();

        Assert.Null(await Following(federation).FollowAsync(null, Long, InTime));
        await Assert.ThrowsAsync<BadInputException>(() => Following(federation).CommittedAsync(InTime));
    }

    [Fact]
    public async Task Every_round_is_told_once_as_progress_tells_it()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.Coordinator(Job).SubmitAsync(TestFederation.Plan(clients: 3, rounds: 15), InTime);

        var listener = new Listener(Following(federation));
        await listener.UntilAsync(JobStatus.Finished, InTime);

        var asked = (await federation.Coordinator(Job).GetProgressAsync(-1, InTime))!.NewRounds;
        Assert.Equal(asked.Select(static round => (round.ManifestSha256, round.Seconds)),
            listener.Rounds.Select(static round => (round.ManifestSha256, round.Seconds)));
        Assert.Equal(asked.Select(static round => Convert.ToHexString(round.Manifest.ToBytes())),
            listener.Rounds.Select(static round => Convert.ToHexString(round.Manifest.ToBytes())));
        Assert.All(listener.Events, static one => Assert.Empty(one.State?.NewRounds ?? []));
    }

    [Fact]
    public async Task A_position_of_the_activation_is_answered_with_exactly_what_happened_after_it()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.Coordinator(Job).SubmitAsync(TestFederation.Plan(clients: 3, rounds: 6), InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilAsync(JobStatus.Finished, InTime);

        var heard = listener.Events.Where(static one => one.At.Number > 0).ToList();
        Assert.Equal(heard.Count, heard.Select(static one => one.At).Distinct().Count());
        for (var i = 0; i < heard.Count - 1; i++)
        {
            var news = (await Following(federation).FollowAsync(heard[i].At, TimeSpan.Zero, InTime))!;
            Assert.Equal((false, false), (news.IsRestated, news.IsForeign));
            Assert.Equal(heard.Skip(i + 1).Select(static one => one.At), news.Events.Select(static one => one.At));
        }
    }

    [Fact]
    public async Task A_listener_waits_until_something_happens()
    {
        await using var federation = await TestFederation.StartAsync();
        var release = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = (_, token) => release.Task.WaitAsync(token);
        await federation.Coordinator(Job).SubmitAsync(TestFederation.Plan(clients: 2, rounds: 1), InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilAsync(static one => one.Clients is [{ Phase: RoundPhase.Train, Stage: ClientStage.AtWork }, _], InTime);
        await listener.UntilQuietAsync(InTime);

        Assert.Empty((await Following(federation).FollowAsync(listener.At, TimeSpan.FromMilliseconds(50), InTime))!.Events);
        var waiting = Following(federation).FollowAsync(listener.At, Long, InTime);
        Assert.Equal(1, (await federation.Coordinator(Job).GetProgressAsync(-1, InTime))!.Round); // others are answered meanwhile
        Assert.False(waiting.IsCompleted);
        release.SetResult();

        Assert.NotEmpty((await waiting)!.Events);
        await listener.UntilAsync(JobStatus.Finished, InTime);
        Assert.Equal([0, 1], listener.Rounds.Select(static round => round.Manifest.Round));
        var reported = listener.Events.SelectMany(static one => one.Clients ?? [])
            .Where(static client => client is { Phase: RoundPhase.Train, Stage: ClientStage.Reported });
        Assert.All(reported, static client => Assert.True(client.Seconds > 0));
        Assert.Equal(["c00000", "c00001"], reported.Select(static client => client.ClientId).Distinct().Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_listener_that_goes_away_ends_its_question()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 1), InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilQuietAsync(InTime);
        using var leaving = new CancellationTokenSource();

        var waiting = Following(federation).FollowAsync(listener.At, Long, leaving.Token);
        await leaving.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
    }

    [Fact]
    public async Task A_listener_does_not_keep_the_coordinator_from_going_away()
    {
        await using var federation = await TestFederation.StartAsync();
        var plan = TestFederation.Plan(clients: 2, rounds: 2);
        await federation.RunAsync(Job, plan, InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilQuietAsync(InTime);

        var waiting = Following(federation).FollowAsync(listener.At, Long, InTime);
        var more = TestFederation.Plan(clients: 2, rounds: 4);
        await federation.Coordinator(Job).ExtendAsync(more, cancellationToken: InTime).WaitAsync(Long / 2, InTime);

        await waiting.WaitAsync(Long / 2, InTime);
        await listener.UntilAsync(static one => one.State is { Status: JobStatus.Finished, Rounds: 4 }, InTime);
        Assert.Equal([0, 1, 2, 3, 4], listener.Rounds.Select(static round => round.Manifest.Round));
    }

    [Fact]
    public async Task A_listener_does_not_keep_a_silo_from_stopping()
    {
        await using var federation = await TestFederation.StartAsync(["*", "*"]);
        await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 2), InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilQuietAsync(InTime);
        var silo = await SiloOfAsync(federation);

        var waiting = listener.NextAsync(Long, InTime);
        await federation.Cluster.StopSiloAsync(silo).WaitAsync(Long / 2, InTime);

        await waiting.WaitAsync(Long / 2, InTime);
        await listener.UntilQuietAsync(InTime);
        Assert.Equal([0, 1, 2], listener.Rounds.Select(static round => round.Manifest.Round));
    }

    [Fact]
    public async Task Where_the_coordinators_silo_is_killed_no_round_is_lost_or_told_twice()
    {
        await using var federation = await TestFederation.StartAsync(["*", "*", "*"], reviveEvery: TimeSpan.FromMilliseconds(500));
        await federation.Coordinator(Job).SubmitAsync(TestFederation.Plan(clients: 3, rounds: 40), InTime);
        var listener = new Listener(Following(federation));
        for (var killed = 0; killed < 2; killed++)
        {
            var from = listener.Rounds.Count;
            await listener.UntilAsync(_ => listener.Rounds.Count >= from + 5, InTime);
            var lost = await SiloOfAsync(federation);
            listener.Run = Following(federation, federation.Cluster.Silos.First(silo => silo != lost));
            await federation.Cluster.KillSiloAsync(lost);
        }

        await listener.UntilAsync(JobStatus.Finished, InTime);

        Assert.Equal(Enumerable.Range(0, 41), listener.Rounds.Select(static round => round.Manifest.Round));
        Assert.True(listener.Restated > 1, $"restated {listener.Restated} times");
        for (var round = 1; round <= 40; round++)
            Assert.Equal(listener.Rounds[round - 1].ManifestSha256, listener.Rounds[round].Manifest.Previous);
    }

    [Fact]
    public async Task Through_feeds_of_other_silos_no_round_is_lost_or_told_twice_whichever_silo_is_killed()
    {
        await using var federation = await TestFederation.StartAsync(["*", "*", "*", "*"], reviveEvery: TimeSpan.FromMilliseconds(500));
        await federation.Coordinator(Job).SubmitAsync(TestFederation.Plan(clients: 3, rounds: 40), InTime);
        var (rounds, last, isOver) = (new List<int>(), (string?)null, false);
        var lost = await SiloOfAsync(federation);
        for (var killed = 0; !isOver; killed++)
        {
            var silo = federation.Cluster.Silos.First(silo => silo != lost);
            await using var feed = FeedOf(federation, silo);
            await foreach (var one in feed.SubscribeAsync(last, InTime))
            {
                last = one.Id ?? last;
                var data = JsonDocument.Parse(one.Json).RootElement;
                if (one.Type == "round") rounds.Add(data.GetProperty("round").GetInt32());
                if (one.Type == "snapshot")
                {
                    Assert.Empty(rounds);
                    rounds.AddRange(data.GetProperty("rounds").EnumerateArray().Select(static round => round.GetProperty("round").GetInt32()));
                }

                isOver = one.Type == "state" && data.GetProperty("status").GetString() == "finished";
                if (isOver || (killed < 2 && rounds.Count >= 8 * (killed + 1))) break;
            }

            if (!isOver) await federation.Cluster.KillSiloAsync(killed == 0 ? lost : silo); // the coordinator's, then the feed's
        }

        Assert.Equal(Enumerable.Range(0, 41), rounds);
    }

    [Fact]
    public async Task A_position_of_another_run_or_of_a_round_to_come_is_foreign()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 2), InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilQuietAsync(InTime);

        foreach (var foreign in new[] { listener.At! with { Tag = RunPosition.TagOf("other") }, listener.At with { Round = 3 } })
        {
            var news = (await Following(federation).FollowAsync(foreign, Long, InTime))!;
            Assert.True(news.IsForeign);
            Assert.Equal(listener.At, news.Events[^1].At);
            Assert.DoesNotContain(news.Events, static one => one.Round is not null);
        }
    }

    [Fact]
    public async Task A_position_that_nobody_was_told_is_restated_from_its_round()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 3), InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilQuietAsync(InTime);

        foreach (var made in new[]
        {
            listener.At! with { Round = 1 }, listener.At with { Round = 1, Activation = "0123456789abcdef" },
            listener.At with { Round = 1, Number = listener.At.Number + 1 }, listener.At with { Round = 1, Number = 0 },
        })
        {
            var news = (await Following(federation).FollowAsync(made, Long, InTime))!;
            Assert.Equal((true, false), (news.IsRestated, news.IsForeign));
            Assert.Equal([2, 3], news.Events.Select(static one => one.Round?.Manifest.Round).OfType<int>());
            Assert.NotNull(news.Events.Single(static one => one.State is not null).State);
            Assert.Equal(listener.At, news.Events[^1].At);
        }
    }

    [Fact]
    public async Task Hundreds_of_reports_are_few_events()
    {
        const int Clients = 300;
        await using var federation = await TestFederation.StartAsync(resendAfter: TimeSpan.FromSeconds(30));
        await federation.Coordinator(Job).SubmitAsync(TestFederation.Plan(clients: Clients, rounds: 1), InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilAsync(JobStatus.Finished, InTime);

        var reported = listener.Events.SelectMany(static one => one.Clients ?? [])
            .Where(static client => client is { Phase: RoundPhase.Train, Stage: ClientStage.Reported }).Select(static one => one.ClientId);
        Assert.Equal(Clients, reported.Distinct().Count());
        output.WriteLine($"{listener.Events.Count} events of {Clients} clients that trained and were scored twice");
        Assert.InRange(listener.Events.Count, 5, Clients / 2);
    }

    [Fact]
    public async Task Rounds_come_in_as_many_messages_as_they_need()
    {
        await using var federation = await TestFederation.StartAsync(mostClientsInMessage: 6);
        await federation.RunAsync(Job, TestFederation.Plan(clients: 3, rounds: 4), InTime);

        var listener = new Listener(Following(federation));
        var first = await listener.NextAsync(Long, InTime);
        Assert.Equal([0, 1], first.Select(static one => one.Round?.Manifest.Round).OfType<int>());
        Assert.Equal((true, 2), (listener.HasMore, first.Count));
        await listener.UntilQuietAsync(InTime);
        Assert.Equal([0, 1, 2, 3, 4], listener.Rounds.Select(static round => round.Manifest.Round));
        Assert.Single(listener.Events, static one => one.State is not null);
    }

    [Fact]
    public async Task A_position_that_is_older_than_what_is_remembered_is_restated()
    {
        await using var federation = await TestFederation.StartAsync(mostClientsInMessage: 6);
        await federation.Coordinator(Job).SubmitAsync(TestFederation.Plan(clients: 3, rounds: 6), InTime);
        var listener = new Listener(Following(federation));
        await listener.UntilAsync(one => one.Round?.Manifest.Round == 1, InTime);
        var old = listener.Events.First(static one => one.At.Number > 0).At;
        await listener.UntilAsync(JobStatus.Finished, InTime);

        var news = (await Following(federation).FollowAsync(old, Long, InTime))!;

        Assert.Equal((true, false), (news.IsRestated, news.IsForeign));
        Assert.Equal(old.Round + 1, news.Events[0].Round!.Manifest.Round);
    }

    [Fact]
    public async Task What_sites_need_of_the_committed_round_names_its_states_base_and_engine()
    {
        await using var federation = await TestFederation.StartAsync(["north", "south"]);
        var plan = TestFederation.Plan(
            clients: 4, rounds: 2, site: static i => i < 2 ? "north" : "south", adapter: TestFederation.TaskHeads);
        await federation.RunAsync(Job, plan, InTime);

        var committed = await Following(federation).CommittedAsync(InTime);

        var last = (await federation.Coordinator(Job).GetProgressAsync(1, InTime))!.NewRounds.Single().Manifest;
        Assert.Equal([["c00000", "c00001"], ["c00002", "c00003"]],
            committed.Select(static site => site.Members.Select(static member => member.ClientId)));
        Assert.All(committed, site =>
        {
            Assert.Equal((Job, 2, last.Engine, last.Shared.Sha256), (site.JobId, site.Round, site.Engine, site.Shared.Sha256));
            Assert.NotNull(site.Inputs);
            Assert.Equal(["t0", "t1"], site.Tasks.Keys.Order(StringComparer.Ordinal));
        });
    }

    private static IRunFollowingGrain Following(TestFederation federation) => federation.Cluster.Client.GetGrain<IRunFollowingGrain>(Job);

    // A silo hears at once that another is lost.
    private static IRunFollowingGrain Following(TestFederation federation, InProcessSiloHandle silo) =>
        federation.Cluster.GetSiloServiceProvider(silo.SiloAddress).GetRequiredService<IGrainFactory>().GetGrain<IRunFollowingGrain>(Job);

    private static RunFeed FeedOf(TestFederation federation, InProcessSiloHandle silo) => new(
        Job, Following(federation, silo),
        federation.Cluster.GetSiloServiceProvider(silo.SiloAddress).GetRequiredService<IGrainFactory>()
            .GetGrain<IRunControlGrain>(Job).GetPlanAsync,
        TimeProvider.System);

    private static async Task<InProcessSiloHandle> SiloOfAsync(TestFederation federation)
    {
        var address = await federation.Cluster.Client.GetGrain<IManagementGrain>(0)
            .GetActivationAddress(federation.Coordinator(Job));
        return federation.Cluster.Silos.Single(silo => silo.SiloAddress.Equals(address));
    }

    /// <summary>Asks on from where it is, also while another silo takes the run over.</summary>
    private sealed class Listener(IRunFollowingGrain run)
    {
        public IRunFollowingGrain Run { get; set; } = run;

        public List<RunEvent> Events { get; } = [];

        public List<RoundSummary> Rounds { get; } = [];

        public RunPosition? At { get; private set; }

        public bool HasMore { get; private set; }

        public int Restated { get; private set; }

        public Task UntilAsync(JobStatus status, CancellationToken cancellationToken) =>
            UntilAsync(one => one.State?.Status == status, cancellationToken);

        public async Task UntilAsync(Func<RunEvent, bool> happened, CancellationToken cancellationToken)
        {
            while (!(await NextAsync(Long, cancellationToken)).Any(happened))
            {
            }
        }

        public async Task UntilQuietAsync(CancellationToken cancellationToken)
        {
            while ((await NextAsync(TimeSpan.FromMilliseconds(400), cancellationToken)).Count > 0)
            {
            }
        }

        public async Task<IReadOnlyList<RunEvent>> NextAsync(TimeSpan patience, CancellationToken cancellationToken)
        {
            while (true)
            {
                try
                {
                    var news = (await Run.FollowAsync(At, patience, cancellationToken))!;
                    Assert.False(news.IsForeign);
                    HasMore = news.HasMore;
                    if (news.IsRestated) Restated++;
                    Events.AddRange(news.Events);
                    Rounds.AddRange(news.Events.Select(static one => one.Round).OfType<RoundSummary>());
                    At = news.Events.Count > 0 ? news.Events[^1].At : At;
                    return news.Events;
                }
                catch (Exception e) when (e is OrleansException or TimeoutException)
                {
                    await Task.Delay(100, cancellationToken);
                }
            }
        }
    }
}
