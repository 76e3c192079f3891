using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Peft;

namespace FedRLora.Training.Tests.Adapters.Peft;

public sealed class VllmFormTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Ranks_and_scalings_of_single_layers_go_into_the_tensors()
    {
        var plan = _tiny.Plan(
            new AdapterSpec
            {
                Rank = 4, Alpha = 6, Start = Start.Exact, TargetModules = ["q_proj", "up_proj"], RankPattern = [new("up_proj", 2)],
                Scaling = Scaling.AlphaOverSqrtRank,
            }.With("B", static heads => heads with { Init = Init.Gaussian(0.5) }));
        var exact = await ExportAsync(plan, new());
        var padded = await ExportAsync(plan, new() { Vllm = true, PadRank = true });

        using var config = JsonDocument.Parse(padded.ConfigJson);
        var (rank, alpha) = (config.RootElement.GetProperty("r").GetInt32(), config.RootElement.GetProperty("lora_alpha").GetDouble());
        Assert.Equal(8, rank);
        Assert.False(config.RootElement.GetProperty("use_rslora").GetBoolean());
        Assert.All(padded.Tensors.Keys, static name => Assert.Matches(@"\.lora_[AB]\.weight$", name));
        foreach (var (module, own) in new[] { ("self_attn.q_proj", 4), ("mlp.up_proj", 2) })
        {
            var name = $"base_model.model.model.layers.0.{module}.lora_";
            var scaling = 6 / Math.Sqrt(own);
            Assert.Equal(8, padded.Tensors[name + "A.weight"].Shape[0]);
            Close.Assert(Product(exact, name, own, scaling), Product(padded, name, 8, alpha / rank), module, 1e-6, 1e-6);
        }
    }

    [Theory]
    [InlineData(
        "lora", 4, "", false,
        "has rank 4, vLLM accepts one of 8, 16, 32, 64, 128, 256, 320, 512, the same for all layers; ask for padding to 8 with zeros")]
    [InlineData("dora", 4, "", true, "vLLM loads no DoRA (use_dora); merge the adapter into the model with fedrlora merge")]
    [InlineData("lora", 8, "embed_tokens", true, "this adapter is on the embedding model.embed_tokens; merge it with fedrlora merge")]
    public async Task What_vLLM_does_not_load_is_refused_with_the_reason(string method, int rank, string target, bool pad, string expected)
    {
        var plan = _tiny.Plan(
            AdapterCatalog.Methods[method].Spec with { Rank = rank, TargetModules = target.Length == 0 ? ["q_proj"] : [target] });
        var message = (await Assert.ThrowsAsync<BadInputException>(() => ExportAsync(plan, new() { Vllm = true, PadRank = pad }))).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("r-lora", "weighs heads by the input (routing softmax)")]
    [InlineData("smora", "weighs rows of A by the input (routing rankTopK)")]
    [InlineData("mixlora", "weighs rows of A by the input (routing pool)")]
    public async Task The_refusal_of_an_exact_form_says_what_follows_the_input(string method, string expected)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));

        Assert.Contains(
            expected, (await Assert.ThrowsAsync<BadInputException>(() => ExportAsync(plan, new()))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_nearest_static_form_of_a_router_is_the_mean_of_its_heads()
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue("r-lora"));
        var mean = _tiny.Plan(TinyFederation.TinyCatalogue("r-lora") with { Routing = new Routing.Mean() });

        Assert.Contains(
            "ask for the nearest static form", (await Assert.ThrowsAsync<BadInputException>(() => ExportAsync(plan, new()))).Message,
            StringComparison.Ordinal);
        var (nearest, exact) = (await ExportAsync(plan, new() { Nearest = true }), await ExportAsync(mean, new()));

        Assert.Equal(exact.Tensors.Keys, nearest.Tensors.Keys);
        // the last bit of a mean follows the order of its sum, which is the processor's
        Assert.All(exact.Tensors, entry => Assert.All(entry.Value.Data.Zip(nearest.Tensors[entry.Key].Data),
            static pair => Assert.Equal(pair.First, pair.Second, 1e-6f)));
    }

    private async Task<ExportedAdapter> ExportAsync(FederationPlan plan, ExportForm form)
    {
        using var trainer = _tiny.Trainer();
        return new PeftExporter(_tiny.Root).Export(plan, 1, plan.Clients[0], await trainer.InitialSharedAsync(plan), head: null, form);
    }

    private static float[] Product(ExportedAdapter adapter, string name, int rank, double scaling)
    {
        var (a, b) = (adapter.Tensors[name + "A.weight"], adapter.Tensors[name + "B.weight"]);
        var (inWidth, outWidth) = ((int)a.Shape[1], (int)b.Shape[0]);
        double Element(int row, int column) =>
            Enumerable.Range(0, rank).Sum(k => (double)b.Data[row * rank + k] * a.Data[k * inWidth + column]);
        return [.. Enumerable.Range(0, outWidth * inWidth).Select(i => (float)(scaling * Element(i / inWidth, i % inWidth)))];
    }
}
