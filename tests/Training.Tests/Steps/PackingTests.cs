using FedRLora.Training.Data;
using FedRLora.Training.Steps;
using TorchSharp;

namespace FedRLora.Training.Tests.Steps;

public sealed class PackingTests
{
    [Fact]
    public void Rows_lie_one_after_the_other_members_are_padded_to_one_length_and_each_target_is_predicted_by_the_token_before_it()
    {
        using var scope = torch.NewDisposeScope();
        var packing = Packing.Of([[new([1, 3, 4, 29, 5, 2], 3), new([1, 3, 2], 1)], [new([1, 7, 8], 2)]], torch.CPU);

        Assert.Equal((2, 9, 6), (packing.Members, packing.RowsPerMember, packing.MaxLength));
        Assert.Equal([1, 3, 4, 29, 5, 2, 1, 3, 2, 1, 7, 8, 0, 0, 0, 0, 0, 0], packing.Ids.data<long>());
        Assert.Equal([0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2, 0, 0, 0, 0, 0, 0], packing.Positions.data<long>());
        Assert.Equal([2, 3, 4, 6, 7, 10], packing.LossRows.data<long>());
        Assert.Equal([29, 5, 2, 3, 2, 8], packing.Targets.data<long>());
        Assert.Equal([9, 3], packing.Rows.Real);
        Assert.Equal([5, 1], packing.LossCounts);
    }

    [Fact]
    public void Attention_takes_sequences_of_like_length_together_and_equal_ones_as_they_lie()
    {
        using var scope = torch.NewDisposeScope();
        var packing = Packing.Of([[Row(2), Row(8), Row(5)], [Row(3)]], torch.CPU);
        Assert.Equal([(2, 8), (2, 3)], packing.Buckets.Select(static bucket => (bucket.Sequences, bucket.Length)));
        Assert.Equal([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14, 14, 14], packing.Buckets[0].Rows!.data<long>());
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], packing.Buckets[0].Places!.data<long>());
        Assert.Equal([15, 16, 17, 0, 1], packing.Buckets[1].Tokens!.data<long>());

        var whole = Assert.Single(Packing.Of([[Row(4), Row(4)], [Row(4), Row(4)]], torch.CPU).Buckets);
        Assert.Equal((4, 4, null), (whole.Sequences, whole.Length, whole.Rows));
    }

    [Fact]
    public void Members_share_a_pass_where_they_bring_little_padding_and_rows_remain()
    {
        EncodedRow[][] batches = [[Row(100)], [Row(90)], [Row(50)], [Row(60)], [Row(140)]];
        int Together(int first, double mostRows) => GroupTraining.Together(batches, first, mostRows);
        // 50 beside 100, and 60 beside 140, would be mostly padding.
        Assert.Equal((2, 2, 1), (Together(0, 1e9), Together(2, 1e9), Together(4, 1e9)));
        Assert.Equal((1, 2), (Together(0, 150), Together(2, 150)));
        Assert.Equal(1, Together(0, 0)); // a pass has a member, whatever it takes
    }

    private static EncodedRow Row(int length) => new([.. Enumerable.Range(0, length)], 1);
}
