using System.Globalization;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>What a token of a GGUF file is.</summary>
internal enum GgufTokenKind
{
    Undefined = 0,
    Normal = 1,

    /// <summary>Stands for what the vocabulary cannot spell.</summary>
    Unknown = 2,

    /// <summary>Found in the text itself, and left out where special tokens are skipped.</summary>
    Control = 3,

    /// <summary>Found in the text itself, and shown like any other.</summary>
    UserDefined = 4,

    /// <summary>Fills the vocabulary up.</summary>
    Unused = 5,

    /// <summary>One byte of a SentencePiece vocabulary.</summary>
    Byte = 6,
}

/// <summary>The vocabulary of a GGUF file.</summary>
/// <param name="Metadata">Where it stands.</param>
/// <param name="Tokens">Spelling by id; no two are equal.</param>
/// <param name="Kinds">What each is.</param>
internal sealed record GgufVocabulary(GgufMetadata Metadata, IReadOnlyList<string> Tokens, IReadOnlyList<GgufTokenKind> Kinds)
{
    public const string TokensKey = "tokenizer.ggml.tokens";
    private const string KindsKey = "tokenizer.ggml.token_type";
    private const string ScoresKey = "tokenizer.ggml.scores";
    private const string MergesKey = "tokenizer.ggml.merges";

    /// <summary>Reads the tokens and what they are.</summary>
    /// <exception cref="BadInputException">Lists of several lengths, a token twice, or a kind that there is not.</exception>
    public static GgufVocabulary Read(GgufMetadata metadata)
    {
        var tokens = metadata.OptionalTexts(TokensKey) ?? throw metadata.Missing(TokensKey);
        var ids = new Dictionary<string, int>(tokens.Length, StringComparer.Ordinal);
        for (var id = 0; id < tokens.Length; id++)
        {
            // no text contains it; llama.cpp shows it so
            if (tokens[id].Length == 0) tokens[id] = string.Create(CultureInfo.InvariantCulture, $"[EMPTY_{id}]");
            if (!ids.TryAdd(tokens[id], id))
                throw new BadInputException(
                    $"{metadata.Path}: {TokensKey} has {Quoted(tokens[id])} twice, as items {ids[tokens[id]]} and {id}, expected it once");
        }

        return new(metadata, tokens, KindsOf(metadata, tokens.Length));
    }

    /// <summary>Whether a token is found in the text itself, before the model sees it.</summary>
    public bool IsAdded(int id) => Kinds[id] is GgufTokenKind.Control or GgufTokenKind.UserDefined or GgufTokenKind.Unknown;

    /// <summary>The score of each token.</summary>
    /// <exception cref="BadInputException">Missing, not one for each token, or not finite.</exception>
    public double[] Scores()
    {
        var scores = Metadata.OptionalNumbers(ScoresKey) ?? throw Metadata.Missing(ScoresKey);
        RequireOneEach(Metadata, ScoresKey, scores.Length, Tokens.Count);
        var strange = Array.FindIndex(scores, static score => !double.IsFinite(score));
        return strange < 0
            ? scores
            : throw Metadata.Wrong(
                $"{ScoresKey}, item {strange},", scores[strange].ToString(CultureInfo.InvariantCulture), "a finite number");
    }

    /// <summary>The merges of a byte pair encoding in the order of their ranks.</summary>
    /// <exception cref="BadInputException">Missing, or one that joins what is no token or stands there twice; it is named.</exception>
    public IReadOnlyList<(string Left, string Right)> Merges()
    {
        var lines = Metadata.OptionalTexts(MergesKey) ?? throw Metadata.Missing(MergesKey);
        var known = Tokens.ToHashSet(StringComparer.Ordinal);
        var seen = new HashSet<(string, string)>(lines.Length);
        var merges = new (string Left, string Right)[lines.Length];
        for (var rank = 0; rank < lines.Length; rank++)
        {
            // A token may begin with a space, but has none inside: in the byte alphabet a space is U+0120.
            var space = lines[rank].Length > 1 ? lines[rank].IndexOf(' ', 1) : -1;
            if (space < 0 || space == lines[rank].Length - 1) throw Bad(rank, "two tokens and a space between them");
            var (left, right) = merges[rank] = (lines[rank][..space], lines[rank][(space + 1)..]);
            foreach (var piece in (string[])[left, right, left + right])
            {
                if (!known.Contains(piece)) throw Bad(rank, $"{Quoted(piece)} to be a token");
            }

            if (!seen.Add((left, right))) throw Bad(rank, "it once");
        }

        return merges;

        BadInputException Bad(int rank, string expected) => Metadata.Wrong($"{MergesKey}, item {rank},", Quoted(lines[rank]), expected);
    }

    /// <summary>A token as messages show it.</summary>
    public static string Quoted(string token) => $"\"{BadInputException.Shown(token)}\"";

    private static GgufTokenKind[] KindsOf(GgufMetadata metadata, int tokens)
    {
        if (metadata.OptionalIntegers(KindsKey) is not { } numbers) return KindsByRole(metadata, tokens);
        RequireOneEach(metadata, KindsKey, numbers.Length, tokens);
        var strange = Array.FindIndex(numbers, static number => !Enum.IsDefined((GgufTokenKind)number));
        return strange < 0
            ? Array.ConvertAll(numbers, static number => (GgufTokenKind)number)
            : throw metadata.Wrong(
                $"{KindsKey}, item {strange},", numbers[strange].ToString(CultureInfo.InvariantCulture), "a type from 0 to 6");
    }

    // A file without kinds: what begins and ends a text is no part of it.
    private static GgufTokenKind[] KindsByRole(GgufMetadata metadata, int tokens)
    {
        var kinds = new GgufTokenKind[tokens];
        Array.Fill(kinds, GgufTokenKind.Normal);
        var roles = GgufRoles.Read(metadata);
        foreach (var id in roles.Ends) kinds[id] = GgufTokenKind.Control;
        if (roles.Begin is { } begin) kinds[begin] = GgufTokenKind.Control;
        if (roles.Unknown is { } unknown) kinds[unknown] = GgufTokenKind.Unknown;
        return kinds;
    }

    private static void RequireOneEach(GgufMetadata metadata, string key, int count, int tokens)
    {
        if (count != tokens)
            throw new BadInputException($"{metadata.Path}: {key} has {count} items, expected one for each of the {tokens} tokens");
    }
}
