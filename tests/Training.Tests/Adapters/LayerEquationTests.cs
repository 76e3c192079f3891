using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

public sealed class LayerEquationTests : IDisposable
{
    private static readonly LinearShape Shape = new("layer", 20, 14);
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Generator _generator = new(5, CPU);

    public void Dispose()
    {
        _scope.Dispose();
        _generator.Dispose();
    }

    [Theory, InlineData("byTask"), InlineData("mean"), InlineData("sum"), InlineData("softmax")]
    public void One_head_without_dropout_is_LoRA_bit_for_bit(string routing)
    {
        var spec = TinyFederation.Routed(new() { Rank = 4, Alpha = 8, Dropout = Dropout.None }, routing);
        var (x, y, a, b) = (Draw(2, 5, 20), Draw(2, 5, 14), Draw(4, 20), Draw(1, 14, 4));
        var layer = Layer(spec, a, b, !spec.Routing.IsStatic ? Draw(1, 20) : null, null);

        var lora = y.Plus(nn.functional.linear(nn.functional.linear(x, a), b[0]) * Living.Of(2));

        Assert.Equal(TensorData.Values(lora), TensorData.Values(layer.Forward(x, y, null)));
        var zero = Layer(spec, a, zeros_like(b), !spec.Routing.IsStatic ? Draw(1, 20) : null, null);
        Assert.Equal(TensorData.Values(y), TensorData.Values(zero.Forward(x, y, null)));
    }

    [Theory]
    [InlineData("byTask", DropoutSite.None, false)]
    [InlineData("byTask", DropoutSite.Hidden, true)]
    [InlineData("byTask", DropoutSite.Input, false)]
    [InlineData("mean", DropoutSite.Hidden, true)]
    [InlineData("mean", DropoutSite.Input, false)]
    [InlineData("sum", DropoutSite.Hidden, true)]
    [InlineData("softmax", DropoutSite.Hidden, true)]
    [InlineData("softmax", DropoutSite.Input, true)]
    [InlineData("softmax", DropoutSite.Input, false)]
    public void The_layer_computes_its_equation(string routing, DropoutSite site, bool anchored)
    {
        foreach (var sharing in (MaskSharing[])[MaskSharing.AllHeads, MaskSharing.PerHead])
        {
            var spec = TinyFederation.Routed(new() { Rank = 4, Heads = 3, Alpha = 6, Dropout = new(site, sharing, 0.3) }, routing);
            var (x, y, a, b) = (Draw(9, 20), Draw(9, 14), Draw(4, 20), Draw(spec.Heads, 14, 4));
            var router = !spec.IsStatic ? Draw(3, 20) : null;
            var twins = anchored ? (Draw(4, 20), Draw(spec.Heads, 14, 4)) : ((Tensor, Tensor)?)null;
            using var masks = new LayerMasks(spec, "layer", 1, 1, "one");
            using var same = new LayerMasks(spec, "layer", 1, 1, "one");

            var actual = Layer(spec, a, b, router, twins).Forward(x, y, masks);

            Close.Assert(
                TensorData.Values(Equation(spec, x, y, a, b, router, twins, same)), TensorData.Values(actual),
                $"{routing} {site} {sharing}", 1e-4, 1e-5);
        }
    }

    [Fact]
    public void A_half_precision_base_keeps_its_type_and_the_adapter_stays_in_float32()
    {
        var layer = Layer(new AdapterSpec { Rank = 4 }, Draw(4, 20), Draw(1, 14, 4), null, null);
        Assert.Equal(
            ScalarType.BFloat16, layer.Forward(Draw(3, 20).to(ScalarType.BFloat16), Draw(3, 14).to(ScalarType.BFloat16), null).dtype);
    }

    [Theory, InlineData("byTask"), InlineData("mean"), InlineData("sum")]
    public void The_product_norm_is_that_of_the_scaled_product(string routing)
    {
        var spec = TinyFederation.Routed(new() { Rank = 4, Heads = 3, Alpha = 6 }, routing);
        var (a, b) = (Draw(4, 20), Draw(spec.Heads, 14, 4));
        var head = routing == "sum" ? b.sum([0]) : b.mean([0]);
        var expected = (Living.Of(1.5f) * head.mm(a)).norm().item<float>();
        Close.AssertRelative(expected, Layer(spec, a, b, null, null).ProductNorm(), "norm", 1e-5);
    }

