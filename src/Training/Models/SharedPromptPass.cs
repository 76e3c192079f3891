using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>Prompts and their tails through a model, each prompt once, for inference. Hidden states are <c>[1, M, D]</c>.</summary>
internal sealed class SharedPromptPass : PlainPass
{
    private readonly SharedPrompts _prompts;
    private readonly (Tensor Cos, Tensor Sin)? _rotary;

    /// <param name="config">The model's.</param>
    /// <param name="prompts">The tokens.</param>
    /// <param name="adapters">Adds to the layers; null for the frozen model.</param>
    /// <param name="hasRotary">Positions are angles, not rows of a table.</param>
    /// <param name="dtype">What is computed with.</param>
    public SharedPromptPass(ModelConfig config, SharedPrompts prompts, ILayerAdapters? adapters, bool hasRotary, ScalarType dtype)
        : base(config, prompts.Ids, adapters, dtype)
    {
        _prompts = prompts;
        if (!hasRotary) return;
        var (cos, sin) = Blocks.RotaryTable(0, prompts.KeyLength, config, prompts.Ids.device, dtype);
        _rotary = (cos.index_select(0, prompts.Positions), sin.index_select(0, prompts.Positions));
    }

    public override Tensor AddPositions(Tensor x, Tensor table) =>
        x.Plus(table.index_select(0, _prompts.Positions));

    public override Tensor Attention(int layer, Tensor query, Tensor key, Tensor value)
    {
        var (q, k, v) = (Turned(query, Config.AttentionHeads), Turned(key, Config.KeyValueHeads), value[0]);
        var mixed = _prompts.Parts.Select(part =>
        {
            using var scope = NewDisposeScope();
            return Blocks.Attention(
                Gathered(q, part.Queries, part, Config.AttentionHeads), Gathered(k, part.Keys, part, Config.KeyValueHeads),
                Gathered(v, part.Keys, part, Config.KeyValueHeads), part.Mask).reshape(-1, q.shape[1]).MoveToOuterDisposeScope();
        });
        return cat([.. mixed], 0).index_select(0, _prompts.Places).unsqueeze(0);
    }

    // [1, M, heads headDim] to [M, heads headDim].
    private Tensor Turned(Tensor x, int heads) => _rotary is { } rotary
        ? Blocks.Rotate(Blocks.SplitHeads(x, heads), rotary).transpose(1, 2).reshape(x.shape[1], x.shape[2])
        : x[0];

    // [Sequences, heads, T, headDim].
    private static Tensor Gathered(Tensor x, Tensor rows, SharedPrompts.Part part, int heads) =>
        Blocks.SplitHeads(x.index_select(0, rows).reshape(part.Sequences, -1, x.shape[1]), heads);
}
