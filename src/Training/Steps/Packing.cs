using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Data;
using FedRLora.Training.Devices;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// The rows of one pass over the base: the batches of several members one after the other, sequence after sequence without padding
/// between them, and every member's tokens padded at the end to the same number, so that members are a batch dimension. Attention
/// alone needs sequences of one length: it gathers them in buckets of like length.
/// </summary>
internal sealed class Packing
{
    private const double LeastFill = 0.5;

    private Packing(int members, int rowsPerMember) => (Members, RowsPerMember) = (members, rowsPerMember);

    /// <summary>G.</summary>
    public int Members { get; }

    /// <summary>m: tokens of a member, padding included.</summary>
    public int RowsPerMember { get; }

    /// <summary>Real tokens of each member, and its sequences.</summary>
    public required MemberRows Rows { get; init; }

    /// <summary>int64 <c>[G m]</c>.</summary>
    public required Tensor Ids { get; init; }

    /// <summary>int64 <c>[G m]</c>: each token's place in its sequence.</summary>
    public required Tensor Positions { get; init; }

    /// <summary>Length of the longest sequence.</summary>
    public required int MaxLength { get; init; }

    /// <summary>Sequences of like length.</summary>
    public required IReadOnlyList<Bucket> Buckets { get; init; }

    /// <summary>Rows whose next token carries loss, member after member; int64 <c>[L]</c>.</summary>
    public required Tensor LossRows { get; init; }

    /// <summary>Those next tokens, int64 <c>[L]</c>.</summary>
    public required Tensor Targets { get; init; }

    /// <summary>The loss rows of each member, as if they were padded to one number, and those of each of its sequences.</summary>
    public required MemberRows Losses { get; init; }

    /// <summary>How many of the loss rows each member has.</summary>
    public IReadOnlyList<int> LossCounts => Losses.Real;

    /// <summary>Puts the batches of members together.</summary>
    /// <param name="batches">One for each member, in their order; none empty.</param>
    /// <param name="device">Of the tensors, which live in the caller's dispose scope.</param>
    public static Packing Of(IReadOnlyList<IReadOnlyList<EncodedRow>> batches, Device device)
    {
        var width = batches.Max(TokensOf);
        var (ids, positions) = (new long[batches.Count * width], new long[batches.Count * width]);
        var (lossRows, targets, sequences) = (new List<long>(), new List<long>(), new List<(int Start, int Length)>());
        for (var member = 0; member < batches.Count; member++)
        {
            var start = member * width;
            foreach (var row in batches[member])
            {
                for (var i = 0; i < row.Ids.Length; i++) (ids[start + i], positions[start + i]) = (row.Ids[i], i);
                foreach (var place in row.LossPlaces)
                {
                    lossRows.Add(start + place - 1);
                    targets.Add(row.Ids[place]);
                }

                sequences.Add((start, row.Ids.Length));
                start += row.Ids.Length;
            }
        }

        return new(batches.Count, width)
        {
            Rows = RowsOf(batches, static row => row.Ids.Length),
            Ids = Indexes(ids, device),
            Positions = Indexes(positions, device),
            MaxLength = sequences.Max(static sequence => sequence.Length),
            Buckets = [.. Bucketed(sequences, ids.Length, device)],
            LossRows = Indexes([.. lossRows], device),
            Targets = Indexes([.. targets], device),
            Losses = RowsOf(batches, static row => row.LossTokens),
        };
    }

    /// <summary>Tokens of a member's batch.</summary>
    public static int TokensOf(IReadOnlyList<EncodedRow> rows) => rows.Sum(static row => row.Ids.Length);

    private static MemberRows RowsOf(IReadOnlyList<IReadOnlyList<EncodedRow>> batches, Func<EncodedRow, int> lengthOf)
    {
        int[] real = [.. batches.Select(rows => rows.Sum(lengthOf))];
        return new(real.Max(), real, [.. batches.Select(rows => Placed(rows.Select(lengthOf)))]);
    }

    private static List<(int Start, int Length)> Placed(IEnumerable<int> lengths)
    {
        var (places, start) = (new List<(int Start, int Length)>(), 0);
        foreach (var length in lengths)
        {
            places.Add((start, length));
            start += length;
        }

        return places;
    }

    private static Tensor Indexes(long[] values, Device device) => device.To(tensor(values, ScalarType.Int64, CPU));

    private static IEnumerable<Bucket> Bucketed(List<(int Start, int Length)> sequences, int rows, Device device)
    {
        var ordered = sequences.OrderByDescending(static sequence => sequence.Length).ToList(); // equal lengths keep their order
        for (var first = 0; first < ordered.Count;)
        {
            var length = ordered[first].Length;
            var count = ordered.Skip(first).TakeWhile(sequence => sequence.Length >= LeastFill * length).Count();
            yield return Bucket.Of(ordered.GetRange(first, count), length, rows, device);
            first += count;
        }
    }

    /// <summary>Sequences that attention takes together.</summary>
    /// <param name="Sequences">S.</param>
    /// <param name="Length">T: the longest.</param>
    /// <param name="Rows">
    /// Row of the pass at each place of the <c>[S T]</c> block, int64; at padding any row. Null where the block is the pass.
    /// </param>
    /// <param name="Places">Place in the block of each real token, int64.</param>
    /// <param name="Tokens">Row of the pass of each real token, int64.</param>
    internal sealed record Bucket(int Sequences, int Length, Tensor? Rows, Tensor? Places, Tensor? Tokens)
    {
        public static Bucket Of(List<(int Start, int Length)> sequences, int length, int rows, Device device)
        {
            var block = sequences.SelectMany(
                sequence => Enumerable.Range(0, length).Select(i => (long)sequence.Start + Math.Min(i, sequence.Length - 1))).ToArray();
            if (block.Length == rows && block.Index().All(static place => place.Item == place.Index))
                return new(sequences.Count, length, null, null, null);
            var places = sequences.SelectMany(
                (sequence, number) => Enumerable.Range(number * length, sequence.Length).Select(static place => (long)place)).ToArray();
            return new(sequences.Count, length, Indexes(block, device), Indexes(places, device),
                Indexes([.. places.Select(place => block[place])], device));
        }
    }
}
