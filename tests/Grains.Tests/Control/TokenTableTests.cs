using FedRLora.Abstractions;
using FedRLora.ControlPlane.Access;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Tests.Control;

/// <summary>The file of hashed tokens.</summary>
public sealed class TokenTableTests : IDisposable
{
    private static readonly string Hash = Convert.ToHexStringLower(TokenEntry.HashOf("a token"));
    private readonly string _file = Path.GetTempFileName();
    private readonly SteppedTime _time = new();
    private readonly Lines _log = new();

    public void Dispose() => File.Delete(_file);

    [Theory]
    [InlineData("ada operator", "f:1: a line is NAME ROLES sha256:HASH, and until=YYYY-MM-DD where it ends")]
    [InlineData("ada operator a-token-in-the-clear",
        "f:1: the third word is no sha256: with 64 hexadecimal digits; a token itself does not stand "
        + "in this file")]
    [InlineData("ada admin HASH", "f:1: \"admin\" is no role; use viewer, operator, site:NAME")]
    [InlineData("ada site:../x HASH",
        "f:1: site: \"../x\" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores, the first no dot.")]
    [InlineData("ada site:* HASH",
        "f:1: site: \"*\" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores, the first no dot.")]
    [InlineData("ada viewer HASH until=tomorrow", "f:1: \"tomorrow\" is no day; write YYYY-MM-DD")]
    [InlineData("ada viewer HASH 2027-01-01", "f:1: the fourth word is no until=YYYY-MM-DD")]
    [InlineData("ada viewer HASH\n# x\nada operator HASH", "f:3: the name ada stands in a line before; give this one another")]
    [InlineData("ada viewer HASH\nbob operator HASH", "f:2: the token of bob is that of ada; make another")]
    public void A_line_that_is_none_is_told_with_its_number(string text, string problem)
    {
        var refusal = Assert.Throws<BadInputException>(() => TokenEntry.Parse("f",
            text.Replace("HASH", $"sha256:{Hash}", StringComparison.Ordinal)));
        Assert.Equal(problem, refusal.Message);
    }

    [Fact]
    public void A_line_is_read_as_it_is_written()
    {
        var entry = Assert.Single(TokenEntry.Parse("f",
            $"\n# people\n ada  operator,site:north,site:south sha256:{Hash.ToUpperInvariant()} until=2027-01-31 # x\n"));
        Assert.Equal($"ada operator,site:north,site:south sha256:{Hash} until=2027-01-31", $"{entry}");
        Assert.True(entry.CountsOn(new DateTimeOffset(2027, 1, 31, 23, 59, 59, TimeSpan.Zero)));
        Assert.False(entry.CountsOn(new DateTimeOffset(2027, 2, 1, 0, 0, 0, TimeSpan.Zero)));
    }

    [Fact]
    public void A_file_is_read_again_and_one_that_is_broken_leaves_the_old_in_force_and_is_told_once()
    {
        Write($"ada viewer sha256:{Hash}\n");
        var table = TokenTable.Open(_file, _time, _log);
        var ada = table.Find("a token")!;
        Assert.Equal("ada", ada.Name);
        Assert.Null(table.Find("another token"));

        Write("ada viewer\n");
        for (var i = 0; i < 3; i++)
        {
            _time.Step(TimeSpan.FromSeconds(2));
            Assert.True(table.Stands(ada));
        }

        Assert.Equal([$"{_file}:1: a line is NAME ROLES sha256:HASH, and until=YYYY-MM-DD where it ends; the tokens before stay in force"],
            _log.All);
        File.SetUnixFileMode(_file, File.GetUnixFileMode(_file) | UnixFileMode.OtherRead);
        _time.Step(TimeSpan.FromSeconds(2));
        Assert.True(table.Stands(ada));
        Assert.EndsWith($"with: chmod g-w,o= {_file}; the tokens before stay in force", _log.All[^1], StringComparison.Ordinal);

        Write($"bob operator sha256:{Convert.ToHexStringLower(TokenEntry.HashOf("another token"))}\n");
        Assert.NotNull(table.Find("a token")); // within a second
        _time.Step(TimeSpan.FromSeconds(2));
        Assert.Null(table.Find("a token"));
        Assert.False(table.Stands(ada));
        Assert.Equal("bob", table.Find("another token")!.Name);
    }

    [Fact]
    public void Roles_of_signed_tokens_are_those_that_are_known_and_others_are_passed_over()
    {
        var rights = Rights.OfClaims(["fedrlora.viewer", "admin", "fedrlora.site.north", "fedrlora.site.*", "fedrlora.site.../x",
            "fedrlora.root"]);
        Assert.Equal("viewer,site:north", $"{rights}");
        Assert.Equal("", $"{Rights.OfClaims(["operator", "FEDRLORA.OPERATOR"])}");
    }

    private void Write(string text)
    {
        File.WriteAllText(_file, text);
        File.SetUnixFileMode(_file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    private sealed class Lines : ILogger
    {
        public List<string> All { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (logLevel >= LogLevel.Warning) All.Add(formatter(state, exception));
        }
    }

    private sealed class SteppedTime : TimeProvider
    {
        private DateTimeOffset _now = new(2026, 6, 1, 0, 0, 0, TimeSpan.Zero);

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override DateTimeOffset GetUtcNow() => _now;

        public override long GetTimestamp() => _now.Ticks;

        public void Step(TimeSpan by) => _now += by;
    }
}
