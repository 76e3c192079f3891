using FedRLora.Training.Models;

namespace FedRLora.Training.Gguf.Architectures;

/// <summary>
/// In which order a file has the rows of queries and keys. Rows move whole, so that rows of blocks, biases and the rows of an adapter's
/// B all follow the same list.
/// </summary>
internal static class GgufRows
{
    /// <summary>For each row of a parameter in Hugging Face's layout its row in the file; null where all stay.</summary>
    public static int[]? Of(GgufArchitecture architecture, ModelConfig config, string module)
    {
        if (architecture.InterleavedHeads && module.EndsWith(".q_proj", StringComparison.Ordinal))
            return Interleaved(config.AttentionHeads, config.HeadDim);
        if (architecture.InterleavedHeads && module.EndsWith(".k_proj", StringComparison.Ordinal))
            return Interleaved(config.KeyValueHeads, config.HeadDim);
        return architecture.FusedByHead && module.EndsWith(".query_key_value", StringComparison.Ordinal)
            ? ByHead(config.AttentionHeads, config.HeadDim)
            : null;
    }

    /// <summary>The reverse: for each row of the file its row in Hugging Face's layout.</summary>
    public static int[] Reverse(int[] rows)
    {
        var reverse = new int[rows.Length];
        for (var row = 0; row < rows.Length; row++) reverse[rows[row]] = row;
        return reverse;
    }

    // A rotary pair: neighbours in the file, half an attention head apart in Hugging Face's layout.
    private static int[] Interleaved(int heads, int headDim)
    {
        var rows = new int[heads * headDim];
        var half = headDim / 2;
        for (var row = 0; row < rows.Length; row++)
        {
            var (head, place) = (row / headDim, row % headDim);
            rows[row] = head * headDim + (place < half ? 2 * place : 2 * (place - half) + 1);
        }

        return rows;
    }

    // Hugging Face: query, key and value of the first attention head, then of the second. The file: all queries, all keys, all values.
    private static int[] ByHead(int heads, int headDim)
    {
        var rows = new int[3 * heads * headDim];
        for (var row = 0; row < rows.Length; row++)
        {
            var (head, part, place) = (row / (3 * headDim), row / headDim % 3, row % headDim);
            rows[row] = (part * heads + head) * headDim + place;
        }

        return rows;
    }
}
