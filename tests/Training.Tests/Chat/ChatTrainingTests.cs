using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Training.Tests.Chat;

/// <summary>A federation whose rows are conversations.</summary>
public sealed class ChatTrainingTests : IDisposable
{
    private readonly TinyChat _chat = new();

    public ChatTrainingTests()
    {
        foreach (var client in new[] { "one", "two" })
        {
            _chat.Federation.Write($"{client}.train.jsonl", Enumerable.Range(0, 12).Select(Row));
            _chat.Federation.Write($"{client}.test.jsonl", Enumerable.Range(0, 6).Select(Row));
        }
    }

    public void Dispose() => _chat.Dispose();

    [Fact]
    public async Task Conversations_are_learned_and_their_labels_scored()
    {
        using var trainer = _chat.Federation.Trainer();
        var plan = _chat.Plan() with { Training = _chat.Plan().Training with { Steps = 60, LearningRate = 3e-2 } };
        var group = await TinyFederation.GroupAsync(trainer, plan, "one", "two");
        var before = await trainer.EvaluateAsync(group);
        var trained = await trainer.TrainAsync(group);
        Assert.All(trained, static result => Assert.Null(result.Failure));
        var after = await trainer.EvaluateAsync(
            group with { Members = [.. group.Members.Zip(trained, static (member, result) => member with { Head = result.Head })] });
        Assert.All(before.Zip(after), static pair =>
        {
            Assert.Equal(("accuracy", 6), (pair.First.Metric, pair.First.Rows));
            Assert.True(pair.Second.Loss < pair.First.Loss, $"loss {pair.First.Loss} -> {pair.Second.Loss}");
        });
    }

    [Theory]
    [InlineData(Metric.ExactMatch, "exactMatch")]
    [InlineData(Metric.Perplexity, "perplexity")]
    public async Task Other_metrics_score_conversations_too(Metric metric, string name)
    {
        using var trainer = _chat.Federation.Trainer();
        var plan = _chat.Plan() with { Evaluation = _chat.Plan().Evaluation with { Metric = metric, MaxNewTokens = 4 } };
        var results = await trainer.EvaluateAsync(await TinyFederation.GroupAsync(trainer, plan, "one"));
        Assert.Equal((name, null), (Assert.Single(results).Metric, results[0].Failure));
        Assert.True(double.IsFinite(results[0].Loss));
    }

    [Fact]
    public async Task Training_twice_gives_the_same_bits()
    {
        async Task<IReadOnlyList<TrainingResult>> TrainAsync()
        {
            using var trainer = _chat.Federation.Trainer();
            return await trainer.TrainAsync(await TinyFederation.GroupAsync(trainer, _chat.Plan(), "one"));
        }

        Assert.Equal((await TrainAsync())[0].Numbers.MeanLoss, (await TrainAsync())[0].Numbers.MeanLoss);
    }

    [Fact]
    public async Task A_model_without_a_chat_template_fails_the_client_with_one_line()
    {
        File.Delete(Path.Combine(_chat.Model, "chat_template.jinja"));
        using var trainer = _chat.Federation.Trainer();
        var result = Assert.Single(await trainer.TrainAsync(await TinyFederation.GroupAsync(trainer, _chat.Plan(), "one")));
        Assert.Contains("one.train.jsonl:1: the row has \"messages\" and the model no chat template; "
            + "put the model's chat_template.jinja into its folder", result.Failure, StringComparison.Ordinal);
    }

    private static string Row(int row) =>
        TinyChat.Row(row % 2 == 0 ? "up" : "down", $"{(char)('a' + row)}", "ok", "which?", row % 2 == 0 ? "up" : "down");
}
