using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Data;
using FedRLora.Training.Metrics;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>Pools of rank-1 factors: a text is seen as a whole, in training, in scoring and while it is written.</summary>
public sealed class PoolTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly FrozenBase _base;

    public PoolTests() => _base = FrozenBase.Load(Path.Combine(_tiny.Root, "model"), CPU);

    public void Dispose()
    {
        _base.Dispose();
        _scope.Dispose();
        _tiny.Dispose();
    }

    [Fact]
    public void All_pairs_without_weights_are_plain_LoRA()
    {
        using var generator = new Generator(3, CPU);
        var spec = AdapterCatalog.Methods["mixlora"].Spec with
        {
            Rank = 4, Routing = new Routing.Pool(4, PoolChoice.SharedIndex, Weighted: false), Dropout = Dropout.None,
        };
        Tensor Draw(params long[] shape) => empty(shape).normal_(0, 1, generator);
        var (x, a, b, router) = (Draw(2, 5, 6), Draw(4, 6), Draw(1, 7, 4), Draw(4, 6));
        Tensor Of(AdapterSpec of) => new OneLayer(of, new("layer", 6, 7), role => role switch
        {
            Roles.A => a, Roles.B => b, _ => router,
        }).Forward(x, zeros(2, 5, 7), null);

        Close.Assert(TensorData.Values(Of(spec with { Routing = new Routing.ByTask() })), TensorData.Values(Of(spec)), "y", 1e-5, 0);
    }

    [Theory, InlineData(PoolChoice.Conditional), InlineData(PoolChoice.Independent), InlineData(PoolChoice.SharedIndex)]
    public void Routers_learn_by_the_weights_of_what_they_choose_and_stay_without(PoolChoice choice)
    {
        var spec = TinyFederation.TinyCatalogue("mixlora");
        float[] Gradients(bool isWeighted)
        {
            var layout = StackedMembers.LayoutOf(spec with { Routing = new Routing.Pool(2, choice, isWeighted) }, _base.Model);
            using var members = new StackedMembers(layout, _base.Model, [0]);
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            PackedLoss.Gradients(_base.Model, Packing.Of([[StackedMembers.Row(9)]], CPU), members.Stack.Slice(0, 1), workspace);
            return [.. layout.Tensors.Where(info => layout.Spec.Routing.Roles.Contains(info.Role))
                .Select(info => members.Stack.GradientOf(0, info.Name)!.norm().item<float>())];
        }

        Assert.All(Gradients(isWeighted: true), static norm => Assert.NotEqual(0, norm));
        Assert.All(Gradients(isWeighted: false), static norm => Assert.Equal(0, norm));
    }

    [Fact]
    public void An_answer_is_scored_as_training_sees_it_alone_and_among_other_answers()
    {
        Example[] examples =
        [
            new("ab:", "up", "up", 1), new("cd ef:", "down", "down", 2), new("g:", "upset", "upset", 3), new("hij:", "u", "u", 4),
        ];
        using var members = new StackedMembers(Layout, _base.Model, [0]);
        using var pass = AdapterPass.Evaluating(members.Stack.Member(0), _base.Model);
        var encoder = new RowEncoder(_base.Tokenizer, 20);
        double Loss(params Example[] of)
        {
            var labelled = examples.Select(static example => (example.Label!, example.Completion));
            var test = new TestRows(of, [.. of.Select(example => encoder.Encode(example, "test"))], TaskLabels.Of(labelled));
            return LabelScoring.Answer(new ScoredRows(_base, pass, encoder, test, new EvaluationSpec()), "accuracy", default).Loss;
        }

        var (sum, tokens) = (0.0, 0);
        foreach (var example in examples)
        {
            var row = encoder.Encode(example, "test");
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            var trained = PackedLoss.Gradients(_base.Model, Packing.Of([[row]], CPU), members.Stack.Slice(0, 1), workspace);
            Close.AssertRelative(trained[0].item<float>(), Loss(example), example.Completion, 1e-5);
            (sum, tokens) = (sum + Loss(example) * row.LossTokens, tokens + row.LossTokens);
        }

        Assert.Equal(sum / tokens, Loss(examples), 1e-12);
        Assert.NotEqual(Loss(examples[0]), Loss(examples[3]));
    }

    [Fact]
    public void Rows_get_the_same_perplexity_alone_and_among_longer_ones()
    {
        using var members = new StackedMembers(Layout, _base.Model, [0]);
        using var pass = AdapterPass.Evaluating(members.Stack.Member(0), _base.Model);
        var encoder = new RowEncoder(_base.Tokenizer, 20);
        double[] Losses(params string[] prompts)
        {
            Example[] examples = [.. prompts.Select(static prompt => new Example(prompt, "up", null, 1))];
            var test = new TestRows(examples, [.. examples.Select(example => encoder.Encode(example, "test"))], TaskLabels.None);
            return [.. Perplexity.Losses(new(_base, pass, encoder, test, new EvaluationSpec()), default).Select(static row => row.Value)];
        }

        Assert.Equal([.. Losses("ab:"), .. Losses("cdefgh ij:"), .. Losses("k")], Losses("ab:", "cdefgh ij:", "k"));
    }

    [Fact]
    public void Each_token_is_written_after_the_whole_text_before_it()
    {
        using var members = new StackedMembers(Layout, _base.Model, [0], away: 1);
        using var pass = AdapterPass.Evaluating(members.Stack.Member(0), _base.Model);
        using var inference = no_grad();
        List<long> ids = [1, 5, 7];
        while (ids.Count < 16)
        {
            var last = _base.Model.Hidden(TinyLlama.Ids([.. ids]), null, pass).narrow(1, ids.Count - 1, 1);
            ids.Add(_base.Model.LogitsOf(last, pass).argmax(-1).item<long>());
        }

        var written = Generation.Greedy(_base.Model, pass, [1, 5, 7], 13, endId: null);

        Assert.Equal(ids[3..].Select(static id => (int)id), written);
        using var cache = new KeyValueCache();
        Assert.Contains("see sequences", Assert.Throws<ArgumentException>(
            () => _base.Model.Hidden(TinyLlama.Ids(1, 5), null, pass, cache: cache)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_LM_head_is_refused_as_it_has_no_whole_sequence() => Assert.Contains(
        "lm_head is the LM head",
        Assert.Throws<BadInputException>(() => StackedMembers.LayoutOf(
            TinyFederation.TinyCatalogue("mixlora") with { TargetModules = ["q_proj", "lm_head"] }, _base.Model)).Message,
        StringComparison.Ordinal);

    [Fact]
    public void A_rank_that_a_pattern_gives_holds_the_pairs() => Assert.Contains(
        "2 rows of 1 cannot be chosen",
        Assert.Throws<BadInputException>(() => StackedMembers.LayoutOf(
            TinyFederation.TinyCatalogue("mixlora") with { RankPattern = [new("q_proj", 1)] }, _base.Model)).Message,
        StringComparison.Ordinal);

    private AdapterLayout Layout =>
        StackedMembers.LayoutOf(TinyFederation.TinyCatalogue("mixlora") with { Dropout = Dropout.None }, _base.Model);
}
