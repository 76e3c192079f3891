using System.Text.RegularExpressions;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Data;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Metrics;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;
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
        var rows = Rows(
            [.. Enumerable.Range(0, 24).Select(row => new Example($"{(char)('a' + row)}?", labels[row % 4], labels[row % 4], row + 1))]);

        var score = MetricRegistry.Metrics[Metric.Accuracy].Score(rows, default);

        var right = rows.Test.Examples.Count(example => labels.MaxBy(label => Likelihood(example.Prompt, label)) == example.Completion);
        Assert.Equal(right / 24.0, score.Score);
        var tokens = rows.Test.Rows.Sum(static row => row.LossTokens);
        Close.AssertRelative(-rows.Test.Examples.Sum(example => Likelihood(example.Prompt, example.Completion)) / tokens, score.Loss,
            "loss", 1e-5);
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
    public void Auto_is_accuracy_for_labels_and_says_why_it_is_not()
    {
        Assert.Equal(("accuracy", null), Auto([new("a", "x", "x", 1), new("b", "y", "y", 2)]));
        Assert.Equal(("perplexity", null), Auto([new("a", "x", null, 1), new("b", "y", null, 2)]));
        Assert.Equal(("perplexity", DataNoteKind.AutoUnlabelled), Auto([new("a", "x", null, 1), new("b", "y", "y", 2)]));
        Assert.Equal(("perplexity", DataNoteKind.AutoOneLabel), Auto([new("a", "x", "1", 1), new("b", "y", "1", 2)]));
        Assert.Equal(("perplexity", DataNoteKind.AutoAmbiguous), Auto([new("a", "x", "1", 1), new("b", "x", "2", 2)]));
        Assert.Equal(("accuracy", null), Auto(Numbered(256)));
        Assert.Equal(("perplexity", DataNoteKind.AutoManyLabels), Auto(Numbered(257)));

        var ofTask = TaskLabels.Of([("x", "x"), ("y", "y")]);
        Assert.Equal(("perplexity", DataNoteKind.AutoUnlabelled), Auto([new("a", "x", null, 1), new("b", "y", null, 2)], ofTask));

        (string, DataNoteKind?) Auto(IReadOnlyList<Example> examples, TaskLabels? labels = null)
        {
            var test = Rows(examples).Test;
            var (metric, whyNot) = MetricRegistry.For(Metric.Auto, test with { Labels = labels ?? test.Labels });
            return (metric.Name, whyNot?.Kind);
        }
    }

    [Theory]
    [InlineData("accuracy: 257 distinct answers, at most 256 are scored one by one")]
    [InlineData("accuracy: 1 of 2 test rows have no label", "x", "1", "y", null)]
    [InlineData("accuracy: the test rows carry no labels", "x", null, "y", null)]
    [InlineData("accuracy: \"1\" is the only label of the task", "x", "1", "y", "1")]
    [InlineData("accuracy: the answer \"x\" stands for the labels \"1\" and \"2\"", "x", "1", "x", "2")]
    public void Labels_that_cannot_be_chosen_from_are_refused(string refused, params string?[] rows)
    {
        IReadOnlyList<Example> examples = rows.Length == 0
            ? Numbered(257)
            : [.. rows.Chunk(2).Select(static (pair, row) => new Example($"{(char)('a' + row)}", pair[0]!, pair[1], row + 1))];

        Assert.StartsWith(refused, Refusal(Rows(examples)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1.0", "1", 0)] // as numbers in rows are named
    [InlineData("1.0", "1.0", 0)]
    [InlineData("007", "007", 0)]
    [InlineData("yes\u200b", "yes\u200b", 1)]
    [InlineData("\uff59\uff45\uff53", "\uff59\uff45\uff53", 1)]
    public void Declared_labels_are_those_of_rows_and_ones_that_look_alike_are_counted(string declared, string ofRows, int alike)
    {
        var labels = TaskLabels.Of([(ofRows, "a"), ("yes", "b")], [new(declared, []), new("yes", [])]);

        Assert.Equal(["a", "b"], labels.Answers);
        Assert.NotNull(labels.PlaceOf(ofRows));
        Assert.Equal(2 * alike, labels.Alike);
    }

    [Fact]
    public void A_refusal_is_one_short_line_whatever_labels_and_answers_hold()
    {
        var refused = Refusal(Rows([new("a", "x\nx", "p\u001b[1m", 1), new("b", "x\nx", new('n', 5000), 2)]));

        Assert.DoesNotContain(refused, char.IsControl);
        Assert.InRange(refused.Length, 1, 500);
    }

    [Fact]
    public void A_label_has_the_answers_that_rows_give_it_and_majority_follows_the_same_rule()
    {
        // Whichever answer of a label is the likeliest, the label is right.
        var rows = Rows([new("a", "x", "p", 1), new("b", "y", " p", 2), new("c", "z ", "p ", 3), new("d", "w", "n", 4)]);

        var score = MetricRegistry.Metrics[Metric.Accuracy].Score(rows, default);

        string[] answers = ["w", "x", "y", "z "];
        var right = rows.Test.Examples.Count(
            example => (answers.MaxBy(answer => Likelihood(example.Prompt, answer)) == "w") == (example.Label == "n"));
        Assert.Equal((2, right / 4.0, 0.75), (rows.Test.Labels.Names.Count, score.Score, score.Constant));
        Assert.Equal(score.Score, score.Rows.Average(static row => row.Value));
    }

    [Fact]
    public void Answers_that_a_limit_makes_equal_are_refused_with_the_limit_that_would_do()
    {
        var examples = new[] { new Example("abc", "aaaaaaaaab", "1", 1), new Example("abd", "aaaaaaaaac", "2", 2) };

        var refused = Refusal(Rows(examples, maxTokens: 8));

        Assert.StartsWith(
            "accuracy: the labels \"aaaaaaaaab\" and \"aaaaaaaaac\" begin alike and are cut to the same tokens; give maxTokens: ", refused,
            StringComparison.Ordinal);
        var needed = int.Parse(refused.Split("maxTokens: ")[1].Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture);
        Assert.NotNull(MetricRegistry.Metrics[Metric.Accuracy].Score(Rows(examples, needed), default));
        Assert.Contains("cut to the same tokens", Refusal(Rows(examples, needed - 2)), StringComparison.Ordinal);
    }

    [Fact]
    public void An_answer_that_begins_another_is_refused_only_where_nothing_ends_it()
    {
        var examples = new[] { new Example("a", "u", "1", 1), new Example("b", "up", "2", 2) };
        Assert.NotNull(MetricRegistry.Metrics[Metric.Accuracy].Score(Rows(examples), default));
        WithConfig("eos_token_id", "null");
        File.WriteAllText(Path.Combine(_tiny.Root, "model", "tokenizer_config.json"), """{"bos_token":"<s>"}""");
        var endless = new RowEncoder(Tokenizer.Load(Path.Combine(_tiny.Root, "model")), 20);

        Assert.StartsWith("accuracy: the model has no end token and the label \"u\" begins \"up\"",
            Refusal(Rows(examples, encoder: endless)), StringComparison.Ordinal);
    }

    [Fact]
    public void Completions_beyond_the_bound_of_a_continuation_are_counted()
    {
        WithConfig("max_position_embeddings", "64");
        using var longer = FrozenBase.Load(Path.Combine(_tiny.Root, "model"), CPU);
        var rows = Rows([new("ab:", new string('u', 30), null, 1), new("ab:", "zzz", null, 2)], maxTokens: 64) with { Base = longer };

        Assert.Null(new ExactMatch().Score(rows with { Spec = new() }, default).Note);
        Assert.Equal(new() { Kind = DataNoteKind.AnswerTooLong, Count = 1, Of = 2, Longest = 31 },
            new ExactMatch().Score(rows, default).Note);
    }

    [Fact]
    public void F1_and_correlation_are_those_of_scikit_learn()
    {
        // Own labels 0 0 0 1 1 2 2 2, chosen 0 0 1 1 2 2 2 0: f1_score(average="macro") and matthews_corrcoef by hand from their formulas.
        int[,] counts = { { 2, 1, 0 }, { 0, 1, 1 }, { 1, 0, 2 } };

        Assert.Equal(5 / 8.0, LabelMetric.Accuracy(counts));
        Assert.Equal((4 / 6.0 + 2 / 4.0 + 4 / 6.0) / 3, LabelMetric.MacroF1(counts), 12);
        Assert.Equal((5 * 8 - (3 * 3 + 2 * 2 + 3 * 3)) / Math.Sqrt((64 - 22.0) * (64 - 22.0)), LabelMetric.Matthews(counts), 12);
        Assert.Equal(0, LabelMetric.Matthews(new[,] { { 3, 0 }, { 2, 0 } }));
        Assert.Equal(1, LabelMetric.Matthews(new[,] { { 3, 0 }, { 0, 2 } }), 12);
        Assert.Equal(6 / 8.0 / 2, LabelMetric.MacroF1(new[,] { { 3, 0 }, { 2, 0 } }), 12);
    }

    [Fact]
    public void A_perplexity_beyond_numbers_is_refused_by_its_loss()
    {
        var arrays = TinyLlama.Arrays(TinyLlama.Config).ToDictionary(static tensor => tensor.Key, static tensor => tensor.Value);
        var norm = arrays["model.norm.weight"];
        arrays["model.norm.weight"] = norm with { Data = [.. norm.Data.Select(static value => value * 1e5f)] };
        using (var stream = File.Create(Path.Combine(_tiny.Root, "model", "model.safetensors")))
            SafetensorsCodec.Write(new AdapterState(arrays), new Dictionary<string, string> { ["format"] = "pt" }, stream);
        using var large = FrozenBase.Load(Path.Combine(_tiny.Root, "model"), CPU);
        var rows = Rows([new("a", "x", null, 1), new("b", "y", null, 2)]) with { Base = large };

        Assert.StartsWith("perplexity: the test loss is ",
            Assert.Throws<BadInputException>(() => new Perplexity().Score(rows, default)).Message, StringComparison.Ordinal);
    }

    private void WithConfig(string key, string value)
    {
        var config = Path.Combine(_tiny.Root, "model", "config.json");
        File.WriteAllText(config, Regex.Replace(File.ReadAllText(config), $"\"{key}\": *[0-9]+", $"\"{key}\": {value}"));
    }

    private static IReadOnlyList<Example> Numbered(int labels) =>
        [.. Enumerable.Range(0, labels)
            .Select(static row => new Example("a", $"{(char)('a' + row / 20)}{(char)('a' + row % 20)}", $"{row}", row + 1))];

    private static string Refusal(ScoredRows rows) =>
        Assert.Throws<BadInputException>(() => MetricRegistry.Metrics[Metric.Accuracy].Score(rows, default)).Message;

    private ScoredRows Rows(IReadOnlyList<Example> examples, int maxTokens = 20, RowEncoder? encoder = null)
    {
        encoder ??= new RowEncoder(_base.Tokenizer, maxTokens);
        var labelled = examples.Where(static example => example.Label is not null)
            .Select(static example => (example.Label!, example.Completion));
        var test = new TestRows(examples, [.. examples.Select(example => encoder.Encode(example, "test"))], TaskLabels.Of(labelled));
        return new(_base, null, encoder, test, new EvaluationSpec { MaxNewTokens = 4 });
    }

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
