using FedRLora.Training.Data;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Data;

/// <summary>Letters are tokens: a is 3, b is 4, the space is 29; 1 begins and 2 ends a text.</summary>
public sealed class RowTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("ab", "c", 20, new[] { 1, 3, 4, 29, 5, 2 }, 3)]
    [InlineData("", "ab", 20, new[] { 1, 3, 4, 2 }, 1)]
    [InlineData("abcdef", "ab", 7, new[] { 1, 7, 8, 29, 3, 4, 2 }, 3)]
    [InlineData("abcdef", "abcdef", 5, new[] { 1, 29, 3, 4, 5 }, 1)]
    public void Loss_is_on_the_completion_and_long_rows_lose_the_front_of_the_prompt(
        string prompt, string completion, int maxTokens, int[] ids, int start)
    {
        var row = Encoder(maxTokens).Encode(new Example(prompt, completion, null, 1), "data.jsonl");
        Assert.Equal(ids, row.Ids);
        Assert.Equal(start, row.Start);
    }

    [Fact]
    public void Candidates_share_their_prompt()
    {
        var row = Encoder(20).Encode(new Example("ab", "c", null, 1), ["c", "cd"], 1);
        Assert.Equal([1, 3, 4], row.Prefix);
        Assert.Equal([[29, 5, 2], [29, 5, 6, 2]], row.Tails);
        Assert.Equal([0, 0], row.LossFrom);
        Assert.Equal([1, 4], Encoder(6).Encode(new Example("ab", "c", null, 1), ["c", "cd"], 1).Prefix);
    }

    [Fact]
    public void Epochs_run_on_over_the_rounds_and_take_every_row_once()
    {
        int[] Take(BatchOrder order, int from, int to) =>
            [.. Enumerable.Range(from, to - from).SelectMany(step => order.Take(step / 5 + 1, step % 5))];
        var order = new BatchOrder(10, 2, 5, 1, "one");
        var epochs = Take(order, 0, 15);
        Assert.Equal(Enumerable.Range(0, 10), epochs[..10].Order());
        Assert.Equal(Enumerable.Range(0, 10), epochs[10..20].Order());
        Assert.NotEqual(epochs[..10], epochs[10..20]);
        Assert.Equal(epochs[20..], Take(new BatchOrder(10, 2, 5, 1, "one"), 10, 15));
        Assert.NotEqual(epochs, Take(new BatchOrder(10, 2, 5, 1, "two"), 0, 15));
    }

    private RowEncoder Encoder(int maxTokens) => new(Tokenizer.Load(Path.Combine(_tiny.Root, "model")), maxTokens);
}
