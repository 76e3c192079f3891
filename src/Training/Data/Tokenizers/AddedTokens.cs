using System.Buffers;
using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>A token that is found in the text itself, before the model sees it.</summary>
/// <param name="Id">Token id.</param>
/// <param name="Content">Its spelling.</param>
/// <param name="Special">Left out when special tokens are skipped in decoding.</param>
/// <param name="Normalized">Sought in normalized text instead of the text as given.</param>
/// <param name="SingleWord">Found only where no letter, digit or underscore touches it.</param>
/// <param name="LeftStrip">Takes the whitespace before it.</param>
/// <param name="RightStrip">Takes the whitespace after it.</param>
internal sealed record AddedToken(int Id, string Content, bool Special, bool Normalized, bool SingleWord, bool LeftStrip, bool RightStrip);

/// <summary>The added tokens of a tokenizer; cuts a text at them, leftmost first and of those the longest.</summary>
internal sealed class AddedTokens
{
    private readonly Finder _raw;
    private readonly Finder _normalized;

    /// <param name="tokens">All added tokens.</param>
    /// <param name="normalizer">Applied to the spelling of tokens that are sought in normalized text.</param>
    public AddedTokens(IReadOnlyList<AddedToken> tokens, Func<string, string> normalizer)
    {
        Tokens = tokens;
        _raw = new Finder(tokens.Where(static token => !token.Normalized).Select(static token => (token, token.Content)));
        _normalized = new Finder(tokens.Where(static token => token.Normalized).Select(token => (token, normalizer(token.Content))));
    }

    public IReadOnlyList<AddedToken> Tokens { get; }

    /// <summary>The text in order: added tokens with their id, what is between them without.</summary>
    public IEnumerable<(string Text, int? Id)> Split(string text, bool normalized)
    {
        var finder = normalized ? _normalized : _raw;
        var start = 0;
        for (var i = finder.Next(text, 0); i >= 0; i = finder.Next(text, i))
        {
            if (finder.At(text, i) is not { } found)
            {
                i++;
                continue;
            }

            var (begin, end) = (i, i + found.Pattern.Length);
            if (found.Token.LeftStrip) begin = StripLeft(text, begin, start);
            if (found.Token.RightStrip) end = StripRight(text, end);
            if (begin > start) yield return (text[start..begin], null);
            yield return (text[begin..end], found.Token.Id);
            start = i = end;
        }

        if (start < text.Length) yield return (start == 0 ? text : text[start..], null);
    }

    private static bool StandsAlone(string text, int begin, int end) =>
        !(Rune.DecodeLastFromUtf16(text.AsSpan(0, begin), out var before, out _) == OperationStatus.Done && IsWord(before))
        && !(Rune.DecodeFromUtf16(text.AsSpan(end), out var after, out _) == OperationStatus.Done && IsWord(after));

    private static bool IsWord(Rune rune) => Rune.IsLetterOrDigit(rune) || Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
            or UnicodeCategory.ConnectorPunctuation;

    private static int StripLeft(string text, int at, int bound)
    {
        while (at > bound && char.IsWhiteSpace(text[at - 1])) at--;
        return at;
    }

    private static int StripRight(string text, int at)
    {
        while (at < text.Length && char.IsWhiteSpace(text[at])) at++;
        return at;
    }

    // Looks for all spellings at once, then at the place found for the longest.
    private sealed class Finder
    {
        private readonly Dictionary<char, (AddedToken Token, string Pattern)[]> _byFirst;
        private readonly SearchValues<string>? _any;

        public Finder(IEnumerable<(AddedToken Token, string Pattern)> patterns)
        {
            var spelled = patterns.Where(static entry => entry.Pattern.Length > 0).ToArray();
            _byFirst = spelled.GroupBy(static entry => entry.Pattern[0])
                .ToDictionary(static group => group.Key,
                    static group => group.OrderByDescending(static entry => entry.Pattern.Length).ToArray());
            if (spelled.Length > 0)
                _any = SearchValues.Create([.. spelled.Select(static entry => entry.Pattern)], StringComparison.Ordinal);
        }

        public int Next(string text, int from) =>
            _any is null || from >= text.Length || text.AsSpan(from).IndexOfAny(_any) is not (>= 0 and var next) ? -1 : from + next;

        public (AddedToken Token, string Pattern)? At(string text, int at)
        {
            foreach (var candidate in _byFirst[text[at]])
            {
                if (string.CompareOrdinal(text, at, candidate.Pattern, 0, candidate.Pattern.Length) == 0)
                    return candidate.Token.SingleWord && !StandsAlone(text, at, at + candidate.Pattern.Length) ? null : candidate;
            }

            return null;
        }
    }
}
