using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

public sealed class BlockTests
{
    [Theory]
    [InlineData(0, 5, null)]
    [InlineData(0, 5, 5)]
    [InlineData(7, 1, null)]
    [InlineData(7, 1, 8)]
    public void Where_the_plain_causal_rule_is_enough_there_is_no_mask(long first, long count, int? window)
    {
        using var scope = NewDisposeScope();
        Assert.Null(Blocks.CausalMask(first, count, window, CPU));
    }

    [Theory]
    [InlineData(0, 5, 3)]
    [InlineData(4, 3, null)]
    [InlineData(4, 3, 6)]
    [InlineData(7, 1, 3)]
    public void A_query_sees_itself_and_what_is_before_it_within_the_window(long first, long count, int? window)
    {
        using var scope = NewDisposeScope();
        var mask = Blocks.CausalMask(first, count, window, CPU)!;
        Assert.Equal([count, first + count], mask.shape);
        for (var query = 0L; query < count; query++)
            for (var key = 0L; key < first + count; key++)
                Assert.Equal(key <= first + query && first + query - key < (window ?? int.MaxValue), mask[query, key].item<bool>());
    }

    [Fact]
    public void Linear_scaling_turns_by_the_position_over_the_factor()
    {
        using var scope = NewDisposeScope();
        var config = TinyLlama.Config with { HeadDim = 8 };
        var (plain, _) = Blocks.RotaryTable(0, 4, config, CPU, ScalarType.Float32);
        var (scaled, _) = Blocks.RotaryTable(0, 16, config with { RopeScaling = new() { Factor = 4 } }, CPU, ScalarType.Float32);
        var fourth = arange(Living.Of(0), Living.Of(16), Living.Of(4), ScalarType.Int64);
        Assert.True(scaled.index_select(0, fourth).allclose(plain, 1e-6, 1e-6));
    }

    [Fact]
    public void A_table_that_begins_later_goes_on_where_another_ends()
    {
        using var scope = NewDisposeScope();
        var (whole, _) = Blocks.RotaryTable(0, 9, TinyLlama.Config, CPU, ScalarType.Float32);
        var (rest, _) = Blocks.RotaryTable(5, 4, TinyLlama.Config, CPU, ScalarType.Float32);
        Assert.True(whole.narrow(0, 5, 4).equal(rest).all().item<bool>());
    }
}
