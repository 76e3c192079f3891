using FedRLora.Generator.Text;
using FedRLora.Training.Data.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Generator.Model;

/// <summary>Stories as rows, padded on the right.</summary>
/// <param name="Inputs">int64 <c>[Bsz, T]</c>.</param>
/// <param name="Targets">int64 <c>[Bsz * T]</c>, the next tokens.</param>
/// <param name="Weights">
/// float32 <c>[Bsz * T]</c>: 1 where the target follows from what was told, <see cref="NewsWeight"/> where it is news, 0 at padding.
/// </param>
internal sealed record StoryBatch(Tensor Inputs, Tensor Targets, Tensor Weights)
{
    public const float NewsWeight = 0.1f;

    public static StoryBatch Draw(Corpus corpus, Tokenizer tokenizer, int size)
    {
        var rows = Enumerable.Range(0, size).Select(i => Encode(corpus.Next(), tokenizer, withBegin: i % 2 == 0)).ToArray();
        var length = rows.Max(row => row.Count) - 1;
        var (inputs, targets, weights) = (new long[size * length], new long[size * length], new float[size * length]);
        Array.Fill(inputs, tokenizer.PadId!.Value);
        for (var r = 0; r < size; r++)
        {
            for (var t = 0; t + 1 < rows[r].Count; t++)
            {
                inputs[r * length + t] = rows[r][t].Id;
                (targets[r * length + t], weights[r * length + t]) = rows[r][t + 1];
            }
        }
        return new(tensor(inputs).reshape(size, length), tensor(targets), tensor(weights));
    }

    /// <summary>Every second row begins with the begin token, so that the model knows text with and without.</summary>
    private static List<(int Id, float Weight)> Encode(Story story, Tokenizer tokenizer, bool withBegin)
    {
        var row = new List<(int, float)>();
        if (withBegin)
            row.Add((tokenizer.BeginId!.Value, 0));
        foreach (var (text, follows) in story.Pieces())
            row.AddRange(tokenizer.Encode(text, addSpecialTokens: false).Select(id => (id, follows ? 1 : NewsWeight)));
        row.Add((tokenizer.EndId!.Value, NewsWeight));
        return row;
    }
}
