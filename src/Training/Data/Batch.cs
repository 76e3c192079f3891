using static TorchSharp.torch;

namespace FedRLora.Training.Data;

/// <summary>Rows padded on the right, where the causal mask alone hides the padding from real tokens.</summary>
/// <param name="Ids">Token ids, <c>[Bsz, T]</c> row-major; padding is token 0 and is never looked at.</param>
/// <param name="Rows">Bsz.</param>
/// <param name="Length">T.</param>
/// <param name="LossRows">Places in the flattened batch whose next token carries loss.</param>
/// <param name="Targets">Those next tokens.</param>
/// <param name="Tokens">Tokens without padding.</param>
internal sealed record Batch(long[] Ids, int Rows, int Length, long[] LossRows, long[] Targets, int Tokens)
{
    public static Batch Of(IReadOnlyList<EncodedRow> rows)
    {
        var length = rows.Max(static row => row.Ids.Length);
        var ids = new long[rows.Count * length];
        var (lossRows, targets) = (new List<long>(), new List<long>());
        for (var i = 0; i < rows.Count; i++)
        {
            var row = rows[i];
            for (var j = 0; j < row.Ids.Length; j++) ids[i * length + j] = row.Ids[j];
            foreach (var j in row.LossPlaces)
            {
                lossRows.Add(i * length + j - 1);
                targets.Add(row.Ids[j]);
            }
        }

        return new(ids, rows.Count, length, [.. lossRows], [.. targets], rows.Sum(static row => row.Ids.Length));
    }

    /// <summary>Tokens that carry loss.</summary>
    public int LossTokens => LossRows.Length;

    /// <summary><c>[Bsz, T]</c> on a device.</summary>
    public Tensor Input(Device device) => tensor(Ids, [Rows, Length], ScalarType.Int64, device);
}
