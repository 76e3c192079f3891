using System.Collections;
using System.Globalization;

namespace FedRLora.Training.Data.Tokenizers.Normalizers;

/// <summary>
/// What normalization needs of the Unicode Character Database, from <c>UnicodeTable.txt</c> (see <c>eng/NormalizationTable.cs</c>).
/// </summary>
internal sealed class UnicodeTable
{
    private static readonly Lazy<UnicodeTable> Shared = new(static () => new UnicodeTable());

    private readonly Dictionary<int, byte> _classes = [];
    private readonly Dictionary<int, int[]> _canonical = [];
    private readonly Dictionary<int, int[]> _compatible = [];
    private readonly Dictionary<(int, int), int> _compositions = [];

    private UnicodeTable()
    {
        var (canonical, compatible) = (new Dictionary<int, int[]>(), new Dictionary<int, int[]>());
        using var reader = new StreamReader(typeof(UnicodeTable).Assembly.GetManifestResourceStream("UnicodeTable.txt")!);
        while (reader.ReadLine() is { } line)
        {
            var fields = line.Split(' ');
            if (fields[0] == "C")
            {
                for (var code = Hex(fields[1]); code <= Hex(fields[2]); code++)
                    _classes[code] = byte.Parse(fields[3], CultureInfo.InvariantCulture);
            }
            else if (fields[0] is "D" or "X" or "K")
            {
                var (code, mapping) = (Hex(fields[1]), fields[2..].Select(Hex).ToArray());
                (fields[0] == "K" ? compatible : canonical).Add(code, mapping);
                if (fields[0] == "D") _compositions.Add((mapping[0], mapping[1]), code);
            }
        }

        foreach (var code in canonical.Keys) _canonical[code] = Expand(code, canonical, []);
        foreach (var code in canonical.Keys.Concat(compatible.Keys)) _compatible[code] = Expand(code, canonical, compatible);
    }

    public static UnicodeTable Instance => Shared.Value;

    public byte ClassOf(int code) => _classes.GetValueOrDefault(code);

    /// <summary>The full decomposition, or null where a character stands for itself. Hangul syllables are not in the table.</summary>
    public int[]? Decompose(int code, bool compatible) => (compatible ? _compatible : _canonical).GetValueOrDefault(code);

    public bool TryCompose(int first, int second, out int composed) => _compositions.TryGetValue((first, second), out composed);

    /// <summary>Characters of the basic plane that a form never changes, whatever stands beside them.</summary>
    public BitArray Inert(bool compatible, bool composed)
    {
        var inert = new BitArray(0x10000, true);
        foreach (var code in _classes.Keys.Where(static code => code < 0x10000)) inert[code] = false;
        foreach (var (code, mapping) in compatible ? _compatible : _canonical)
        {
            // A decomposition that composes again is undone; what follows may still join it, but that is then not inert itself.
            if (code < 0x10000 && !(composed && _canonical.TryGetValue(code, out var canonical) && canonical.AsSpan().SequenceEqual(mapping)
                && Recomposes(canonical, code))) inert[code] = false;
        }

        if (composed)
        {
            foreach (var (_, second) in _compositions.Keys.Where(static pair => pair.Item2 < 0x10000)) inert[second] = false;
            for (var jamo = 0x1161; jamo <= 0x11c2; jamo++) inert[jamo] = false;
        }
        else
        {
            for (var syllable = 0xac00; syllable <= 0xd7a3; syllable++) inert[syllable] = false;
        }

        for (var surrogate = 0xd800; surrogate <= 0xdfff; surrogate++) inert[surrogate] = false;
        return inert;
    }

    private bool Recomposes(int[] mapping, int code)
    {
        var composed = mapping[0];
        foreach (var next in mapping.Skip(1))
        {
            if (!TryCompose(composed, next, out composed)) return false;
        }

        return composed == code;
    }

    private static int[] Expand(int code, Dictionary<int, int[]> canonical, Dictionary<int, int[]> compatible) =>
        canonical.TryGetValue(code, out var mapping) || compatible.TryGetValue(code, out mapping)
            ? [.. mapping.SelectMany(part => Expand(part, canonical, compatible))] : [code];

    private static int Hex(string text) => int.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
