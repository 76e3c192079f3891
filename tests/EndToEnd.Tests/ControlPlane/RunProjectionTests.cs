using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;
using FedRLora.EndToEnd.Tests.Client;

namespace FedRLora.EndToEnd.Tests.ControlPlane;

/// <summary>What is shown of a run follows from what was heard, and from the clock alone where it counts on.</summary>
public sealed class RunProjectionTests
{
    private static readonly DateTimeOffset Start = new(2026, 3, 4, 5, 6, 7, TimeSpan.Zero);
    private readonly RunProjection _run = new("demo-1", SampleRun.Plan);

    [Fact]
    public void A_run_at_round_0_can_be_shown()
    {
        _run.Take(At(0), Start);

        var view = _run.View(Start);
        Assert.Equal((null, null, null), (view.State.Committed, view.State.MedianSeconds, view.State.ForecastEnd));
        Assert.Equal("round 0 of 3: train: 1 of 3 clients are in; at work: b, c", view.State.Text);
        Assert.Equal([("north", 1), ("south", 2)], view.Sites.Select(static site => (site.Site, site.Clients)));
        Assert.Empty(view.Rounds);
    }

    [Fact]
    public void Spans_count_on_until_something_else_is_heard()
    {
        var gone = new AbsentSite("south", "south-1", TimeSpan.FromSeconds(41));
        _run.Take(At(1) with
        {
            Hold = new()
            {
                Kind = HoldKind.LostSite, Sites = [gone], ClientCount = 2, Phase = "train", Left = TimeSpan.FromSeconds(190),
            },
            AbsentSites = [new() { Kind = HoldKind.LostSite, Sites = [gone], ClientCount = 2 }],
        }, Start);

        var view = _run.View(Start.AddSeconds(9));
        Assert.Equal("round 1 of 3: site south has had no silo for 50 s (the last was south-1); 2 clients are waited for there; "
            + "the deadline is in 3 min 01 s", view.State.Text);
        Assert.Equal(181, view.State.Hold!.SecondsLeft);
        Assert.Equal(["south"], view.State.AbsentSites);
        Assert.Equal([(false, null, null), (true, 50d, "south-1")],
            view.Sites.Select(static site => (site.Absent, site.AbsentSeconds, site.LastSilo)));
    }

    [Fact]
    public void The_end_is_forecast_from_the_median_of_measured_rounds()
    {
        foreach (var (round, seconds) in new[] { (0, 100d), (1, 10), (2, 0) })
            _run.Take(SampleRun.Round(round) with { Seconds = seconds });
        _run.Take(At(3) with { Hold = At(3).Hold! with { For = TimeSpan.FromSeconds(4) } }, Start);

        var state = _run.State(Start);
        Assert.Equal((110, 10, 2), (state.ElapsedSeconds, state.MedianSeconds, state.Committed));
        Assert.Equal(Start.AddSeconds(6), state.ForecastEnd);
        _run.Take(At(3) with { Status = JobStatus.Paused, Hold = new() { Kind = HoldKind.Paused } }, Start);
        Assert.Equal((null, "round 3 of 3: paused by an operator, until it is resumed"),
            (_run.State(Start).ForecastEnd, _run.State(Start).Text));
    }

    [Fact]
    public void Clients_are_those_of_the_open_attempt_and_a_site_says_when_it_was_heard()
    {
        _run.Take(At(1), Start);
        _run.Take([Now("a", ClientStage.AtWork), Now("b", ClientStage.Failed) with { Reason = "no such file" }], heard: null);
        _run.Take([Now("a", ClientStage.Reported) with { Seconds = 2 }], Start.AddSeconds(5));
        _run.Take(At(1) with { Reported = 2 }, Start.AddSeconds(5));

        var view = _run.View(Start.AddSeconds(6));
        Assert.Equal(
            [new("a", "sst2", "north", RoundPhase.Train, ClientStage.Reported, 2, null),
                new ClientState("b", "sst2", "south", RoundPhase.Train, ClientStage.Failed, null, "no such file")],
            view.Clients);
        Assert.Equal([Start.AddSeconds(5), null], view.Sites.Select(static site => site.LastHeard));

        _run.Take(At(1) with { Attempt = 2 }, Start.AddSeconds(7));
        Assert.Empty(_run.View(Start.AddSeconds(7)).Clients);
    }

    [Fact]
    public void A_plan_that_asks_for_a_local_only_run_links_to_it()
    {
        var asking = new RunProjection("demo-1", SampleRun.Plan with { Evaluation = SampleRun.Plan.Evaluation with { LocalOnly = true } });
        asking.Take(At(0), Start);
        _run.Take(At(0), Start);

        Assert.Equal(("demo-1.local-only", null), (asking.View(Start).LocalOnlyRun, _run.View(Start).LocalOnlyRun));
    }

    private static JobProgress At(int round) => SampleRun.Progress(JobStatus.Running, null) with
    {
        Round = round,
        Hold = new() { Kind = HoldKind.AtWork, Phase = "train", Have = 1, Of = 3, Clients = ["b", "c"], ClientCount = 2 },
    };

    private static ClientNow Now(string client, ClientStage stage) => new() { ClientId = client, Phase = RoundPhase.Train, Stage = stage };
}
