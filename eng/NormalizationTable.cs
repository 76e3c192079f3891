// Writes src/Training/Data/Tokenizers/Normalizers/UnicodeTable.txt from the Unicode Character Database, as the Debian package
// unicode-data unpacks it:  dotnet run eng/NormalizationTable.cs -- /usr/share/unicode > the table
using System.Globalization;

var folder = args is [var given] ? given : throw new ArgumentException("usage: NormalizationTable.cs <folder with UnicodeData.txt>");
var excluded = Excluded(Path.Combine(folder, "DerivedNormalizationProps.txt"));
var (classes, mappings) = (new List<(int First, int Last, string Class)>(), new List<string>());
foreach (var line in File.ReadLines(Path.Combine(folder, "UnicodeData.txt")))
{
    var fields = line.Split(';');
    var (code, combining, mapping) = (Hex(fields[0]), fields[3], fields[5]);
    if (combining != "0")
    {
        if (classes.Count > 0 && classes[^1] is var last && last.Last == code - 1 && last.Class == combining)
            classes[^1] = last with { Last = code };
        else classes.Add((code, code, combining));
    }

    if (mapping.Length == 0) continue;
    if (mapping[0] == '<') mappings.Add($"K {fields[0]} {mapping[(mapping.IndexOf('>', StringComparison.Ordinal) + 2)..]}");
    else mappings.Add($"{(excluded.Contains(code) ? 'X' : 'D')} {fields[0]} {mapping}");
}

Console.WriteLine($"# Combining classes and decompositions of {Version(Path.Combine(folder, "DerivedNormalizationProps.txt"))}: "
    + "a modified extract of UnicodeData.txt and");
Console.WriteLine("# DerivedNormalizationProps.txt, made by eng/NormalizationTable.cs. Copyright (c) 1991-2022 Unicode, Inc.; "
    + "permission: UnicodeTable.NOTICE.txt.");
Console.WriteLine("# C first last class; D code mapping: canonical, composes again; X: canonical, never composes; K: compatibility.");
foreach (var (first, last, combining) in classes) Console.WriteLine($"C {first:X4} {last:X4} {combining}");
foreach (var mapping in mappings) Console.WriteLine(mapping);

static HashSet<int> Excluded(string path) => [.. File.ReadLines(path)
    .Select(static line => line.Split('#')[0].Split(';', StringSplitOptions.TrimEntries))
    .Where(static fields => fields.Length > 1 && fields[1] == "Full_Composition_Exclusion")
    .SelectMany(static fields => fields[0].Split("..") is [var first, var last]
        ? Enumerable.Range(Hex(first), Hex(last) - Hex(first) + 1) : [Hex(fields[0])])];

// "# DerivedNormalizationProps-15.0.0.txt"
static string Version(string path) => "Unicode " + File.ReadLines(path).First().Split('-')[1].Replace(".txt", "", StringComparison.Ordinal);

static int Hex(string text) => int.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
