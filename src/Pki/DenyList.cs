using FedRLora.Abstractions;

namespace FedRLora.Pki;

/// <summary>
/// Certificates that are refused although they are valid: by serial number, or all of a site. One a line, <c>site NAME</c> or the serial
/// in hexadecimal digits; what follows a <c>#</c> is a comment.
/// </summary>
public sealed class DenyList
{
    private const string SiteWord = "site ";

    private readonly HashSet<string> _serials, _sites;

    private DenyList(HashSet<string> serials, HashSet<string> sites) => (_serials, _sites) = (serials, sites);

    /// <summary>Refuses nobody.</summary>
    public static DenyList Empty { get; } = new([], []);

    /// <summary>The sites none of whose certificates counts.</summary>
    public IReadOnlySet<string> Sites => _sites;

    /// <summary>The serial numbers, as <see cref="Serial"/> writes them.</summary>
    public IReadOnlySet<string> Serials => _serials;

    /// <summary>A serial number in the one form in which they are compared: upper case, no separators, no leading zeros.</summary>
    public static string Serial(string digits)
    {
        var plain = digits.Replace(":", "", StringComparison.Ordinal).ToUpperInvariant().TrimStart('0');
        return plain.Length == 0 ? "0" : plain;
    }

    /// <summary>Reads a deny-list.</summary>
    /// <param name="file">What messages call it.</param>
    /// <param name="text">Its text.</param>
    /// <exception cref="BadInputException">
    /// A line is neither a serial nor a site: a list that is half understood would let somebody in.
    /// </exception>
    public static DenyList Parse(string file, string text)
    {
        HashSet<string> serials = [], sites = [];
        var number = 0;
        foreach (var whole in text.ReplaceLineEndings("\n").TrimStart('\uFEFF').Split('\n'))
        {
            number++;
            var line = (whole.IndexOf('#', StringComparison.Ordinal) is var mark and >= 0 ? whole[..mark] : whole).Trim();
            if (line.Length == 0) continue;
            if (line.StartsWith(SiteWord, StringComparison.OrdinalIgnoreCase))
                sites.Add(SanNames.CheckLabel($"{file}:{number}: site", line[SiteWord.Length..].Trim()));
            else if (line.All(static c => char.IsAsciiHexDigit(c) || c == ':'))
                serials.Add(Serial(line));
            else
                throw new BadInputException($"{file}:{number}: \"{BadInputException.Shown(line)}\" is neither a serial number in "
                    + "hexadecimal digits nor 'site NAME'");
        }

        return new(serials, sites);
    }
}
