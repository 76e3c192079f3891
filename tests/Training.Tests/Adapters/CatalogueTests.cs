using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>What holds for every method of the catalogue, on a model whose layers are not square.</summary>
public sealed class CatalogueTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly CausalLanguageModel _model = TinyLlama.Create();
    private readonly Tensor _ids = TinyLlama.Ids(1, 5, 9, 30, 17, 4, 4, 28);

    public static TheoryData<string> Methods => [.. AdapterCatalog.Methods.Keys];

    public static TheoryData<string> StaticMethods => [.. AdapterCatalog.Methods.Where(static entry => entry.Value.Spec.IsStatic).Select(static entry => entry.Key)];

    public static TheoryData<string> PerHeadMethods => [.. AdapterCatalog.Methods.Where(static entry => entry.Value.Spec is { Heads: > 1, Dropout.Masks: MaskSharing.PerHead }).Select(static entry => entry.Key)];

    public static TheoryData<string> HiddenDropoutMethods => [.. AdapterCatalog.Methods.Where(static entry => entry.Value.Spec.Dropout.Site == DropoutSite.Hidden).Select(static entry => entry.Key)];

    public void Dispose()
    {
        _model.Dispose();
        _scope.Dispose();
        _tiny.Dispose();
    }

    [Theory, MemberData(nameof(Methods))]
    public void A_fresh_adapter_changes_nothing(string method)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));
        var adapter = Fresh(plan);

        Close.Assert(Logits(null), Logits(AdapterPass.Evaluating(adapter, _model)), method, 1e-5, 0);
    }

    [Theory, MemberData(nameof(Methods))]
    public void An_adapter_saved_and_loaded_gives_the_same_bits(string method)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));
        var adapter = Moved(plan);
        var (shared, head) = (Saved(adapter.State(Scope.Job)), Saved(adapter.State(Scope.Client)));

        var loaded = PlacedAdapter.Create(AdapterFactory.Of(plan, Layout(plan.Adapter), plan.Clients[0], shared, head), CPU);

        Assert.Equal(Logits(AdapterPass.Evaluating(adapter, _model)), Logits(AdapterPass.Evaluating(loaded, _model)));
        Assert.NotEqual(Logits(null), Logits(AdapterPass.Evaluating(loaded, _model)));
    }

    [Theory, MemberData(nameof(StaticMethods))]
    public void The_exported_adapter_gives_the_same_logits(string method)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));
        var adapter = Moved(plan);

        var exported = PeftExporter.Export(plan, Layout, given: null, plan.Clients[0], adapter.State(Scope.Job), adapter.State(Scope.Client));

        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.File("adapter_config.json"), exported.ConfigJson);
        using (var stream = File.Create(folder.File("adapter_model.safetensors"))) SafetensorsCodec.Write(exported.Tensors, new Dictionary<string, string>(), stream);
        var peft = PeftAdapter.Read(folder.Root);
        var layout = peft.On(_model.AdaptableLayers);
        var plain = PlacedAdapter.Create(new(layout, peft.Tensors, null), CPU);
        Close.Assert(Logits(AdapterPass.Evaluating(adapter, _model)), Logits(AdapterPass.Evaluating(plain, _model)), method, 1e-5, 1e-5);
        Assert.Equal(_model.Linears, layout.Targets.Select(static target => target.Layer));
    }

    [Theory, MemberData(nameof(PerHeadMethods))]
    public void Heads_draw_independent_masks(string method)
    {
        using var masks = new LayerMasks(TinyFederation.TinyCatalogue(method), "layer", 1, 1, "one");
        var drawn = masks.Draw([1000, 4], CPU).Select(TensorData.Values).ToList();
        var keep = 1 - AdapterCatalog.Methods[method].Spec.Dropout.P;

        Assert.Equal(AdapterCatalog.Methods[method].Spec.Heads, drawn.Count);
        for (var i = 0; i < drawn.Count; i++)
        {
            Assert.Equal(keep, drawn[i].Count(static value => value != 0) / 4000.0, 0.03);
            for (var j = 0; j < i; j++) Assert.Equal(keep * keep, drawn[i].Zip(drawn[j]).Count(static pair => pair.First != 0 && pair.Second != 0) / 4000.0, 0.04);
        }
    }

    [Theory, MemberData(nameof(HiddenDropoutMethods))]
    public void A_masked_slot_gives_no_gradient_to_its_row_of_A_through_that_head(string method)
    {
        var spec = TinyFederation.TinyCatalogue(method) with { Heads = 1, Dropout = Dropout.Hidden(MaskSharing.PerHead, 0.5) };
        using var masks = new LayerMasks(spec, "layer", 3, 1, "one");
        using var same = new LayerMasks(spec, "layer", 3, 1, "one");
        var mask = TensorData.Values(Assert.Single(same.Draw([1, 4], CPU)));
        var layer = new OneLayer(spec, new("layer", 12, 7), role => randn([.. OneLayer.ShapeOf(spec, new("layer", 12, 7), role)]));
        var a = layer["A"].requires_grad_();

        layer.Forward(randn(1, 12), zeros(1, 7), masks).square().sum().backward();

        var rows = TensorData.Values(a.grad!.abs().sum([1]));
        Assert.Contains(0f, mask);
        Assert.Equal(mask.Select(static value => value == 0), rows.Select(static value => value == 0));
    }

    private PlacedAdapter Fresh(FederationPlan plan)
    {
        var layout = Layout(plan.Adapter);
        return PlacedAdapter.Create(
            AdapterFactory.Of(plan, layout, plan.Clients[0], layout.Initial(plan.Seed, null, static tensor => tensor.Scope == Scope.Job), null), CPU);
    }

    private AdapterLayout Layout(AdapterSpec spec) => AdapterLayout.For(spec, _model.AdaptableLayers, new AdapterStart(null, () => _model));

    // Every tensor that trains, some way from its start.
    private PlacedAdapter Moved(FederationPlan plan)
    {
        var adapter = Fresh(plan);
        using var generator = new Generator(11, CPU);
        foreach (var parameter in adapter.Parameters.Where(static parameter => parameter.Info.Trains))
            parameter.Value.detach().add_(empty(parameter.Value.shape).normal_(0, 0.3, generator));
        return adapter;
    }

    private static AdapterState Saved(AdapterState state)
    {
        using var stream = new MemoryStream();
        SafetensorsCodec.Write(state, new Dictionary<string, string>(), stream);
        return SafetensorsCodec.Read(stream.ToArray(), "state");
    }

    private float[] Logits(ILayerAdapters? adapters)
    {
        using var inference = no_grad();
        return TensorData.Values(_model.LogitsOf(_model.Hidden(_ids, null, adapters), adapters));
    }
}
