using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters.Peft;

/// <summary>An adapter folder over a model, trained as a client trains it.</summary>
internal sealed class PeftRun : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Workspace _workspace = new(CPU, ScalarType.Float32);
    private readonly CausalLanguageModel _model;
    private readonly AdapterStack _stack;
    private readonly PlacedAdapter _adapter;
    private readonly AdapterPass _pass;
    private readonly AdamW _optimizer;

    public PeftRun(CausalLanguageModel model, string folder, TrainingSpec training)
    {
        _model = model;
        var peft = PeftAdapter.Read(folder);
        peft.CheckBase(model);
        _stack = new([new(peft.On(model.AdaptableLayers), peft.Tensors, null)], masks: null, CPU, model);
        _adapter = _stack.Member(0);
        _pass = AdapterPass.Evaluating(_adapter, model);
        _optimizer = new(_stack, training, [AdapterState.Empty]);
    }

    /// <summary>What trains, under the name that PEFT saves it by.</summary>
    public IEnumerable<(string Name, float[] Value, float[] Gradient)> Saved => _adapter.Parameters
        .Where(static parameter => parameter.Info.Trains)
        .Select(parameter => (PeftNames.Of(parameter.Info.Target, parameter.Info.Role.Name), TensorData.Values(parameter.Value),
            TensorData.Values(_stack.GradientOf(0, parameter.Info.Name)!)));

    /// <summary>Of all tokens, in the caller's dispose scope.</summary>
    public Tensor Logits(Tensor ids, Tensor? mask)
    {
        using var inference = no_grad();
        return _model.LogitsOf(_model.Hidden(ids, mask, _pass), _pass);
    }

    /// <summary>The mean loss of the tokens that carry it, whose gradients replace what was there.</summary>
    public double Gradients(IReadOnlyList<EncodedRow> rows, ScalarType? compute = null)
    {
        using var scope = NewDisposeScope();
        _stack.ZeroGradients();
        var losses = PackedLoss.Gradients(_model, Packing.Of([rows], CPU), _stack.Slice(0, 1), _workspace, compute: compute);
        Assert.Equal(ScalarType.Float32, losses.dtype);
        Assert.All(_stack.Blocks,
            static block => Assert.Equal((ScalarType.Float32, ScalarType.Float32), (block.Value.dtype, block.Gradient.dtype)));
        return losses[0].item<float>();
    }

    /// <summary>
    /// Hidden states of the rows before and after the final norm, as training computes them; in the caller's dispose scope.
    /// </summary>
    public (Tensor Before, Tensor After) Hidden(IReadOnlyList<EncodedRow> rows, ScalarType? compute)
    {
        using var inference = no_grad();
        _workspace.Reset();
        using var tape = new Tape(_workspace);
        var pass = new TapedPass(_model, tape, _workspace, Packing.Of([rows], CPU), _stack.Slice(0, 1), compute: compute);
        var before = _model.BeforeFinalNorm(pass);
        return (before.clone(), _model.FinalNorm(before, pass).clone());
    }

    /// <summary>One step of AdamW.</summary>
    public void Step(double rate)
    {
        using var scope = NewDisposeScope();
        _optimizer.Step([rate]);
    }

    public void Dispose()
    {
        _pass.Dispose();
        _workspace.Dispose();
        _scope.Dispose();
    }
}
