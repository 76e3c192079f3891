using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>A text and the ways in which it goes on.</summary>
/// <param name="Ids">Its tokens; may be none.</param>
/// <param name="Tails">What follows it; a tail may be empty.</param>
internal sealed record SharedPrompt(int[] Ids, IReadOnlyList<int[]> Tails);

/// <summary>
/// The tokens of one pass over prompts and their tails: each prompt once, then the tails, without padding between them. A token of a
/// tail looks at its prompt and at its own tail. Attention alone needs sequences of one length, which it gathers part by part.
/// </summary>
/// <remarks>
/// libtorch's products and its attention round by how many rows and keys there are, a remainder of a block otherwise than a block.
/// So tokens, queries and keys come in whole blocks, and the keys of a prompt and of its tails are padded to one length. Then a text
/// gets the bits of running it whole, padded to that length, whatever else is in the pass: docs/evaluation.md says where that was seen.
/// </remarks>
internal sealed class SharedPrompts
{
    /// <summary>Rows of a product come in multiples of it.</summary>
    public const int RowBlock = 16;

    private const int KeyBlock = 32;
    private const int QueryBlock = 4;

    // Gathered keys are copies, so not all sequences are gathered at once.
    private const int KeysPerPart = 4096;

    private SharedPrompts()
    {
    }

    /// <summary>int64 <c>[1, M]</c>; those beyond the texts' are copies that nobody looks at.</summary>
    public required Tensor Ids { get; init; }

    /// <summary>int64 <c>[M]</c>: each token's place in its text.</summary>
    public required Tensor Positions { get; init; }

    /// <summary>Keys of each sequence, padding included.</summary>
    public required int KeyLength { get; init; }

    /// <summary>Tokens of the longest text.</summary>
    public required int Longest { get; init; }

    /// <summary>For each prompt and each of its tails, the rows of both.</summary>
    public required IReadOnlyList<IReadOnlyList<int[]>> Texts { get; init; }

    /// <summary>What attention computes one after another.</summary>
    public required IReadOnlyList<Part> Parts { get; init; }

    /// <summary>int64 <c>[M]</c>: where each token is among the queries of all parts.</summary>
    public required Tensor Places { get; init; }

    /// <summary>Sequences of one length.</summary>
    /// <param name="Sequences">How many.</param>
    /// <param name="Queries">int64 <c>[Sequences t]</c>: tokens.</param>
    /// <param name="Keys">int64 <c>[Sequences KeyLength]</c>: tokens.</param>
    /// <param name="Mask">bool, <c>[t, KeyLength]</c> or <c>[Sequences, 1, t, KeyLength]</c>; null for the plain causal rule.</param>
    internal sealed record Part(int Sequences, Tensor Queries, Tensor Keys, Tensor? Mask);

    /// <summary>The keys that a text needs, in whole blocks.</summary>
    public static int KeyLengthOf(int longest) => Blocked(longest, KeyBlock);

    /// <summary>The next multiple of a block.</summary>
    public static int Blocked(int count, int block) => (count + block - 1) / block * block;

