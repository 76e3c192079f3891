using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>Methods without published numbers, against numbers that were worked out by hand.</summary>
public sealed class HandWorkedTests : IDisposable
{
    private static readonly LinearShape Layer = new("layer", 2, 3);

    private readonly DisposeScope _scope = NewDisposeScope();

    public void Dispose() => _scope.Dispose();

    /// <summary>
    /// LoRA-XS (arXiv 2405.17604): W0 = U S V^T with A = S V^T and B = U frozen, and a core R between them: dW = s B R A, minus the
    /// same at the start. For W0 = [3 0; 0 2; 0 0] the triples are the axes: A = [3 0; 0 2], B = [1 0; 0 1; 0 0]. With s = 2, the core at
    /// the start R0 = [0.1 0; 0 0.1] and R = [0.1 0.5; 0 0.1], dW = 2 B (R - R0) A = 2 [0 0.5; 0 0; 0 0] [3 0; 0 2] = [0 2; 0 0; 0 0], so
    /// that x = (1, 4) gives (8, 0, 0).
    /// </summary>
    [Fact]
    public void LoRA_XS_turns_the_singular_directions_by_what_its_core_has_moved()
    {
        var weight = tensor(new double[,] { { 3, 0 }, { 0, 2 }, { 0, 0 } });
        var (a, b) = WeightStarts.Factors(InitLaw.Svd, weight, scaling: 2);
        var spec = AdapterCatalog.Methods["lora-xs"].Spec with { Rank = 2, Alpha = 4, Dropout = Dropout.None };
        Tensor Frozen(string role) => role == Roles.A ? a.to(ScalarType.Float32) : b.to(ScalarType.Float32).unsqueeze(0);
        var layer = new OneLayer(
            spec, Layer, role => role == Core.Role ? tensor(new float[,,] { { { 0.1f, 0.5f }, { 0, 0.1f } } }) : Frozen(role),
            role => role == Core.Role ? tensor(new float[,,] { { { 0.1f, 0 }, { 0, 0.1f } } }) : Frozen(role));

        Close.Assert([0, 2, 0, 0, 0, 0], TensorData.Values(layer.Delta()), "dW", 1e-6, 0);
        Close.Assert([8, 0, 0], TensorData.Values(layer.Forward(tensor(new float[,] { { 1, 4 } }), zeros(1, 3), null)), "dW x", 1e-6, 0);
    }

    /// <summary>
    /// An anchored LoRA-XS: the loss of the output alone, L = sum of y at x = (1, 4), has dL/dR = s (B^T 1) (A x)^T =
    /// 2 (1, 1)^T (3, 8) = [6 16; 6 16]: the start that is subtracted has a core of its own, or this would be zero.
    /// </summary>
    [Fact]
    public void An_anchored_LoRA_XS_learns()
    {
        var spec = AdapterCatalog.Methods["lora-xs"].Spec with { Rank = 2, Alpha = 4, Dropout = Dropout.None };
        var core = tensor(new float[,,] { { { 0.1f, 0 }, { 0, 0.1f } } });
        Tensor Value(string role) => role switch
        {
            Roles.A => tensor(new float[,] { { 3, 0 }, { 0, 2 } }),
            Roles.B => tensor(new float[,,] { { { 1, 0 }, { 0, 1 }, { 0, 0 } } }),
            _ => core.clone(),
        };
        var layer = new OneLayer(spec, Layer, Value);
        var live = layer[Core.Role].requires_grad_();

        layer.Forward(tensor(new float[,] { { 1, 4 } }), zeros(1, 3), null).sum().backward();

        Close.Assert([6, 16, 6, 16], TensorData.Values(live.grad!), "gradient", 1e-5, 0);
    }

    /// <summary>
    /// CoRA (arXiv 2409.02119): B is what related changes have in common, A trains from zero. Two adapters changed W by
    /// dW1 = [3 0; 0 0; 0 0] and dW2 = [0 4; 0 0; 0 1]: side by side [3 0 0 4; 0 0 0 0; 0 0 0 1], whose square by its transpose is
    /// [25 0 4; 0 0 0; 4 0 1] with the eigenvalues 13 +- sqrt(160). The vector of the larger, (x, 0, z) with 4 x = (lambda - 1) z, has
    /// z/x = 4 / (12 + sqrt(160)) = 0.1622777, so that B = (0.987087, 0, 0.160182). With A = (2, 1) and s = 3, x = (1, 1) gives
    /// 9 B = (8.883787, 0, 1.441640).
    /// </summary>
    [Fact]
    public void CoRA_writes_into_the_direction_that_related_changes_have_in_common()
    {
        var b = WeightStarts.Subspace(
            [tensor(new double[,] { { 3, 0 }, { 0, 0 }, { 0, 0 } }), tensor(new double[,] { { 0, 4 }, { 0, 0 }, { 0, 1 } })], 1, "two");
        Close.Assert([0.987087f, 0, 0.160182f], TensorData.Values(b), "B", 1e-6, 0);

        var spec = AdapterCatalog.Methods["cora"].Spec with { Rank = 1, Alpha = 3, Dropout = Dropout.None };
        var layer = new OneLayer(
            spec, Layer, role => role == Roles.A ? tensor(new float[,] { { 2, 1 } }) : b.to(ScalarType.Float32).unsqueeze(0));
        Close.Assert(
            [8.883787f, 0, 1.441640f], TensorData.Values(layer.Forward(ones(1, 2), zeros(1, 3), null)), "dW x", 1e-5, 0);
    }
}
