using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// The floor of a step of one client with LoRA on all projections: its matrix products alone, written into buffers that all layers
/// use again. Forward, backward to the input except below the first adapted layer, LoRA's own products, LM head and its input
/// gradient for the rows with loss. No attention, no norms, no softmax, no optimizer.
/// </summary>
internal sealed class ProductsFloor : IDisposable
{
    private readonly List<Layer> _layers = [];
    private readonly Tensor _head;
    private readonly Tensor _hidden;
    private readonly Tensor _logits;
    private readonly Tensor _hiddenGradient;
    private readonly List<IDisposable> _tensors;

    /// <param name="model">Whose layers.</param>
    /// <param name="rank">Of the adapters.</param>
    /// <param name="rows">Tokens of the batch.</param>
    /// <param name="lossRows">Tokens with loss.</param>
    public ProductsFloor(CausalLanguageModel model, int rank, int rows, int lossRows)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        var buffers = new Dictionary<(string Use, long Rows, long Width), Tensor>();
        Tensor Buffer(string use, long height, long width)
        {
            if (!buffers.TryGetValue((use, height, width), out var buffer))
                buffers.Add((use, height, width),
                    buffer = empty([height, width], ScalarType.Float32).normal_(0, 1, generator).to(model.Device));
            return buffer;
        }

        foreach (var linear in model.Linears)
        {
            // The input of the first layer's attention has nothing that trains below it.
            var isLowest = linear.Module.StartsWith("model.layers.0.self_attn.", StringComparison.Ordinal)
                && !linear.Module.EndsWith("o_proj", StringComparison.Ordinal);
            _layers.Add(new(
                model.WeightOf(linear), Buffer("adapter", rank, linear.InWidth), Buffer("adapter", linear.OutWidth, rank), !isLowest,
                Buffer("input", rows, linear.InWidth), Buffer("output", rows, linear.OutWidth), Buffer("given", rows, linear.OutWidth),
                Buffer("passed", rows, linear.InWidth), Buffer("narrow", rows, rank), Buffer("narrow gradient", rows, rank),
                Buffer("gradient", rank, linear.InWidth), Buffer("gradient", linear.OutWidth, rank)));
        }

        _head = model.WeightOf(model.LmHead);
        (_hidden, _hiddenGradient, _logits) = (Buffer("input", lossRows, _head.shape[1]), Buffer("passed", lossRows, _head.shape[1]),
            Buffer("logits", lossRows, _head.shape[0]));
        _tensors = [.. buffers.Values];
        scope.Detach(_tensors);
    }

    /// <summary>The products of one step.</summary>
    public void Step()
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        foreach (var layer in _layers) layer.Forward();
        Into(_logits, _hidden, _head.t());
        Into(_hiddenGradient, _logits, _head);
        for (var i = _layers.Count - 1; i >= 0; i--) _layers[i].Backward();
    }

    public void Dispose() => _tensors.ForEach(static tensor => tensor.Dispose());

    private static void Into(Tensor target, Tensor left, Tensor right, bool keeps = false) => target.addmm_(left, right, keeps ? 1 : 0, 1);

    private sealed record Layer(
        Tensor Weight, Tensor A, Tensor B, bool PassesGradient, Tensor X, Tensor Y, Tensor Given, Tensor Passed, Tensor Narrow,
        Tensor NarrowGradient, Tensor GradientA, Tensor GradientB)
    {
        public void Forward()
        {
            Into(Y, X, Weight.t());
            Into(Narrow, X, A.t());
            Into(Y, Narrow, B.t(), keeps: true);
        }

        public void Backward()
        {
            Into(GradientB, Given.t(), Narrow);
            Into(NarrowGradient, Given, B);
            Into(GradientA, NarrowGradient.t(), X);
            if (!PassesGradient) return;
            Into(Passed, Given, Weight);
            Into(Passed, NarrowGradient, A, keeps: true);
        }
    }
}
