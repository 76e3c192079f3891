using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Chat.Jinja;

internal enum TokenKind
{
    Text,
    BeginPrint,
    EndPrint,
    BeginBlock,
    EndBlock,
    Name,
    String,
    Int,
    Float,
    Operator,
    End,
}

/// <summary>A token of a template; the text of a string is what it stands for.</summary>
internal sealed record Token(TokenKind Kind, string Text, int Line)
{
    public bool Is(string symbol) => Kind is TokenKind.Operator && Text == symbol;

    public bool IsName(string name) => Kind is TokenKind.Name && Text == name;
}

/// <summary>
/// A template cut into tokens under the settings that chat templates are written for: <c>trim_blocks</c> (the first newline after a
/// block is removed), <c>lstrip_blocks</c> (spaces before a block at the start of a line are removed) and no trailing newline kept.
/// </summary>
internal sealed class Lexer
{
    private static readonly string[] Operators = ["**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[", "]", "(", ")", "{",
        "}", ">", "<", "=", ".", ":", "|", ",", ";"];
    private readonly List<Token> _tokens = [];
    private readonly string _text;
    private int _at;
    private int _line = 1;
    private bool _lineStarts = true;

    private Lexer(string text)
    {
        text = text.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        _text = text.EndsWith('\n') ? text[..^1] : text;
    }

    /// <summary>The tokens, the last of them <see cref="TokenKind.End"/>.</summary>
    /// <param name="text">A template.</param>
    /// <param name="line">Where the lexer is, for an error's place.</param>
    public static List<Token> Read(string text, ref int line)
    {
        var lexer = new Lexer(text);
        try
        {
            lexer.Read();
            return lexer._tokens;
        }
        finally
        {
            line = lexer._line;
        }
    }

    private void Read()
    {
        while (_at < _text.Length)
        {
            var open = NextOpening();
            var kind = open < 0 ? '\0' : _text[open + 1];
            AddText(open < 0 ? _text[_at..] : BeforeTag(open, kind));
            if (open < 0) break;
            Move(open + 2);
            if (_at < _text.Length && _text[_at] is '-' or '+' && !(kind == '#' && Starts("-#}"))) Move(_at + 1);
            if (kind == '#') Comment();
            else if (kind == '%' && IsRaw()) Raw();
            else Tag(kind == '{');
        }

        Add(TokenKind.End, "");
    }

    private int NextOpening()
    {
        for (var at = _at; (at = _text.IndexOf('{', at)) >= 0 && at + 1 < _text.Length; at++)
            if (_text[at + 1] is '{' or '%' or '#') return at;
        return -1;
    }

    // Text up to a tag, without what the tag's sign or lstrip_blocks take.
    private string BeforeTag(int open, char kind)
    {
        var text = _text[_at..open];
        var sign = open + 2 < _text.Length ? _text[open + 2] : '\0';
        if (sign == '-') return text.TrimEnd();
        if (sign == '+' || kind == '{') return text;
        var line = text.LastIndexOf('\n') + 1;
        return (line > 0 || _lineStarts) && string.IsNullOrWhiteSpace(text[line..]) ? text[..line] : text;
    }

    private void AddText(string text)
    {
        if (text.Length > 0) _tokens.Add(new(TokenKind.Text, text, _line));
    }

    private void Comment()
    {
        var end = _text.IndexOf("#}", _at, StringComparison.Ordinal);
        if (end < 0) throw new JinjaException("a comment is not closed; end it with #}");
        var sign = end > _at ? _text[end - 1] : '\0';
        Move(end + 2);
        AfterTag(sign, trimNewline: true);
    }

    private bool IsRaw()
    {
        var at = SkipSpace(_at);
        return string.CompareOrdinal(_text, at, "raw", 0, 3) == 0 && (at = SkipSpace(at + 3)) < _text.Length
            && (Starts("%}", at) || Starts("-%}", at));
    }

    private void Raw()
    {
        var close = _text.IndexOf("%}", _at, StringComparison.Ordinal);
        var sign = _text[close - 1];
        Move(close + 2);
        AfterTag(sign, trimNewline: false);
        for (var open = _at; (open = _text.IndexOf("{%", open, StringComparison.Ordinal)) >= 0; open += 2)
        {
            var name = SkipSpace(open + 2 < _text.Length && _text[open + 2] is '-' or '+' ? open + 3 : open + 2);
            if (!Starts("endraw", name)) continue;
            var end = SkipSpace(name + 6);
            sign = end < _text.Length ? _text[end] : '\0';
            if (sign is '-' or '+') end++;
            if (!Starts("%}", end)) continue;
            AddText(BeforeTag(open, '%'));
            Move(end + 2);
            AfterTag(sign, trimNewline: true);
            return;
        }

        throw new JinjaException("{% raw %} is not closed; end it with {% endraw %}");
    }

    private void Tag(bool isPrint)
    {
        var close = isPrint ? "}}" : "%}";
        Add(isPrint ? TokenKind.BeginPrint : TokenKind.BeginBlock, "");
        var brackets = new Stack<char>();
        while (true)
        {
            Move(SkipSpace(_at));
            if (_at >= _text.Length) throw new JinjaException($"a tag is not closed; end it with {close}");
            if (brackets.Count == 0 && (Starts(close) || Starts("-" + close) || (!isPrint && Starts("+" + close))))
            {
                var sign = _text[_at];
                Add(isPrint ? TokenKind.EndPrint : TokenKind.EndBlock, "");
                Move(_at + (Starts(close) ? 2 : 3));
                AfterTag(sign, trimNewline: !isPrint);
                return;
            }

            ReadToken(brackets);
        }
    }

