using FedRLora.Generator.Text;
using FedRLora.Training.Data.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Generator.Model;

/// <summary>Stories as rows, padded on the right.</summary>
/// <param name="Inputs">int64 <c>[Bsz, T]</c>.</param>
/// <param name="Targets">int64 <c>[Bsz * T]</c>, the next tokens.</param>
/// <param name="Weights">float32 <c>[Bsz * T]</c>: 1 where the target follows from what was told, <see cref="FactWeight"/> where it is news, 0 at padding.</param>
internal sealed record StoryBatch(Tensor Inputs, Tensor Targets, Tensor Weights)
{
    public const float FactWeight = 0.1f;

    public static StoryBatch Draw(Corpus corpus, Tokenizer tokenizer, int size)
    {
        var rows = Enumerable.Range(0, size).Select(i => Encode(corpus.Next(), tokenizer, withBegin: i % 2 == 0)).ToArray();
        var length = rows.Max(row => row.Ids.Length) - 1;
        var (inputs, targets, weights) = (new long[size * length], new long[size * length], new float[size * length]);
        Array.Fill(inputs, tokenizer.PadId!.Value);
        for (var r = 0; r < size; r++)
        {
            for (var t = 0; t + 1 < rows[r].Ids.Length; t++)
            {
                inputs[r * length + t] = rows[r].Ids[t];
                targets[r * length + t] = rows[r].Ids[t + 1];
                weights[r * length + t] = t + 1 < rows[r].FactLength ? FactWeight : 1;
            }
        }
        return new(tensor(inputs).reshape(size, length), tensor(targets), tensor(weights));
    }

    /// <summary>Every second row begins with the begin token, so that the model knows text with and without.</summary>
    private static (int[] Ids, int FactLength) Encode(Story story, Tokenizer tokenizer, bool withBegin)
    {
        var facts = tokenizer.Encode(story.Facts, addSpecialTokens: false);
        if (withBegin)
            facts = [tokenizer.BeginId!.Value, .. facts];
        return ([.. facts, .. tokenizer.Encode(story.Conclusion, addSpecialTokens: false), tokenizer.EndId!.Value], facts.Length);
    }
}
