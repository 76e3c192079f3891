using System.Buffers.Binary;
using System.Text;
using FedRLora.Training.Gguf;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Metadata as a file would hold it, made of a test's values.</summary>
internal static class MadeMetadata
{
    /// <summary>A vocabulary in GPT-2's byte alphabet: <c>a b ab Ġ Ġa &lt;s&gt; &lt;/s&gt; &lt;tool&gt; [PAD8]</c>.</summary>
    public static Dictionary<string, object> Gpt2() => new(StringComparer.Ordinal)
    {
        ["tokenizer.ggml.model"] = "gpt2",
        ["tokenizer.ggml.pre"] = "gpt-2",
        ["tokenizer.ggml.tokens"] = new[] { "a", "b", "ab", "Ġ", "Ġa", "<s>", "</s>", "<tool>", "[PAD8]" },
        ["tokenizer.ggml.token_type"] = new[] { 1, 1, 1, 1, 1, 3, 3, 4, 5 },
        ["tokenizer.ggml.merges"] = new[] { "a b", "Ġ a" },
        ["tokenizer.ggml.bos_token_id"] = 5,
        ["tokenizer.ggml.eos_token_id"] = 6,
    };

    /// <summary>A SentencePiece vocabulary: <c>&lt;unk&gt; &lt;s&gt; &lt;/s&gt; &lt;0x7A&gt; ▁ a b ab ▁a ▁ab</c>.</summary>
    public static Dictionary<string, object> Llama() => new(StringComparer.Ordinal)
    {
        ["tokenizer.ggml.model"] = "llama",
        ["tokenizer.ggml.tokens"] = new[] { "<unk>", "<s>", "</s>", "<0x7A>", "▁", "a", "b", "ab", "▁a", "▁ab" },
        ["tokenizer.ggml.scores"] = new[] { 0f, 0f, 0f, 0f, -4f, -5f, -6f, -1f, -2f, -3f },
        ["tokenizer.ggml.token_type"] = new[] { 2, 3, 3, 6, 1, 1, 1, 1, 1, 1 },
        ["tokenizer.ggml.bos_token_id"] = 1,
        ["tokenizer.ggml.eos_token_id"] = 2,
    };

    /// <summary>The values as metadata of the file <c>made.gguf</c>.</summary>
    public static GgufMetadata Of(IReadOnlyDictionary<string, object> values) => new(
        "made.gguf", values.ToDictionary(static entry => entry.Key, static entry => Value(entry.Value), StringComparer.Ordinal));

    private static GgufValue Value(object value) => value switch
    {
        string text => new(GgufValueType.Text, null, 1, Encoding.UTF8.GetBytes(text)),
        bool flag => new(GgufValueType.Bool, null, 1, new[] { flag ? (byte)1 : (byte)0 }),
        int number => new(GgufValueType.Int32, null, 1, Bytes(number)),
        string[] texts => new(GgufValueType.Array, GgufValueType.Text, texts.Length, texts.SelectMany(Counted).ToArray()),
        int[] numbers => new(GgufValueType.Array, GgufValueType.Int32, numbers.Length, numbers.SelectMany(Bytes).ToArray()),
        float[] numbers => new(
            GgufValueType.Array, GgufValueType.Float32, numbers.Length,
            numbers.Select(BitConverter.SingleToInt32Bits).SelectMany(Bytes).ToArray()),
        _ => throw new NotSupportedException(value.GetType().Name),
    };

    private static byte[] Bytes(int number)
    {
        var bytes = new byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, number);
        return bytes;
    }

    private static byte[] Counted(string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        return [.. BitConverter.GetBytes((ulong)bytes.Length), .. bytes];
    }
}