    /// <summary>Lays prompts out; at least one token in all.</summary>
    /// <param name="prompts">What goes through the model.</param>
    /// <param name="keyLength">From <see cref="KeyLengthOf"/>, for the longest text of each prompt.</param>
    /// <param name="window">How many positions a token sees, its own included; null for all.</param>
    /// <param name="device">Of the tensors, which live in the caller's dispose scope.</param>
    public static SharedPrompts Of(IReadOnlyList<SharedPrompt> prompts, int keyLength, int? window, Device device)
    {
        var (ids, positions) = (new List<long>(), new List<long>());
        var heads = prompts.Select(prompt => Lay(prompt.Ids, 0)).ToList();
        IReadOnlyList<int[]>[] texts = [.. prompts.Zip(heads, (prompt, head) =>
            (int[][])[.. prompt.Tails.Select(tail => (int[])[.. head, .. Lay(tail, head.Length)])])];
        var (longest, tokens) = (positions.Max() + 1, ids.Count);
        for (; ids.Count % RowBlock > 0; positions.Add(positions[0])) ids.Add(ids[0]);

        var whole = heads.Select(static head => new Sequence(head, 0));
        var tails = heads.Zip(texts).SelectMany(static both => both.Second.Select(text => new Sequence(text, both.First.Length)));
        var sequences = Parted(whole, keyLength).Select(part => (part, Queries: keyLength))
            .Concat(Parted(tails, keyLength).Select(static part => (part, Blocked(part.Max(static text => text.Queries), QueryBlock))));
        var (parts, places, laid) = (new List<Part>(), new long[ids.Count], 0L);
        foreach (var (part, queries) in sequences)
        {
            foreach (var sequence in part)
            {
                for (var query = 0; query < sequence.Queries; query++) places[sequence.At(sequence.First + query)] = laid + query;
                laid += queries;
            }

            parts.Add(PartOf(part, queries, keyLength, window, device));
        }

        for (var i = tokens; i < places.Length; i++) places[i] = places[0];
        return new()
        {
            Ids = tensor(ids.ToArray(), [1, ids.Count], ScalarType.Int64, device),
            Positions = Indexes(positions.ToArray(), device),
            KeyLength = keyLength,
            Longest = (int)longest,
            Texts = texts,
            Parts = parts,
            Places = Indexes(places, device),
        };

        int[] Lay(int[] text, int first)
        {
            var start = ids.Count;
            ids.AddRange(text.Select(static id => (long)id));
            positions.AddRange(Enumerable.Range(first, text.Length).Select(static place => (long)place));
            return [.. Enumerable.Range(start, text.Length)];
        }
    }

    /// <param name="Rows">Of a text's tokens.</param>
    /// <param name="First">From where on they are queries.</param>
    private sealed record Sequence(int[] Rows, int First)
    {
        public int Queries => Rows.Length - First;

        /// <summary>Behind the end, which is looked at by nobody, the last again.</summary>
        public long At(int place) => Rows[Math.Min(place, Rows.Length - 1)];
    }

    // Sequences of like length are neighbours, so that little is padded.
    private static IEnumerable<Sequence[]> Parted(IEnumerable<Sequence> sequences, int keyLength) => sequences
        .Where(static sequence => sequence.Queries > 0).OrderBy(static sequence => sequence.Queries)
        .Chunk(Math.Max(1, KeysPerPart / keyLength));

    private static Part PartOf(Sequence[] part, int queries, int keyLength, int? window, Device device)
    {
        var asked = part.SelectMany(sequence => Enumerable.Range(sequence.First, queries).Select(sequence.At)).ToArray();
        var keys = part.SelectMany(sequence => Enumerable.Range(0, keyLength).Select(sequence.At)).ToArray();
        return new(part.Length, Indexes(asked, device), Indexes(keys, device), MaskOf(part, queries, keyLength, window, device));
    }

    // Where a whole text is asked, by the rule that a whole text is run by.
    private static Tensor? MaskOf(Sequence[] part, int queries, int keyLength, int? window, Device device)
    {
        if (queries == keyLength && part.All(static sequence => sequence.First == 0)) return Blocks.CausalMask(0, queries, window, device);
        using var scope = NewDisposeScope();
        var first = Indexes([.. part.Select(static sequence => (long)sequence.First)], device).reshape(-1, 1, 1, 1);
        var query = first.Plus(Living.Range(0, queries, device).unsqueeze(1));
        var key = Living.Range(0, keyLength, device);
        var mask = key.le(query);
        return (keyLength > window ? mask.logical_and(key.gt(query - Living.Of(window.Value))) : mask).MoveToOuterDisposeScope();
    }

    private static Tensor Indexes(long[] values, Device device) => tensor(values, ScalarType.Int64, device);
}
