using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;

namespace FedRLora.Abstractions.Plans;

/// <summary>Rounds of a run, a pure function of a round's number and of how many there are.</summary>
[JsonConverter(typeof(AsText))]
public sealed partial record RoundSet
{
    /// <summary>What a plan may write.</summary>
    public const string Forms = "all, odd, even, every 2, first 3, last 3, 4 or 4-6";

    private readonly Func<int, int, bool> _contains;

    private RoundSet(string text, Func<int, int, bool> contains) => (Text, _contains) = (text, contains);

    /// <summary>As a plan writes it.</summary>
    public string Text { get; }

    /// <summary>Reads <see cref="Text"/>; null where it has none of <see cref="Forms"/>.</summary>
    public static RoundSet? Parse(string text)
    {
        switch (text)
        {
            case "all": return new(text, static (_, _) => true);
            case "odd": return new(text, static (round, _) => round % 2 == 1);
            case "even": return new(text, static (round, _) => round % 2 == 0);
        }

        if (Form().Match(text) is not { Success: true } form) return null;
        if (!int.TryParse(form.Groups["n"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out var n) || n < 1) return null;
        var last = n;
        if (form.Groups["to"].Success
            && (!int.TryParse(form.Groups["to"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out last) || last < n))
            return null;
        return form.Groups["word"].Value switch
        {
            "every" => new(text, (round, _) => round % n == 0),
            "first" => new(text, (round, _) => round <= n),
            "last" => new(text, (round, rounds) => round > rounds - n),
            _ => new(text, (round, _) => round >= n && round <= last),
        };
    }

    /// <summary>Whether a round is one of them.</summary>
    /// <param name="round">From 1.</param>
    /// <param name="rounds">Of the run.</param>
    public bool Contains(int round, int rounds) => _contains(round, rounds);

    /// <inheritdoc/>
    public bool Equals(RoundSet? other) => other is not null && Text == other.Text;

    /// <inheritdoc/>
    public override int GetHashCode() => Text.GetHashCode(StringComparison.Ordinal);

    /// <inheritdoc/>
    public override string ToString() => Text;

    [GeneratedRegex("^(?:(?<word>every|first|last) (?<n>[0-9]{1,6})|(?<n>[0-9]{1,6})(?:-(?<to>[0-9]{1,6}))?)$")]
    private static partial Regex Form();

    private sealed class AsText : JsonConverter<RoundSet>
    {
        public override RoundSet Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            throw new NotSupportedException("rounds are read from a plan");

        public override void Write(Utf8JsonWriter writer, RoundSet value, JsonSerializerOptions options) =>
            writer.WriteStringValue(value.Text);
    }
}
