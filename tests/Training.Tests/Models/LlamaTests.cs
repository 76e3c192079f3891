using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

public sealed class LlamaTests
{
    [Fact]
    public void A_tied_model_has_no_head_of_its_own()
    {
        var names = ModelRegistry.ExpectedParameters(TinyLlama.Config with { TieWordEmbeddings = true })
            .Select(static parameter => parameter.Name);
        Assert.DoesNotContain("lm_head.weight", names);
    }

    [Fact]
    public void Gradients_reach_an_adapter_and_never_the_base()
    {
        using var model = TinyLlama.Create();
        using var scope = NewDisposeScope();
        using var offset = zeros(16).requires_grad_(true);

        model.LogitsOf(model.Hidden(TinyLlama.Ids(1, 5, 7), null, new Offset("model.layers.0.self_attn.o_proj", offset)), null)
            .sum().backward();

        Assert.True(offset.grad!.abs().sum().item<float>() > 0);
        Assert.All(model.Parameters.Values, static parameter => Assert.Null(parameter.grad));
        Assert.All(model.Parameters.Values, static parameter => Assert.False(parameter.requires_grad));
    }

    [Fact]
    public void Parameters_that_require_gradients_get_them_so_that_a_model_can_be_pretrained()
    {
        using var model = TinyLlama.Create();
        using var scope = NewDisposeScope();
        foreach (var parameter in model.Parameters.Values) parameter.requires_grad_(true);

        model.LogitsOf(model.Hidden(TinyLlama.Ids(1, 5, 7), null, null), null).Squared().sum().backward();

        Assert.All(model.Parameters, static parameter => Assert.True(parameter.Value.grad!.abs().sum().item<float>() > 0, parameter.Key));
    }

    [Fact]
    public void Wrong_input_is_refused_before_native_code_sees_it()
    {
        using var model = TinyLlama.Create();
        using var scope = NewDisposeScope();
        var ids = TinyLlama.Ids(1, 5, 7);

        Assert.Contains("32", Assert.Throws<ArgumentException>(() => model.Hidden(TinyLlama.Ids(1, 32), null, null)).Message,
            StringComparison.Ordinal);
        Assert.Contains("-1", Assert.Throws<ArgumentException>(() => model.Hidden(TinyLlama.Ids(-1), null, null)).Message,
            StringComparison.Ordinal);
        Assert.Contains("21 tokens",
            Assert.Throws<ArgumentException>(() => model.Hidden(zeros([1, 21], ScalarType.Int64), null, null)).Message,
            StringComparison.Ordinal);
        Assert.Contains("right",
            Assert.Throws<ArgumentException>(() => model.Hidden(ids, tensor(new long[] { 0, 1, 1 }, [1, 3]), null)).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => model.Hidden(ids, ones([1, 2], ScalarType.Int64), null));
        Assert.Throws<ArgumentException>(() => model.Hidden(ids.to(ScalarType.Int32), null, null));
    }

    [Fact]
    public void A_model_is_not_created_over_parameters_that_do_not_fit()
    {
        using var scope = NewDisposeScope();
        Dictionary<string, Tensor> Fitting() => ModelRegistry.ExpectedParameters(TinyLlama.Config)
            .ToDictionary(static parameter => parameter.Name, static parameter => zeros(parameter.Shape));
        var (missing, wrong, extra) = (Fitting(), Fitting(), Fitting());
        missing.Remove("model.norm.weight");
        wrong["model.norm.weight"] = zeros(3);
        extra["other"] = zeros(1);

        foreach (var parameters in (Dictionary<string, Tensor>[])[missing, wrong])
            Assert.Contains(
                "model.norm.weight", Assert.Throws<ArgumentException>(() => ModelRegistry.Create(TinyLlama.Config, parameters)).Message,
                StringComparison.Ordinal);
        Assert.Contains("other", Assert.Throws<ArgumentException>(() => ModelRegistry.Create(TinyLlama.Config, extra)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Greedy_generation_stops_at_the_end_token_at_its_bound_and_when_cancelled()
    {
        using var model = TinyLlama.Create();
        var free = Generation.Greedy(model, null, [1, 5], 4, endId: null);

        Assert.Equal(4, free.Count);
        Assert.Equal(free.TakeWhile(id => id != free[1]).Append(free[1]), Generation.Greedy(model, null, [1, 5], 4, endId: free[1]));
        Assert.Equal(18, Generation.Greedy(model, null, [1, 5], 100, endId: null).Count);
        Assert.Throws<OperationCanceledException>(
            () => Generation.Greedy(model, null, [1], 4, null, new CancellationToken(canceled: true)));
    }

    private sealed class Offset(string target, Tensor offset) : ILayerAdapters
    {
        public Tensor Adapt(string module, Tensor x, Tensor y) => module == target ? y.Plus(offset) : y;

        public Tensor AdaptEmbedding(string module, Tensor ids, Tensor y) => y;
    }
}
