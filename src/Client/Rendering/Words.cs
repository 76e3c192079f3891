using System.Globalization;

namespace FedRLora.Client.Rendering;

/// <summary>Numbers as people read them; a dash where there is none.</summary>
internal static class Words
{
    public const string None = "-";

    public static string Count(int count, string noun) => string.Create(CultureInfo.InvariantCulture, $"{count} {noun}{(count == 1 ? "" : "s")}");

    public static string Loss(double? loss) => Number(loss, "0.000");

    /// <summary>A share with three decimals, a perplexity with two.</summary>
    public static string Score(double? score) => Number(score, score is > 1 or < -1 ? "0.00" : "0.000");

    /// <summary>A difference with its sign.</summary>
    public static string Difference(double? difference) => Number(difference, difference is > 1 or < -1 ? "+0.00;-0.00;0.00" : "+0.000;-0.000;0.000");

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

    public static string Number(double? value, string format) => value is { } number && double.IsFinite(number) ? number.ToString(format, CultureInfo.InvariantCulture) : None;
}
