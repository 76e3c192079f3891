using System.Globalization;

namespace FedRLora.Training.Data;

/// <summary>Numbers as labels: 1, 1.0 and 1e0 are one, and no two that differ are.</summary>
internal static class NumberLabel
{
    private const int LongestPlain = 40, MostZeros = 5;

    /// <summary>The one form of a number as JSON writes it; any other text as it is.</summary>
    public static string Of(string written)
    {
        var unsigned = written.AsSpan(written.StartsWith('-') ? 1 : 0);
        var end = unsigned.IndexOfAny('e', 'E') is var e and >= 0 ? e : unsigned.Length;
        var exponent = 0;
        if (end < unsigned.Length
            && !int.TryParse(unsigned[(end + 1)..], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out exponent))
        {
            return written;
        }

        var mantissa = unsigned[..end];
        var whole = mantissa.IndexOf('.') is var dot and >= 0 ? mantissa[..dot] : mantissa;
        var fraction = mantissa[Math.Min(mantissa.Length, whole.Length + 1)..];
        if (!IsDigits(whole) || (whole.Length < mantissa.Length && !IsDigits(fraction)) || (whole.Length > 1 && whole[0] == '0'))
            return written;

        var digits = $"{whole}{fraction}".TrimStart('0');
        var places = fraction.Length - (long)exponent; // of digits behind the point
        var kept = digits.TrimEnd('0');
        places -= digits.Length - kept.Length;
        if (kept.Length == 0) return "0";
        return (written[0] == '-' ? "-" : "") + Positive(kept, kept.Length - places);
    }

    // 0.DIGITS times ten to the power of POINT.
    private static string Positive(string digits, long point)
    {
        if (point > LongestPlain || point < -MostZeros)
        {
            return $"{digits[0]}{(digits.Length > 1 ? "." : "")}{digits[1..]}"
                + $"E{(point - 1).ToString("+0;-0", CultureInfo.InvariantCulture)}";
        }

        if (point >= digits.Length) return digits.PadRight((int)point, '0');
        return point > 0 ? $"{digits[..(int)point]}.{digits[(int)point..]}" : $"0.{new string('0', (int)-point)}{digits}";
    }

    private static bool IsDigits(ReadOnlySpan<char> text) => text.Length > 0 && text.IndexOfAnyExceptInRange('0', '9') < 0;
}
