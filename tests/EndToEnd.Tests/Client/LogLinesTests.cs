using FedRLora.Client.Rendering;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.EndToEnd.Tests.Client;

public sealed class LogLinesTests
{
    private readonly ManualTime _time = new(new DateTimeOffset(2026, 5, 4, 12, 0, 0, TimeSpan.Zero));
    private readonly LogLines _lines;

    public LogLinesTests() => _lines = new LogLines(_time);

    [Fact]
    public void A_line_begins_with_the_time_and_an_exception_stays_on_it() => Assert.Equal(
        "2026-05-04T12:00:00Z warn: grains[7] no silo System.InvalidOperationException: one two\n",
        Write("no silo", exception: new InvalidOperationException("one\ntwo")));

    [Fact]
    public void What_is_repeated_is_said_once_a_minute_with_how_often_it_came()
    {
        var first = Write("no silo");
        var within = Enumerable.Range(0, 59).Select(_ =>
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            return Write("no silo");
        }).ToArray();
        _time.Advance(TimeSpan.FromSeconds(1));

        Assert.NotEmpty(first);
        Assert.All(within, Assert.Empty);
        Assert.Equal("2026-05-04T12:01:00Z warn: grains[7] no silo (59 times more since it was last said)\n", Write("no silo"));
    }

    [Fact]
    public void Other_texts_and_other_sources_are_no_repetition()
    {
        Write("no silo");

        Assert.NotEmpty(Write("no silo of north"));
        Assert.NotEmpty(Write("no silo", category: "sites"));
        Assert.Empty(Write("no silo"));
    }

    private string Write(string text, string category = "grains", Exception? exception = null)
    {
        using var writer = new StringWriter();
        _lines.Write(new LogEntry<string>(LogLevel.Warning, category, new EventId(7), text, exception, static (state, _) => state),
            scopeProvider: null, writer);
        return writer.ToString();
    }
}
