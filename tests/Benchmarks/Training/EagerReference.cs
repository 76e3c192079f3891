using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// The reference that training is measured against: a Llama with LoRA (r, alpha = 2r) on all seven projections, trained as PEFT and
/// transformers do it. One client at a time, library autograd from end to end, one small operation after the other, logits of every
/// token, <c>clip_grad_norm_</c> and the library's AdamW. Reads a model's parameters and shares no other code with the product.
/// </summary>
internal sealed class EagerReference : IDisposable
{
    private static readonly string[] Projections =
    [
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    ];

    private readonly CausalLanguageModel _model;
    private readonly Dictionary<string, (Parameter A, Parameter B)> _adapters = [];
    private readonly Parameter[] _parameters;
    private readonly optim.Optimizer _optimizer;

    public EagerReference(CausalLanguageModel model, int rank)
    {
        _model = model;
        foreach (var linear in model.Linears)
        {
            var a = nn.init.kaiming_uniform_(empty([rank, linear.InWidth], device: model.Device), Math.Sqrt(5));
            _adapters.Add(linear.Module, (new Parameter(a), new Parameter(zeros([linear.OutWidth, rank], device: model.Device))));
        }

        _parameters = [.. _adapters.Values.SelectMany(static pair => new[] { pair.A, pair.B })];
        _optimizer = optim.AdamW(_parameters, lr: 1e-3, weight_decay: 0.01);
    }

    /// <summary>Takes values as the product names them, <c>{module}.A</c> and <c>{module}.B</c>.</summary>
    public void Load(AdapterState values)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        foreach (var (module, (a, b)) in _adapters)
        {
            a.copy_(tensor(values[module + ".A"].Data).view(a.shape));
            b.copy_(tensor(values[module + ".B"].Data).view(b.shape));
        }
    }

    /// <summary>Forward, backward, clipping and an optimizer step.</summary>
    /// <param name="ids"><c>[Bsz, T]</c>.</param>
    /// <param name="labels"><c>[Bsz, T]</c>: the token that each place predicts, -100 where it carries no loss.</param>
    /// <returns>The loss.</returns>
    public float Step(Tensor ids, Tensor labels)
    {
        using var scope = NewDisposeScope();
        _optimizer.zero_grad();
        var loss = Loss(ids, labels);
        loss.backward();
        nn.utils.clip_grad_norm_(_parameters, 1.0);
        _optimizer.step();
        return loss.item<float>();
    }

    /// <summary>Mean cross-entropy over the labelled places, with its graph.</summary>
    public Tensor Loss(Tensor ids, Tensor labels)
    {
        var x = _model.Parameters["model.embed_tokens.weight"].index_select(0, ids.view(-1)).view(ids.shape[0], ids.shape[1], -1);
        var table = Rotary(ids.shape[1]);
        for (var layer = 0; layer < _model.Config.Layers; layer++)
        {
            var name = $"model.layers.{layer}.";
            x = x + Attention(name, Norm(x, name + "input_layernorm.weight"), table);
            x = x + Mlp(name, Norm(x, name + "post_attention_layernorm.weight"));
        }

        var head = _model.Config.TieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
        var logits = nn.functional.linear(Norm(x, "model.norm.weight"), _model.Parameters[head]).to(ScalarType.Float32);
        return nn.functional.cross_entropy(logits.view(-1, logits.shape[^1]), labels.view(-1), ignore_index: -100);
    }

    public void Dispose()
    {
        _optimizer.Dispose();
        foreach (var parameter in _parameters) parameter.Dispose();
    }

    private Tensor Attention(string name, Tensor x, (Tensor Cos, Tensor Sin) table)
    {
        var (heads, keyHeads) = (_model.Config.AttentionHeads, _model.Config.KeyValueHeads);
        var query = Rotate(Split(Linear(name + Projections[0], x), heads), table);
        var key = Rotate(Split(Linear(name + Projections[1], x), keyHeads), table);
        var value = Split(Linear(name + Projections[2], x), keyHeads);
        if (heads != keyHeads) (key, value) = (key.repeat_interleave(heads / keyHeads, 1), value.repeat_interleave(heads / keyHeads, 1));
        var mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_casual: true);
        return Linear(name + Projections[3], mixed.transpose(1, 2).contiguous().reshape(x.shape[0], x.shape[1], -1));
    }

    private Tensor Mlp(string name, Tensor x) =>
        Linear(name + Projections[6], nn.functional.silu(Linear(name + Projections[4], x)) * Linear(name + Projections[5], x));

    private Tensor Linear(string module, Tensor x)
    {
        var (a, b) = _adapters[module];
        return nn.functional.linear(x, _model.Parameters[module + ".weight"]) + nn.functional.linear(nn.functional.linear(x, a), b) * 2f;
    }

    private Tensor Norm(Tensor x, string weight)
    {
        var wide = x.to(ScalarType.Float32);
        return _model.Parameters[weight] * (wide * rsqrt(wide.pow(2).mean([-1], keepdim: true) + _model.Config.NormEpsilon)).to(x.dtype);
    }

    private static Tensor Split(Tensor x, int heads) => x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2);

    private (Tensor Cos, Tensor Sin) Rotary(long tokens)
    {
        var config = _model.Config;
        var frequencies = 1.0
            / pow((float)config.RopeTheta, arange(0, config.HeadDim, 2, ScalarType.Float32, _model.Device) / config.HeadDim);
        var angles = arange(tokens, ScalarType.Float32, _model.Device).unsqueeze(1) * frequencies.unsqueeze(0);
        var both = cat([angles, angles], -1);
        return (both.cos(), both.sin());
    }

    private static Tensor Rotate(Tensor x, (Tensor Cos, Tensor Sin) table)
    {
        var half = x.shape[^1] / 2;
        return x * table.Cos + cat([-x.narrow(-1, half, half), x.narrow(-1, 0, half)], -1) * table.Sin;
    }
}
