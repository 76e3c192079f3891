using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// Oniguruma's regular expressions (its Ruby syntax), in which the patterns of <c>tokenizer.json</c> are written, in .NET's.
/// What .NET would read in another sense is rewritten, or refused where it has no equal.
/// </summary>
internal sealed class OnigurumaSyntax
{
    private const string WordClass = @"\p{L}\p{M}\p{Nd}\p{Pc}";
    private const string HexClass = "0-9a-fA-F";
    private const int MaxLength = 10_000;

    private static readonly Dictionary<string, string> Categories = new(StringComparer.OrdinalIgnoreCase)
    {
        ["Letter"] = "L", ["Uppercase_Letter"] = "Lu", ["Lowercase_Letter"] = "Ll", ["Titlecase_Letter"] = "Lt", ["Modifier_Letter"] = "Lm",
        ["Other_Letter"] = "Lo", ["Mark"] = "M", ["Nonspacing_Mark"] = "Mn", ["Spacing_Mark"] = "Mc", ["Enclosing_Mark"] = "Me",
        ["Number"] = "N", ["Decimal_Number"] = "Nd", ["Letter_Number"] = "Nl", ["Other_Number"] = "No", ["Punctuation"] = "P",
        ["Punct"] = "P", ["Symbol"] = "S", ["Separator"] = "Z", ["Space_Separator"] = "Zs", ["Other"] = "C", ["Control"] = "Cc",
    };

    private readonly string _source;
    private readonly StringBuilder _result = new();
    private readonly Stack<int> _groups = new();
    private int _at;
    private int _atom = -1; // where the last thing that a quantifier may follow begins in the result

    private OnigurumaSyntax(string source) => _source = source;

    /// <exception cref="FormatException">The syntax has no equal here; the message names it.</exception>
    public static string Translate(string source)
    {
        if (source.Length > MaxLength) throw new FormatException($"it has {source.Length} characters, at most {MaxLength} are read");
        if (source.AsSpan().ContainsAnyInRange('\ud800', '\udfff')) throw new FormatException("characters beyond U+FFFF");
        return new OnigurumaSyntax(source).Expression();
    }

    private string Expression()
    {
        while (_at < _source.Length)
        {
            switch (_source[_at])
            {
                case '\\':
                    Escape();
                    break;
                case '[':
                    Begin();
                    _at++;
                    _result.Append(Class());
                    break;
                case '(':
                    Group();
                    break;
                case ')':
                    _result.Append(_source[_at++]);
                    _atom = _groups.TryPop(out var start) ? start : throw new FormatException("a group that is closed before it begins");
                    break;
                case '*' or '+' or '?' or '{':
                    Quantifier();
                    break;
                case '|':
                    _result.Append(_source[_at++]);
                    _atom = -1;
                    break;
                case '#' or ' ': // plain, whatever the options
                    Begin();
                    _result.Append('\\').Append(_source[_at++]);
                    break;
                default:
                    Begin();
                    _result.Append(_source[_at++]);
                    break;
            }
        }

        return _result.ToString();
    }

    private void Begin() => _atom = _result.Length;

    private void Group()
    {
        _groups.Push(_result.Length);
        if (!Follows("(?"))
        {
            _result.Append(_source[_at++]);
            _atom = -1;
            return;
        }

        foreach (var plain in (ReadOnlySpan<string>)["(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"])
        {
            if (!Follows(plain)) continue;
            _result.Append(plain);
            (_at, _atom) = (_at + plain.Length, -1);
            return;
        }

        var colon = _at + 2;
        while (colon < _source.Length && _source[colon] is 'i' or 'm' or '-') colon++;
        if (colon == _at + 2 || colon == _source.Length || _source[colon] is not (':' or ')'))
            throw new FormatException($"group {Excerpt(_at)}");
        _result.Append(_source[_at..(colon + 1)].Replace('m', 's')); // Ruby's m lets the dot match a line's end
        if (_source[colon] == ')') _groups.Pop();
        (_at, _atom) = (colon + 1, -1);
    }

    private void Quantifier()
    {
        var start = _at;
        var interval = Interval();
        if (interval is null && _source[_at] == '{')
        {
            Begin();
            _result.Append("\\{");
            _at++;
            return;
        }

        if (_atom < 0) throw new FormatException($"quantifier {Excerpt(start)} without anything before it");
        _result.Append(interval ?? _source[_at].ToString());
        _at += interval is null ? 1 : 0;
        if (_at >= _source.Length) return;
        if (_source[_at] == '?') _result.Append(_source[_at++]);
        else if (_source[_at] == '+' && interval is null)
        {
            _result.Insert(_atom, "(?>").Append(')'); // possessive
            _at++;
        }

        if (_at < _source.Length && (_source[_at] is '*' or '+' or '?'))
            throw new FormatException($"quantifier {Excerpt(start)} on a quantifier");
    }

