using System.Text;

namespace FedRLora.Training.Data.Tokenizers.PreTokenizers;

/// <summary>Shows spaces as a visible mark, by default U+2581, and may put one before a text.</summary>
/// <param name="Mark">Stands for a space.</param>
/// <param name="Scheme">Which pieces get a mark at their front, where they have none.</param>
/// <param name="Split">Whether a piece is cut before each mark.</param>
internal sealed record Metaspace(char Mark, Metaspace.Prepend Scheme, bool Split)
{
    public enum Prepend
    {
        Always,

        /// <summary>Only the one that begins the whole text.</summary>
        First,

        Never,
    }

    public static Metaspace Read(Setting setting)
    {
        setting.Only("type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split");
        var scheme = setting.OptionalText("prepend_scheme") switch
        {
            null => setting.Flag("add_prefix_space", absent: true) ? Prepend.Always : Prepend.Never, // the older name of the setting
            "always" => Prepend.Always,
            "first" => Prepend.First,
            "never" => Prepend.Never,
            var other => throw setting.Bad($"prepend_scheme is \"{Setting.Shorten(other)}\", expected always, first or never"),
        };
        return new Metaspace(setting.Character("replacement", absent: '\u2581'), scheme, setting.Flag("split", absent: true));
    }

    public List<Piece> Apply(List<Piece> pieces)
    {
        // All pieces become parts of one string.
        var text = new StringBuilder();
        var ends = new int[pieces.Count];
        for (var i = 0; i < ends.Length; i++)
        {
            var (piece, begin) = (pieces[i], text.Length);
            var marked = piece.Length > 0 && (piece.Span[0] == ' ' || piece.Span[0] == Mark);
            if (!marked && (Scheme == Prepend.Always || (Scheme == Prepend.First && piece.Begins))) text.Append(Mark);
            text.Append(piece.Span).Replace(' ', Mark, begin, text.Length - begin);
            ends[i] = text.Length;
        }

        var whole = text.ToString();
        List<Piece> shown = [.. pieces.Select(
            (piece, i) => new Piece(whole, i == 0 ? 0 : ends[i - 1], i == 0 ? ends[0] : ends[i] - ends[i - 1], piece.Begins))];
        return Split ? Splitter.Split(shown, Marks, SplitBehavior.MergedWithNext, invert: false) : shown;
    }

    /// <summary>The text of tokens: marks become spaces, and the one that was put before the text goes.</summary>
    public IReadOnlyList<string> Decode(IReadOnlyList<string> tokens) =>
        [.. tokens.Select(
            (token, index) => (index == 0 && Scheme != Prepend.Never && token.StartsWith(Mark) ? token[1..] : token).Replace(Mark, ' '))];

    private void Marks(ReadOnlySpan<char> text, List<(int Start, int Length)> matches)
    {
        for (var at = 0; at < text.Length; at++)
        {
            if (text[at] == Mark) matches.Add((at, 1));
        }
    }
}