    [Theory, InlineData("byTask"), InlineData("mean")]
    public void The_product_norm_of_an_anchored_start_is_that_of_what_changed(string routing)
    {
        var spec = TinyFederation.Routed(new() { Rank = 4, Heads = 3, Alpha = 6, Start = Start.Anchored }, routing);
        var (a, b, change) = (Draw(4, 20), Draw(spec.Heads, 14, 4), Draw(4, 20));
        var head = b.mean([0]);
        // the root of a difference of squares: what float64 leaves of nothing is some 1e-8 of the norm of either product
        Assert.Equal(0, Layer(spec, a, b, null, (a, b)).ProductNorm(), 1e-6);
        var expected = (Living.Of(1.5f) * head.mm(change)).norm().item<float>();
        Close.AssertRelative(expected, Layer(spec, a.Plus(change), b, null, (a, b)).ProductNorm(), "norm", 1e-5);
    }

    [Fact]
    public void A_target_or_a_rank_that_does_not_fit_is_refused_by_name()
    {
        LinearShape[] linears = [new("model.layers.0.self_attn.q_proj", 20, 14), new("model.layers.0.mlp.up_proj", 20, 30)];
        Assert.Equal(
            ["model.layers.0.mlp.up_proj"],
            AdapterLayout.For(new() { TargetModules = ["mlp.up_proj"] }, linears).Targets.Select(static target => target.Module));
        Assert.Contains(
            "no linear layer proj; its layers are q_proj, up_proj",
            Assert.Throws<BadInputException>(() => AdapterLayout.For(new() { TargetModules = ["proj"] }, linears)).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "down_proj fits no adapted layer",
            Assert.Throws<BadInputException>(() => AdapterLayout.For(new() { RankPattern = [new("down_proj", 2)] }, linears)).Message,
            StringComparison.Ordinal);
        var message = Assert.Throws<BadInputException>(() => AdapterLayout.For(new() { Rank = 15 }, linears)).Message;
        Assert.Equal("rank: 15 is outside 1 to 14, the smaller side of model.layers.0.self_attn.q_proj (20 -> 14)", message);
    }

    [Theory, InlineData("smora"), InlineData("mixlora"), InlineData("vera")]
    public void Experts_and_values_of_a_frozen_pair_may_be_more_than_a_layer_is_wide(string method)
    {
        using var model = TinyLlama.Create(TinyLlama.Config, ScalarType.Float64);
        var spec = TinyFederation.TinyCatalogue(method) with { Rank = 25, TargetModules = ["layers.0.mlp.down_proj"] };
        var layout = StackedMembers.LayoutOf(spec, model);

        Assert.All(layout.Targets, static target => Assert.True(target.Rank > Math.Max(target.InWidth, target.OutWidth)));
        Autograd.AssertSame(model, layout, ScalarType.Float64, 1e-10);
        GroupProofs.AssertAlone(model, layout, ScalarType.Float64, 1e-9);
        if (!layout.Spec.IsStatic) return;
        using var members = new StackedMembers(layout, model, [0], ScalarType.Float64);
        foreach (var target in layout.Targets) GroupProofs.AssertStaticForms(layout, members.Stack.Member(0).Of(target), target, model);
    }

    // The equation of AdapterSpec, head by head.
    private static Tensor Equation(
        AdapterSpec spec, Tensor x, Tensor y, Tensor a, Tensor b, Tensor? router, (Tensor A, Tensor B)? twins, LayerMasks masks)
    {
        var drawn = spec.Dropout.Site switch
        {
            DropoutSite.Input => masks.Draw([9, 20], CPU).ToList(),
            DropoutSite.Hidden => masks.Draw([9, 4], CPU).ToList(),
            _ => [],
        };
        var weights = router is null ? null : nn.functional.linear(x, router).softmax(-1);
        for (var head = 0; head < spec.Heads; head++)
        {
            var mask = drawn.Count == 0 ? null : drawn[Math.Min(head, drawn.Count - 1)];
            var down = spec.Dropout.Site switch
            {
                DropoutSite.Input => nn.functional.linear(x * mask!, a),
                DropoutSite.Hidden => nn.functional.linear(x, a) * mask!,
                _ => nn.functional.linear(x, a),
            };
            var part = nn.functional.linear(down, b[head]);
            if (twins is { } twin) part -= nn.functional.linear(nn.functional.linear(x, twin.A), twin.B[head]);
            var weight = weights?.narrow(1, head, 1) ?? full(1, Living.Of(spec.Routing is Routing.Mean ? 1f / 3 : 1f));
            y = y.Plus(Living.Of((float)spec.ScalingFactor) * weight * part);
        }

        return y;
    }

    private static OneLayer Layer(AdapterSpec spec, Tensor a, Tensor b, Tensor? router, (Tensor A, Tensor B)? start) => new(
        start is null ? spec with { Start = Start.Exact } : spec with { Start = Start.Anchored }, Shape,
        role => role switch { "A" => a, "B" => b, _ => router! }, role => role == "A" ? start!.Value.A : start!.Value.B);

    private Tensor Draw(params long[] shape) => empty(shape).normal_(0, 1, _generator);
}
