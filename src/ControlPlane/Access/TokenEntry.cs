using System.Buffers.Text;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.ControlPlane.Access;

/// <summary>
/// A line of a file of hashed tokens: <c>NAME ROLES sha256:HASH [until=YYYY-MM-DD]</c>. A token has 256 random bits, so that its plain
/// SHA-256 cannot be turned back by guessing: a slow hash is for what people think up.
/// </summary>
/// <param name="Name">Whose it is.</param>
/// <param name="Rights">What it allows.</param>
/// <param name="Hash">SHA-256 of the token's text.</param>
/// <param name="Until">The last day, UTC, on which it counts; null for no such day.</param>
public sealed record TokenEntry(string Name, Rights Rights, ReadOnlyMemory<byte> Hash, DateOnly? Until)
{
    private const string HashPrefix = "sha256:", UntilPrefix = "until=", DayForm = "yyyy-MM-dd";
    private const int TokenBytes = 32;

    /// <summary>A new token: what is told once, and nowhere kept.</summary>
    public static string NewToken() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(TokenBytes));

    /// <summary>The hash of a token's text.</summary>
    public static byte[] HashOf(string token) => SHA256.HashData(Encoding.UTF8.GetBytes(token));

    /// <summary>Whether it counts on a day.</summary>
    public bool CountsOn(DateTimeOffset now) => Until is not { } last || DateOnly.FromDateTime(now.UtcDateTime) <= last;

    /// <summary>Reads a day.</summary>
    /// <exception cref="BadInputException">It is none.</exception>
    public static DateOnly Day(string where, string text) =>
        DateOnly.TryParseExact(text, DayForm, CultureInfo.InvariantCulture, DateTimeStyles.None, out var day)
            ? day
            : throw new BadInputException($"{where}: \"{BadInputException.Shown(text)}\" is no day; write YYYY-MM-DD");

    /// <summary>The entries of a file's text.</summary>
    /// <param name="file">What messages call it.</param>
    /// <param name="text">The text.</param>
    /// <exception cref="BadInputException">A line is none, or a name or a hash stands there twice.</exception>
    public static IReadOnlyList<TokenEntry> Parse(string file, string text)
    {
        List<TokenEntry> entries = [];
        var number = 0;
        foreach (var whole in text.ReplaceLineEndings("\n").TrimStart('\uFEFF').Split('\n'))
        {
            number++;
            var line = whole.IndexOf('#', StringComparison.Ordinal) is var mark and >= 0 ? whole[..mark] : whole;
            if (string.IsNullOrWhiteSpace(line)) continue;
            var entry = Line($"{file}:{number}", line);
            if (entries.Any(other => other.Name == entry.Name))
                throw new BadInputException($"{file}:{number}: the name {entry.Name} stands in a line before; give this one another");
            if (entries.FirstOrDefault(other => other.Hash.Span.SequenceEqual(entry.Hash.Span)) is { } same)
                throw new BadInputException($"{file}:{number}: the token of {entry.Name} is that of {same.Name}; make another");
            entries.Add(entry);
        }

        return entries;
    }

    /// <summary>As a line of the file.</summary>
    public override string ToString() => $"{Name} {Rights} {HashPrefix}{Convert.ToHexStringLower(Hash.Span)}"
        + (Until is { } last ? $" {UntilPrefix}{last.ToString(DayForm, CultureInfo.InvariantCulture)}" : "");

    private static TokenEntry Line(string where, string line)
    {
        var words = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        if (words.Length is < 3 or > 4)
            throw new BadInputException($"{where}: a line is NAME ROLES {HashPrefix}HASH, and {UntilPrefix}YYYY-MM-DD where it ends");
        var digits = words[2].StartsWith(HashPrefix, StringComparison.Ordinal) ? words[2][HashPrefix.Length..] : "";
        if (digits.Length != 2 * SHA256.HashSizeInBytes || !digits.All(char.IsAsciiHexDigit))
            throw new BadInputException($"{where}: the third word is no {HashPrefix} with 64 hexadecimal digits; a token itself does not "
                + "stand in this file");
        if (words.Length == 4 && !words[3].StartsWith(UntilPrefix, StringComparison.Ordinal))
            throw new BadInputException($"{where}: the fourth word is no {UntilPrefix}YYYY-MM-DD");
        return new(Identifiers.Check($"{where}: name", words[0]), Rights.Parse(where, words[1]), Convert.FromHexString(digits),
            words.Length == 4 ? Day(where, words[3][UntilPrefix.Length..]) : null);
    }
}
