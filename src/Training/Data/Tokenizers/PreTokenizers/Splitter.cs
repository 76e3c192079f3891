namespace FedRLora.Training.Data.Tokenizers.PreTokenizers;

/// <summary>Cuts pieces at matches.</summary>
internal static class Splitter
{
    /// <summary>Finds start and length of matches in a text, from left to right and none of them empty.</summary>
    public delegate void Matcher(ReadOnlySpan<char> text, List<(int Start, int Length)> matches);

    /// <param name="pieces">What is cut.</param>
    /// <param name="matcher">Finds the matches.</param>
    /// <param name="behavior">What becomes of them.</param>
    /// <param name="invert">What is between the matches takes their place, and they its.</param>
    public static List<Piece> Split(List<Piece> pieces, Matcher matcher, SplitBehavior behavior, bool invert)
    {
        var result = new List<Piece>(pieces.Count);
        var matches = new List<(int Start, int Length)>();
        var segments = new List<(int Start, int Length, bool IsMatch)>();
        foreach (var piece in pieces)
        {
            matches.Clear();
            segments.Clear();
            matcher(piece.Span, matches);
            var at = 0;
            if (behavior == SplitBehavior.Isolated) // whatever matches: all of them are pieces
            {
                foreach (var (start, length) in matches)
                {
                    if (start > at) result.Add(piece.Part(at, start - at));
                    result.Add(piece.Part(start, length));
                    at = start + length;
                }

                if (at < piece.Length) result.Add(piece.Part(at, piece.Length - at));
                continue;
            }

            foreach (var (start, length) in matches)
            {
                if (start > at) segments.Add((at, start - at, invert));
                segments.Add((start, length, !invert));
                at = start + length;
            }

            if (at < piece.Length) segments.Add((at, piece.Length - at, invert));
            Append(piece, segments, behavior, result);
        }

        return result;
    }

    private static void Append(
        Piece piece, List<(int Start, int Length, bool IsMatch)> segments, SplitBehavior behavior, List<Piece> result)
    {
        for (var i = 0; i < segments.Count; i++)
        {
            var (start, length, isMatch) = segments[i];
            if (isMatch && behavior == SplitBehavior.Removed) continue;
            while (i + 1 < segments.Count && Joins(segments[i].IsMatch, segments[i + 1].IsMatch, behavior)) length += segments[++i].Length;
            result.Add(piece.Part(start, length));
        }
    }

    private static bool Joins(bool isMatch, bool nextIsMatch, SplitBehavior behavior) => behavior switch
    {
        SplitBehavior.MergedWithPrevious => !isMatch && nextIsMatch,
        SplitBehavior.MergedWithNext => isMatch && !nextIsMatch,
        SplitBehavior.Contiguous => isMatch == nextIsMatch,
        _ => false,
    };
}
