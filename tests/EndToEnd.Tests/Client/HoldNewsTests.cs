using FedRLora.Abstractions.Messages;
using FedRLora.Client.Rendering;

namespace FedRLora.EndToEnd.Tests.Client;

public sealed class HoldNewsTests
{
    private static readonly DateTimeOffset Noon = new(2026, 5, 4, 12, 0, 0, TimeSpan.Zero);
    private static readonly Hold NoSouth = new()
    {
        Kind = HoldKind.LostSite, Phase = "train", Sites = [new AbsentSite("south", "south-1", TimeSpan.FromSeconds(2))], ClientCount = 1,
        Clients = ["b"],
    };

    private readonly ManualTime _time = new(Noon);

    [Fact]
    public void A_hold_is_said_once_and_then_each_minute_with_the_time()
    {
        var news = new HoldNews(_time);

        var said = Enumerable.Range(0, 241).Select(_ =>
        {
            _time.Advance(TimeSpan.FromMilliseconds(500));
            return news.Next(Waiting(NoSouth));
        }).OfType<string>().ToArray();

        Assert.Equal(["2026-05-04T12:00:00Z", "2026-05-04T12:01:00Z", "2026-05-04T12:02:00Z"],
            said.Select(static line => line.Split(' ')[0]));
        Assert.All(said, static line => Assert.EndsWith(
            " round 1 waits: site south has had no silo for 2 s (the last was south-1); 1 client is waited for there", line,
            StringComparison.Ordinal));
    }

    [Fact]
    public void Another_hold_and_the_end_of_one_are_said_at_once()
    {
        var news = new HoldNews(_time);
        var working = new Hold { Kind = HoldKind.AtWork, Phase = "train", Have = 1, Of = 2 };

        Assert.NotNull(news.Next(Waiting(NoSouth)));
        Assert.Contains("west",
            news.Next(Waiting(NoSouth with { Kind = HoldKind.UnservedSite, Sites = [new AbsentSite("west", null, null)] })),
            StringComparison.Ordinal);
        Assert.Equal("2026-05-04T12:00:00Z round 1 goes on", news.Next(Waiting(working)));
        Assert.Null(news.Next(Waiting(working)));
    }

    [Fact]
    public void Work_is_said_where_no_round_came_for_a_while()
    {
        var news = new HoldNews(_time);
        var working = new Hold { Kind = HoldKind.AtWork, Phase = "train", Have = 1, Of = 2, Clients = ["b"], ClientCount = 1 };

        Assert.Null(news.Next(Waiting(working)));
        _time.Advance(TimeSpan.FromSeconds(60));
        Assert.Null(news.Next(Waiting(working) with { NewRounds = [SampleRun.Round(0)] }));
        _time.Advance(TimeSpan.FromSeconds(60));

        Assert.Equal("2026-05-04T12:02:00Z round 1: train: 1 of 2 clients are in; at work: b", news.Next(Waiting(working)));
    }

    [Fact]
    public void A_long_round_says_each_half_minute_how_far_it_is_and_when_the_run_ends()
    {
        var news = new HoldNews(_time);
        var working = new Hold { Kind = HoldKind.AtWork, Phase = "train", Have = 1, Of = 2, Clients = ["b"], ClientCount = 1 };

        var said = Enumerable.Range(1, 70).Select(second =>
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            return news.Next(Waiting(working with { For = TimeSpan.FromSeconds(second) }), Noon.AddMinutes(9));
        }).OfType<string>().ToArray();

        Assert.Equal(
            [
                "2026-05-04T12:00:30Z round 1: train: 1 of 2 clients are in; at work: b; 30.0 s so far; "
                    + "the run ends at about 2026-05-04 12:09Z",
                "2026-05-04T12:01:00Z round 1: train: 1 of 2 clients are in; at work: b; 1 min 00 s so far; "
                    + "the run ends at about 2026-05-04 12:09Z",
            ], said);
    }

    private static RunSnapshot Waiting(Hold hold) =>
        RunSnapshot.Of(SampleRun.Progress(JobStatus.Running, null) with { Round = 1, Hold = hold });
}
