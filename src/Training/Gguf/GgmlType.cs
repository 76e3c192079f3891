namespace FedRLora.Training.Gguf;

/// <summary>
/// How a GGUF file stores the numbers of a tensor, by ggml's numbers. A tensor's rows are rows of blocks: no block goes over a row's end.
/// </summary>
internal enum GgmlType : uint
{
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    BF16 = 30,
}

/// <summary>Sizes and names of <see cref="GgmlType"/>.</summary>
internal static class GgmlTypes
{
    private static readonly Dictionary<GgmlType, (int Values, int Bytes)> Blocks = new()
    {
        [GgmlType.F32] = (1, 4),
        [GgmlType.F16] = (1, 2),
        [GgmlType.BF16] = (1, 2),
        [GgmlType.Q8_0] = (32, 34),
        [GgmlType.Q4_0] = (32, 18),
        [GgmlType.Q4_1] = (32, 20),
        [GgmlType.Q5_0] = (32, 22),
        [GgmlType.Q5_1] = (32, 24),
        [GgmlType.Q4_K] = (256, 144),
        [GgmlType.Q5_K] = (256, 176),
        [GgmlType.Q6_K] = (256, 210),
    };

    // What llama.cpp has besides: named where it is refused.
    private static readonly Dictionary<uint, string> Others = new()
    {
        [9] = "Q8_1", [10] = "Q2_K", [11] = "Q3_K", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
        [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S", [23] = "IQ4_XS", [24] = "I8", [25] = "I16", [26] = "I32", [27] = "I64",
        [28] = "F64", [29] = "IQ1_M", [34] = "TQ1_0", [35] = "TQ2_0", [39] = "MXFP4",
    };

    /// <summary>Every type that is read.</summary>
    public static IReadOnlyCollection<GgmlType> All => Blocks.Keys;

    /// <summary>Whether the number is that of a type that is read.</summary>
    public static bool IsKnown(uint number) => Blocks.ContainsKey((GgmlType)number);

    /// <summary>The name that ggml gives to a number.</summary>
    public static string NameOf(uint number) =>
        IsKnown(number) ? ((GgmlType)number).ToString() : Others.GetValueOrDefault(number) is { } name ? $"{name} ({number})" : $"{number}";

    /// <summary>Values in a block.</summary>
    public static int BlockValues(this GgmlType type) => Blocks[type].Values;

    /// <summary>Bytes of a block.</summary>
    public static int BlockBytes(this GgmlType type) => Blocks[type].Bytes;

    /// <summary>Whether values are shared numbers of a block, not floats of their own.</summary>
    public static bool IsQuantized(this GgmlType type) => Blocks[type].Values > 1;

    /// <summary>Bytes of a row.</summary>
    /// <param name="type">The type.</param>
    /// <param name="values">A multiple of <see cref="BlockValues"/>.</param>
    public static long RowBytes(this GgmlType type, long values) => values / type.BlockValues() * type.BlockBytes();
}