    private void AfterTag(char sign, bool trimNewline)
    {
        var end = _at;
        if (sign == '-') end = SkipSpace(end);
        else if (trimNewline && sign != '+' && end < _text.Length && _text[end] == '\n') end++;
        Move(end);
        _lineStarts = _text[_at - 1] == '\n';
    }

    private void ReadToken(Stack<char> brackets)
    {
        var first = _text[_at];
        if (first is '"' or '\'') ReadString(first);
        else if (char.IsAsciiDigit(first)) ReadNumber();
        else if (char.IsLetter(first) || first == '_') Take(TokenKind.Name, static c => char.IsLetterOrDigit(c) || c == '_');
        else
        {
            var symbol = Array.Find(Operators, symbol => Starts(symbol))
                ?? throw new JinjaException($"the character '{Shown(first)}' has no meaning in an expression; put texts in quotes");
            if (symbol is "(" or "[" or "{") brackets.Push(symbol[0]);
            if (symbol is ")" or "]" or "}"
                && (!brackets.TryPop(out var open) || (open, symbol[0]) is not (('(', ')') or ('[', ']') or ('{', '}'))))
                throw new JinjaException($"'{symbol}' closes nothing; look for the bracket that is missing before it");
            Add(TokenKind.Operator, symbol);
            Move(_at + symbol.Length);
        }
    }

    private void Take(TokenKind kind, Func<char, bool> belongs)
    {
        var end = _at;
        while (end < _text.Length && belongs(_text[end])) end++;
        Add(kind, _text[_at..end]);
        Move(end);
    }

    private void ReadNumber()
    {
        var end = _at;
        bool DigitAt(int at) => at < _text.Length && char.IsAsciiDigit(_text[at]);
        void Digits()
        {
            while (DigitAt(end) || (end < _text.Length && _text[end] == '_' && DigitAt(end + 1))) end++;
        }

        Digits();
        var whole = end;
        if (end < _text.Length && _text[end] == '.' && DigitAt(end + 1))
        {
            end++;
            Digits();
        }

        if (end < _text.Length && _text[end] is 'e' or 'E'
            && (DigitAt(end + 1) || (end + 1 < _text.Length && _text[end + 1] is '+' or '-' && DigitAt(end + 2))))
        {
            end += 2;
            Digits();
        }

        Add(end == whole ? TokenKind.Int : TokenKind.Float, _text[_at..end].Replace("_", "", StringComparison.Ordinal));
        Move(end);
    }

    private void ReadString(char quote)
    {
        var (text, at) = (new StringBuilder(), _at + 1);
        for (; at < _text.Length && _text[at] != quote; at++)
        {
            if (_text[at] != '\\' || at + 1 >= _text.Length) text.Append(_text[at]);
            else at = Escape(at + 1, text);
        }

        if (at >= _text.Length) throw new JinjaException($"a string is not closed; end it with {quote}");
        Add(TokenKind.String, text.ToString());
        Move(at + 1);
    }

    // Python's escapes; an unknown one stays as written. Returns the last character that belongs to it.
    private int Escape(int at, StringBuilder text)
    {
        var letter = _text[at];
        var digits = letter switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits > 0)
        {
            if (at + digits >= _text.Length
                || !int.TryParse(_text.AsSpan(at + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code)
                || code is < 0 or > 0x10FFFF)
                throw new JinjaException($"\\{Shown(letter)} in a string needs {digits} hexadecimal digits of a character");
            if (code > char.MaxValue) text.Append(char.ConvertFromUtf32(code));
            else text.Append((char)code);
            return at + digits;
        }

        if (letter is >= '0' and <= '7')
        {
            var (code, end) = (0, at);
            for (; end < _text.Length && end < at + 3 && _text[end] is >= '0' and <= '7'; end++) code = code * 8 + _text[end] - '0';
            text.Append((char)code);
            return end - 1;
        }

        var plain = letter switch
        {
            'n' => "\n",
            't' => "\t",
            'r' => "\r",
            'b' => "\b",
            'f' => "\f",
            'v' => "\v",
            'a' => "\a",
            '\\' => "\\",
            '\'' => "'",
            '"' => "\"",
            '\n' => "",
            _ => null,
        };
        text.Append(plain ?? $"\\{letter}");
        return at;
    }

    private int SkipSpace(int at)
    {
        while (at < _text.Length && char.IsWhiteSpace(_text[at])) at++;
        return at;
    }

    private bool Starts(string symbol) => Starts(symbol, _at);

    private bool Starts(string symbol, int at) => string.CompareOrdinal(_text, at, symbol, 0, symbol.Length) == 0;

    private void Add(TokenKind kind, string text) => _tokens.Add(new(kind, text, _line));

    private void Move(int to)
    {
        _line += _text.AsSpan(_at, to - _at).Count('\n');
        _at = to;
    }

    private static string Shown(char character) =>
        char.IsControl(character) || char.IsSurrogate(character) ? $"U+{(int)character:X4}" : $"{character}";
}
