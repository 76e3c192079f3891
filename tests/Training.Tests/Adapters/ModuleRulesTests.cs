using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;

namespace FedRLora.Training.Tests.Adapters;

public sealed class ModuleRulesTests
{
    private static readonly LinearShape[] Layers =
    [
        new("model.embed_tokens", 100, 16, LayerKind.Embedding),
        new("model.layers.0.self_attn.q_proj", 16, 16), new("model.layers.0.mlp.up_proj", 16, 40),
        new("model.layers.1.self_attn.q_proj", 16, 16), new("model.layers.1.mlp.up_proj", 16, 40),
        new("lm_head", 16, 100, LayerKind.LmHead),
    ];

    [Fact]
    public void Every_linear_layer_is_neither_the_embedding_nor_the_LM_head() => Assert.Equal([1, 2, 3, 4], Chosen(new()));

    [Fact]
    public void Embedding_and_LM_head_are_adapted_where_they_are_named() =>
        Assert.Equal([0, 5], Chosen(new() { TargetModules = ["embed_tokens", "lm_head"] }));

    [Theory]
    [InlineData(@".*\.1\..*_proj", "3 4")]
    [InlineData("q_proj", "")]
    [InlineData(@".*(?P<part>self_attn)\.q_proj", "1 3")]
    public void A_regular_expression_matches_the_whole_name(string pattern, string expected) =>
        Assert.Equal(expected, string.Join(' ', Chosen(new() { TargetPattern = pattern })));

    [Theory]
    [InlineData(@".*layers\.[13]\..*", "1 2")]
    [InlineData(@".*self_attn.*|.*\.0\..*", "4")]
    [InlineData("q_proj", "1 2 3 4")]
    public void A_regular_expression_that_excludes_matches_the_whole_name(string pattern, string expected) =>
        Assert.Equal(expected, string.Join(' ', Chosen(new() { ExcludePattern = pattern })));

    [Fact]
    public void Layers_are_chosen_by_number_and_by_the_name_before_it()
    {
        Assert.Equal([3, 4], Chosen(new() { LayersToTransform = [1] }));
        Assert.Equal([1], Chosen(new() { LayersToTransform = [0], LayersPattern = ["layers"], TargetModules = ["q_proj"] }));
        Assert.Empty(Chosen(new() { LayersToTransform = [0], LayersPattern = ["blocks"] }));
        Assert.Equal([3], Chosen(new() { LayersToTransform = [1], TargetModules = ["q_proj"] }));
    }

    [Fact]
    public void A_whole_name_is_chosen_whatever_its_layers_number() =>
        Assert.Equal(
            [1, 4, 5],
            Chosen(new() { LayersToTransform = [1], TargetModules = ["model.layers.0.self_attn.q_proj", "up_proj", "lm_head"] }));

    [Fact]
    public void An_entry_of_a_list_that_fits_nothing_is_refused_by_name()
    {
        void Refused(AdapterSpec spec, string expected) =>
            Assert.StartsWith(
                expected, Assert.Throws<BadInputException>(() => AdapterLayout.For(spec with { Rank = 2, Alpha = 2 }, Layers)).Message,
                StringComparison.Ordinal);

        Refused(new() { ExcludeModules = ["up_proj", "dwon_proj"] }, "excludeModules: the model has no linear layer dwon_proj");
        Refused(new() { LayersToTransform = [0], TaskBranch = new(1, 1) }, "taskBranch: none of the adapted layers is in one of the last");
        Refused(new() { TaskBranch = new(99, 1) }, "taskBranch.rank: 99 is above ");
        Refused(new() { LayersToTransform = [0, 99] }, "layersToTransform: no target is in layer 99; they are in 0, 1");
        Refused(
            new() { LayersToTransform = [1], LayersPattern = ["layers", "blocks"] },
            "layersPattern: no layer's name has blocks before a number");
        Assert.Single(
            AdapterLayout.For(
                new() { Rank = 2, Alpha = 2, ExcludeModules = ["up_proj", "lm_head"], LayersToTransform = [1] }, Layers).Targets);
    }

    [Fact]
    public void Excluded_layers_are_left_out_again() => Assert.Equal([2, 4], Chosen(new() { ExcludeModules = ["q_proj"] }));

    [Fact]
    public void The_first_pattern_that_matches_gives_the_rank_and_another_the_alpha()
    {
        var spec = new AdapterSpec
        {
            Rank = 8, Alpha = 16, RankPattern = [new("layers.0.mlp.up_proj", 2), new("up_proj", 4)],
            AlphaPattern = [new(@"model\.layers\.\d+\.self_attn\.q_proj", 32)],
        };

        Assert.Equal(
            [(8, 4.0), (2, 8.0), (8, 4.0), (4, 4.0)],
            ModuleRules.Targets(spec, Layers).Select(static target => (target.Rank, target.Scaling)));
        Assert.Equal(32 / Math.Sqrt(8), ModuleRules.Targets(spec with { Scaling = Scaling.AlphaOverSqrtRank }, Layers)[0].Scaling);
    }

    [Fact]
    public void A_pattern_that_is_not_valid_or_does_not_end_is_refused_by_name()
    {
        Assert.Contains(
            "the pattern ^(?:q()$ is not a valid regular expression",
            Assert.Throws<BadInputException>(() => Chosen(new() { TargetPattern = "q(" })).Message, StringComparison.Ordinal);
        Assert.Contains(
            "takes longer than 1 s",
            Assert.Throws<BadInputException>(() => Chosen(new() { TargetPattern = @"(([a-z_.0-9]+)+)+!" })).Message,
            StringComparison.Ordinal);
    }

    private static IEnumerable<int> Chosen(AdapterSpec spec) =>
        ModuleRules.Targets(spec, Layers).Select(static target => Array.IndexOf(Layers, target.Layer));
}
