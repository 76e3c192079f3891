namespace FedRLora.Training.Tests.Trainer;

/// <summary>How long work will take is said once, when it can be told and is worth a line.</summary>
public sealed class ForecastTests
{
    private readonly List<string> _lines = [];
    private readonly Clock _clock = new();

    [Fact]
    public void Long_work_is_told_once_by_the_share_that_is_done()
    {
        var forecast = Begin();

        At(1, forecast, 0.01); // too early to tell
        At(3, forecast, 0.025);
        At(60, forecast, 0.5);

        Assert.Equal(["all takes 2 min"], _lines);
    }

    [Fact]
    public void Work_that_is_nearly_done_is_not_told()
    {
        var forecast = Begin();

        At(4, forecast, 0.5);
        At(100, forecast, 0.6); // judged once

        Assert.Empty(_lines);
    }

    [Theory]
    [InlineData(119, "119 s")]
    [InlineData(600, "10 min")]
    [InlineData(9000, "2.5 h")]
    public void A_time_is_shown_in_the_unit_that_people_count_it_in(int seconds, string shown) =>
        Assert.Equal(shown, Forecast.Shown(TimeSpan.FromSeconds(seconds)));

    private Forecast Begin() => new(_lines.Add, static time => $"all takes {Forecast.Shown(time)}", _clock);

    private void At(int seconds, Forecast forecast, double share)
    {
        _clock.Now = TimeSpan.FromSeconds(seconds);
        forecast.Reached(share);
    }

    private sealed class Clock : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }
}
