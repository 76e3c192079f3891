using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Data;
using FedRLora.Training.Metrics;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Metrics;

/// <summary>Against the plainest computation: one sequence at a time, nothing shared.</summary>
public sealed class MetricTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly FrozenBase _base;
    private readonly RowEncoder _encoder;

    public MetricTests()
    {
        _base = FrozenBase.Load(Path.Combine(_tiny.Root, "model"), CPU);
        _encoder = new RowEncoder(_base.Tokenizer, 20);
    }

    public void Dispose()
    {
        _base.Dispose();
        _tiny.Dispose();
    }

    [Fact]
    public void Accuracy_ranks_labels_by_their_summed_log_likelihood()
    {
        // "u" begins where "up" and "upset" go on; "a b" has a space inside.
        string[] labels = ["a b", "u", "up", "upset"];
        var rows = Rows([.. Enumerable.Range(0, 24).Select(row => new Example($"{(char)('a' + row)}?", labels[row % 4], labels[row % 4], row + 1))]);

        var score = new Accuracy().Score(rows, default);

        var right = rows.Test.Examples.Count(example => labels.MaxBy(label => Likelihood(example.Prompt, label)) == example.Completion);
        Assert.Equal(right / 24.0, score.Score);
        var tokens = rows.Test.Rows.Sum(static row => row.LossTokens);
        Close.AssertRelative(-rows.Test.Examples.Sum(example => Likelihood(example.Prompt, example.Completion)) / tokens, score.Loss, "loss", 1e-5);
        Close.AssertRelative(score.Loss, new Perplexity().Score(rows, default).Loss, "loss of perplexity", 1e-5);
    }

    [Fact]
    public void Exact_match_compares_the_greedy_continuation()
    {
        var prompt = _base.Tokenizer.Encode("ab:", addSpecialTokens: true);
        var greedy = _base.Tokenizer.Decode(Generation.Greedy(_base.Model, null, prompt, 4, 2), skipSpecialTokens: true).Trim();
        var rows = Rows([new("ab:", greedy, null, 1), new("ab:", "zzz", null, 2)]);
        Assert.Equal(0.5, new ExactMatch().Score(rows, default).Score);
    }

    [Fact]
    public void Auto_is_accuracy_for_labels_and_perplexity_for_free_text()
    {
        Assert.Equal("accuracy", MetricRegistry.For(Metric.Auto, Rows([new("a", "x", "x", 1), new("b", "y", "y", 2)])).Name);
        Assert.Equal("perplexity", MetricRegistry.For(Metric.Auto, Rows([new("a", "x", null, 1), new("b", "y", "y", 2)])).Name);
        var free = Rows([.. Enumerable.Range(0, 300).Select(static row => new Example("a", $"{(char)('a' + row / 20)}{(char)('a' + row % 20)}", "1", row))]);
        Assert.Equal("perplexity", MetricRegistry.For(Metric.Auto, free).Name);
        Assert.Contains("300 distinct completions", Assert.Throws<BadInputException>(() => new Accuracy().Score(free, default)).Message, StringComparison.Ordinal);
        Assert.Equal(1, free.Test.MajorityShare);
    }

    private ScoredRows Rows(IReadOnlyList<Example> examples) => new(_base, null, _encoder, new TestRows(
        examples, [.. examples.Select(example => _encoder.Encode(example, "test"))],
        [.. examples.Where(static example => example.Label is not null).Select(static example => example.Completion).Distinct().Order(StringComparer.Ordinal)]), new EvaluationSpec { MaxNewTokens = 4 });

    private double Likelihood(string prompt, string completion)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var row = _encoder.Encode(new Example(prompt, completion, null, 1), "test");
        var ids = tensor(row.Ids.Select(static id => (long)id).ToArray(), [1, row.Ids.Length], ScalarType.Int64);
        var likelihoods = _base.Model.LogitsOf(_base.Model.Hidden(ids, null, null), null).log_softmax(-1);
        return Enumerable.Range(row.Start, row.LossTokens).Sum(place => (double)likelihoods[0, place - 1, row.Ids[place]].item<float>());
    }
}