    // {n}, {n,}, {n,m} and {,m}; null where the brace is a plain one.
    private string? Interval()
    {
        if (_source[_at] != '{') return null;
        var end = _source.IndexOf('}', _at);
        if (end < 0) return null;
        var bounds = _source[(_at + 1)..end];
        if (bounds.Length == 0 || bounds == "," || bounds.Count(',') > 1
            || bounds.Any(static digit => !char.IsAsciiDigit(digit) && digit != ',')) return null;
        _at = end + 1;
        return bounds[0] == ',' ? $"{{0{bounds}}}" : $"{{{bounds}}}";
    }

    private void Escape()
    {
        Begin();
        if (_at + 1 >= _source.Length) throw new FormatException("a backslash at the end");
        switch (_source[_at + 1])
        {
            case 'w' or 'h':
                _result.Append('[').Append(_source[_at + 1] == 'w' ? WordClass : HexClass).Append(']');
                _at += 2;
                break;
            case 'W' or 'H':
                _result.Append("[^").Append(_source[_at + 1] == 'W' ? WordClass : HexClass).Append(']');
                _at += 2;
                break;
            case 'A' or 'z' or 'Z' or 'b' or 'B':
                _result.Append(_source, _at, 2);
                _at += 2;
                break;
            default:
                _result.Append(EscapedCharacter());
                break;
        }
    }

    // What stands for the same inside a class and outside.
    private string EscapedCharacter()
    {
        var start = _at;
        if (_at + 1 >= _source.Length) throw new FormatException("a backslash at the end");
        var kind = _source[_at + 1];
        _at += 2;
        switch (kind)
        {
            case 'p' or 'P':
                return Property(kind == 'P');
            case 'd' or 'D' or 's' or 'S' or 't' or 'n' or 'r' or 'f' or 'v' or 'a' or 'e':
                return $"\\{kind}";
            case 'u':
                return Unit(_source.AsSpan(_at, Math.Min(4, _source.Length - _at)), 4, start);
            case 'x' when Follows("{"):
                var close = _source.IndexOf('}', _at);
                return close < 0
                    ? throw new FormatException($"escape {Excerpt(start)}")
                    : Unit(_source.AsSpan(_at + 1, close - _at - 1), close - _at + 1, start);
            case 'x':
                return Unit(_source.AsSpan(_at, Math.Min(2, _source.Length - _at)), 2, start);
            default:
                return char.IsAsciiLetterOrDigit(kind) ? throw new FormatException($"escape {Excerpt(start)}")
                    : char.IsAscii(kind) ? $"\\{kind}"
                    : kind.ToString();
        }
    }

    private string Unit(ReadOnlySpan<char> digits, int length, int start)
    {
        if (!int.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code) || code is < 0 or > 0xffff
            || char.IsSurrogate((char)code)) throw new FormatException($"escape {Excerpt(start)}");
        _at += length;
        return string.Create(CultureInfo.InvariantCulture, $"\\u{code:X4}");
    }

    private string Property(bool negated)
    {
        var end = Follows("{") ? _source.IndexOf('}', _at) : -1;
        if (end < 0) throw new FormatException($"property {Excerpt(_at)}");
        var name = _source[(_at + 1)..end];
        _at = end + 1;
        if (name.StartsWith('^')) (name, negated) = (name[1..], !negated);
        name = Categories.GetValueOrDefault(name, name);
        // Longer names are scripts and blocks, which differ between the two.
        return name.Length <= 2 ? $"\\{(negated ? 'P' : 'p')}{{{name}}}" : throw new FormatException($"property {name}");
    }

    // From behind the bracket to behind its end. A class within a class adds its members.
    private string Class(int depth = 0)
    {
        if (depth > 8) throw new FormatException("classes nested more than eight deep");
        var members = new StringBuilder();
        var negated = Follows("^");
        if (negated) _at++;
        for (var first = true; _at < _source.Length; first = false)
        {
            switch (_source[_at])
            {
                case ']' when !first:
                    _at++;
                    return depth == 0 ? $"[{(negated ? "^" : "")}{members}]"
                        : negated ? throw new FormatException("a negated class within a class")
                        : members.ToString();
                case '[' when Follows("[:"):
                    throw new FormatException($"class {Excerpt(_at)}");
                case '[':
                    _at++;
                    members.Append(Class(depth + 1));
                    break;
                case '&' when Follows("&&"):
                    throw new FormatException("an intersection of classes");
                case '\\' when _at + 1 < _source.Length && _source[_at + 1] is 'w' or 'h':
                    members.Append(_source[_at + 1] == 'w' ? WordClass : HexClass);
                    _at += 2;
                    break;
                case '\\' when Follows("\\b"):
                    members.Append("\\b");
                    _at += 2;
                    break;
                case '\\':
                    members.Append(EscapedCharacter());
                    break;
                case '-' when !first && _at + 1 < _source.Length && _source[_at + 1] is not (']' or '['):
                    members.Append(_source[_at++]);
                    break;
                case ']' or '-' or '^':
                    members.Append('\\').Append(_source[_at++]);
                    break;
                default:
                    members.Append(_source[_at++]);
                    break;
            }
        }

        throw new FormatException("a class without an end");
    }

    private bool Follows(string text) => string.CompareOrdinal(_source, _at, text, 0, text.Length) == 0;

    private string Excerpt(int at) => _source.Substring(at, Math.Min(12, _source.Length - at));
}
