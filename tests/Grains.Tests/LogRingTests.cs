using FedRLora.Grains.Logs;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Tests;

public sealed class LogRingTests : IDisposable
{
    private readonly LogRing _ring = new(new SiloIdentity("north-a", ["north"]), TimeProvider.System);
    private readonly ILogger _logger;

    public LogRingTests()
    {
        _ring.SetScopeProvider(new LoggerExternalScopeProvider());
        _logger = _ring.CreateLogger("Test");
    }

    public void Dispose() => _ring.Dispose();

    [Fact]
    public void What_is_forgotten_is_counted()
    {
        for (var i = 0; i < LogRing.MostLines + 10; i++)
            _logger.Log(LogLevel.Information, new EventId(1), i, null, static (i, _) => $"line {i}");

        var lines = _ring.After(run: null, after: 3, most: 5);

        Assert.Equal("line 10", lines.Lines[0].Text); // numbers begin with 1
        Assert.Equal(7, lines.Forgotten);
        Assert.Equal((5, 15), (lines.Lines.Count, lines.Last));
        Assert.Equal(0, _ring.After(run: null, after: lines.Last, most: 5).Forgotten);
    }

    [Fact]
    public void A_line_is_about_what_it_says_before_what_it_is_written_within()
    {
        using var scope = _logger.BeginScope(new LogScope("run-1", 3, "north", "c1"));
        _logger.Log(LogLevel.Warning, new EventId(7), new List<KeyValuePair<string, object?>>
        {
            new("Client", "c2"), new("Round", 4), new("{OriginalFormat}", "x"),
        }, null, static (_, _) => "two\nlines");

        var line = Assert.Single(_ring.After("run-1", 0, 10).Lines);

        Assert.Equal(("run-1", 4, "north", "c2"), (line.Run, line.Round, line.Site, line.Client));
        Assert.Equal(("warning", 7, "two lines"), (line.Level, line.Event, line.Text));
        Assert.Empty(_ring.After("run-2", 0, 10).Lines);
    }

    [Fact]
    public void A_reader_of_one_run_goes_on_behind_lines_of_others()
    {
        for (var i = 0; i < 6; i++)
        {
            using var scope = _logger.BeginScope(new LogScope(i % 2 == 0 ? "even" : "odd"));
            _logger.Log(LogLevel.Information, new EventId(1), i, null, static (i, _) => $"{i}");
        }

        var first = _ring.After("even", 0, 2);
        var rest = _ring.After("even", first.Last, 10);

        Assert.Equal(["0", "2"], first.Lines.Select(static line => line.Text));
        Assert.Equal(["4"], rest.Lines.Select(static line => line.Text));
    }
}
