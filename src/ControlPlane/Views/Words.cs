using System.Globalization;

namespace FedRLora.ControlPlane.Views;

/// <summary>Numbers as people read them; a dash where there is none.</summary>
internal static class Words
{
    public const string None = "-";

    /// <summary>A value as plans write it.</summary>
    public static string Named(Enum value) => System.Text.Json.JsonNamingPolicy.CamelCase.ConvertName(value.ToString());

    public static string Count(int count, string noun) =>
        string.Create(CultureInfo.InvariantCulture, $"{count} {noun}{(count == 1 ? "" : "s")}");

    /// <summary>Broken between words, so that no line is longer than <paramref name="width"/> but one of a single word.</summary>
    public static string Wrapped(string text, int width)
    {
        var (lines, line) = (new List<string>(), "");
        foreach (var word in text.Split(' '))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > width)
            {
                lines.Add(line);
                line = "";
            }

            line = line.Length == 0 ? word : $"{line} {word}";
        }

        return string.Join('\n', [.. lines, line]);
    }

    /// <summary>A line for a reader: broken between words at the terminal's width, whole where nothing breaks lines.</summary>
    public static string Broken(string text, int? width) => width is { } most ? Wrapped(text, most) : text;

    /// <summary>For example <c>rounds 0, 4 and 8-10</c>; the rounds are in order.</summary>
    public static string Rounds(IReadOnlyList<int> rounds)
    {
        var spans = new List<(int First, int Last)>();
        foreach (var round in rounds)
        {
            if (spans.Count > 0 && spans[^1].Last == round - 1) spans[^1] = (spans[^1].First, round);
            else spans.Add((round, round));
        }

        var texts = spans.Select(static span => span.First == span.Last ? $"{span.First}" : $"{span.First}-{span.Last}").ToArray();
        return texts.Length switch
        {
            0 => "no round",
            1 => $"round{(rounds.Count == 1 ? "" : "s")} {texts[0]}",
            _ => $"rounds {string.Join(", ", texts[..^1])} and {texts[^1]}",
        };
    }

    private const double Wide = 1e5; // from here on by its power of ten: a column is as wide as its widest number

    public static string Loss(double? loss) => Number(loss, IsWide(loss) ? "0.00e+0" : "0.000");

    /// <summary>A share with three decimals, a perplexity with two.</summary>
    public static string Score(double? score) => Number(score, IsWide(score) ? "0.00e+0" : score is > 1 or < -1 ? "0.00" : "0.000");

    /// <summary>A difference with its sign.</summary>
    public static string Difference(double? difference) => Number(difference, IsWide(difference) ? "+0.00e+0;-0.00e+0"
        : difference is > 1 or < -1 ? "+0.00;-0.00;0.00" : "+0.000;-0.000;0.000");

    private static bool IsWide(double? value) => value is >= Wide or <= -Wide;

    public static string Bytes(long bytes) => bytes switch
    {
        < 1_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes} B"),
        < 1_000_000 => Number(bytes / 1e3, "0.0") + " kB",
        < 1_000_000_000 => Number(bytes / 1e6, "0.0") + " MB",
        _ => Number(bytes / 1e9, "0.00") + " GB",
    };

    /// <summary>For example <c>2.1 s</c>, <c>3 min 05 s</c> or <c>2 h 07 min</c>; a dash for 0, which means not measured.</summary>
    public static string Seconds(double seconds) => seconds switch
    {
        <= 0 => None,
        < 60 => Number(seconds, "0.0") + " s",
        < 3600 => string.Create(CultureInfo.InvariantCulture, $"{(int)seconds / 60} min {(int)seconds % 60:00} s"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{(int)seconds / 3600} h {(int)seconds / 60 % 60:00} min"),
    };

    public static string Number(double? value, string format) =>
        value is { } number && double.IsFinite(number) ? number.ToString(format, CultureInfo.InvariantCulture) : None;
}
