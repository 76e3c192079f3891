namespace FedRLora.Training.Data.Tokenizers.PreTokenizers;

/// <summary>Reads the <c>pre_tokenizer</c> of a <c>tokenizer.json</c>, which cuts a text into words.</summary>
internal static class PreTokenizerReader
{
    public static Func<List<Piece>, List<Piece>> Read(Setting? preTokenizer)
    {
        if (preTokenizer is null) return static pieces => pieces;
        var steps = Steps(preTokenizer).ToArray();
        return pieces =>
        {
            foreach (var step in steps) pieces = step(pieces);
            return pieces;
        };
    }

    private static IEnumerable<Func<List<Piece>, List<Piece>>> Steps(Setting preTokenizer)
    {
        var type = preTokenizer.Type;
        return type == "Sequence"
            ? preTokenizer.Only("type", "pretokenizers").Steps("pretokenizers", "pre_tokenizer").SelectMany(Steps)
            : [Step(preTokenizer.Named(type), type)];
    }

    private static Func<List<Piece>, List<Piece>> Step(Setting step, string type)
    {
        switch (type)
        {
            case "ByteLevel":
                step.Only("type", "add_prefix_space", "trim_offsets", "use_regex");
                var (prefix, regex) = (step.Flag("add_prefix_space", absent: true), step.Flag("use_regex", absent: true));
                return pieces => ByteLevel.Words(pieces, prefix, regex);
            case "Metaspace":
                return Metaspace.Read(step).Apply;
            case "Split":
                step.Only("type", "pattern", "behavior", "invert");
                return Cut(Pattern.Read(step).Match, Behavior(step) ?? throw step.Bad("has no behavior"), step.Flag("invert"));
            case "Whitespace":
                step.Only("type");
                return Cut(CharacterMatches.Words, SplitBehavior.Removed, invert: true);
            case "WhitespaceSplit":
                step.Only("type");
                return Cut(CharacterMatches.Whitespace, SplitBehavior.Removed);
            case "BertPreTokenizer":
                step.Only("type");
                var (spaces, marks) = (Cut(CharacterMatches.Whitespace, SplitBehavior.Removed),
                    Cut(CharacterMatches.Punctuation, SplitBehavior.Isolated));
                return pieces => marks(spaces(pieces));
            case "Punctuation":
                step.Only("type", "behavior");
                return Cut(CharacterMatches.Punctuation, Behavior(step) ?? SplitBehavior.Isolated);
            case "Digits":
                step.Only("type", "individual_digits");
                return Cut(CharacterMatches.Digits, step.Flag("individual_digits") ? SplitBehavior.Isolated : SplitBehavior.Contiguous);
            default:
                throw step.Bad("is not implemented");
        }
    }

    private static Func<List<Piece>, List<Piece>> Cut(Splitter.Matcher matcher, SplitBehavior behavior, bool invert = false) =>
        pieces => Splitter.Split(pieces, matcher, behavior, invert);

    private static SplitBehavior? Behavior(Setting step) => step.OptionalText("behavior") switch
    {
        null => null,
        "Removed" => SplitBehavior.Removed,
        "Isolated" => SplitBehavior.Isolated,
        "MergedWithPrevious" => SplitBehavior.MergedWithPrevious,
        "MergedWithNext" => SplitBehavior.MergedWithNext,
        "Contiguous" => SplitBehavior.Contiguous,
        var other => throw step.Bad(
            $"behavior is \"{Setting.Shorten(other)}\", expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous"),
    };
}
