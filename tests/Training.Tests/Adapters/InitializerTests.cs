using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;

namespace FedRLora.Training.Tests.Adapters;

public sealed class InitializerTests
{
    private static readonly LinearShape Wide = new("layer", 3000, 700);

    public static TheoryData<string, double, double> Laws => new()
    {
        { "kaiming", 1 / Math.Sqrt(3 * 3000.0), 1 / Math.Sqrt(3 * 64.0) },
        { "gaussian", 0.02, 0.02 },
        { "stable", Math.Pow(700, 0.25) / (8 * Math.Sqrt(3000)), Math.Pow(700, -0.25) / 8 },
    };

    [Theory, MemberData(nameof(Laws))]
    public void Draws_have_the_law_s_moments(string law, double deviationA, double deviationB)
    {
        var init = law switch { "kaiming" => Init.KaimingUniform, "gaussian" => Init.Gaussian(0.02), _ => Init.Stable(64) };
        var layout = AdapterLayout.For(new AdapterSpec { Rank = 64, Heads = 3 }.WithEach(tensor => tensor with { Init = init }), [Wide]);

        var state = layout.Initial(1, null, static _ => true);

        Assert.All([("layer.A", deviationA), ("layer.B", deviationB)], expected =>
        {
            var data = state[expected.Item1].Data;
            var mean = data.Average(static value => (double)value);
            Close.AssertRelative(expected.Item2, Math.Sqrt(data.Average(value => (value - mean) * (value - mean))), expected.Item1, 0.01);
            Assert.Equal(0, mean / expected.Item2, 0.02);
        });
    }

    [Fact]
    public void A_constant_fills_and_an_identity_has_ones_where_row_is_column()
    {
        AdapterState Drawn(AdapterSpec spec, Init init) => AdapterLayout.For(
            spec.With(Core.Role, core => core with { Init = init }).With(HeadScale.Role, scale => scale with { Init = init }),
            [new("layer", 9, 7)]).Initial(1, null, static _ => true);
        var spec = new AdapterSpec { Rank = 3, Heads = 2, Routing = new Routing.Sum(), HeadScale = HeadScaleForm.PerOutput };

        var filled = Drawn(spec with { Core = new(CoreForm.Diagonal) }, Init.Constant(0.1));
        Assert.All(filled["layer.core"].Data.Concat(filled["layer.headScale"].Data), static value => Assert.Equal(0.1f, value));
        Assert.Equal(new float[] { 1, 1, 1, 1, 1, 1 },
            Drawn(spec with { Core = new(CoreForm.Diagonal, PerHead: true) }, Init.Identity)["layer.core"].Data);
        float[] two = [1, 0, 0, 0, 1, 0], four = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        Assert.Equal([.. two, .. two], Drawn(spec with { Core = new(CoreForm.Full, true, 2) }, Init.Identity)["layer.core"].Data);
        Assert.Equal(four, Drawn(spec with { Core = new(CoreForm.Full, false, 4) }, Init.Identity)["layer.core"].Data);
    }

    [Fact]
    public void Layers_take_the_first_rows_and_columns_of_one_matrix_as_wide_as_the_widest()
    {
        var spec = new AdapterSpec { Rank = 5, RankPattern = [new("one", 3)] }
            .WithEach(static tensor => tensor with { Init = new(InitLaw.SharedKaimingUniform) });
        float[] At(IReadOnlyList<LinearShape> layers, string name, ulong seed = 3) =>
            AdapterLayout.For(spec, layers).Initial(seed, null, static _ => true)[name].Data;
        LinearShape[] both = [new("one", 40, 30), new("two", 24, 70)];

        var (one, two) = (At(both, "one.A"), At(both, "two.A"));
        for (var row = 0; row < 3; row++) Assert.Equal(one[(row * 40)..(row * 40 + 24)], two[(row * 24)..(row * 24 + 24)]);
        (one, two) = (At(both, "one.B"), At(both, "two.B"));
        for (var row = 0; row < 30; row++) Assert.Equal(one[(row * 3)..(row * 3 + 3)], two[(row * 5)..(row * 5 + 3)]);
        Assert.NotEqual(two, At(both, "two.B", seed: 4));

        // Uniform on (-sqrt(6/40), sqrt(6/40)): the width of the whole matrix, also on the narrower layer.
        var wide = At([new("one", 4000, 30), new("two", 1000, 70)], "two.A");
        var bound = Math.Sqrt(6.0 / 4000);
        Assert.InRange(wide.Max(), 0.99 * bound, bound);
        Close.AssertRelative(bound / Math.Sqrt(3), Math.Sqrt(wide.Average(static value => (double)value * value)), "deviation", 0.02);
    }

    [Fact]
    public void Heads_and_modules_are_drawn_independently_and_the_policy_says_who_shares()
    {
        var spec = new AdapterSpec { Rank = 8, Heads = 2 }
            .With("A", static a => a with { Seed = SeedPolicy.PerTask, Scope = Scope.Client })
            .With("B", static heads => heads with { Init = Init.Stable(64), Seed = SeedPolicy.PerClient });
        var layout = AdapterLayout.For(spec, [new("one", 40, 30), new("two", 40, 30)]);
        float[] Of(string name, string client, string task) =>
            layout.Initial(3, new() { Id = client, Task = task, Data = new() { Train = "x" } }, static _ => true)[name].Data;

        var heads = Of("one.B", "c", "t");
        Assert.NotEqual(heads[..240], heads[240..]);
        Assert.NotEqual(heads, Of("two.B", "c", "t"));
        Assert.NotEqual(heads, Of("one.B", "d", "t"));
        Assert.Equal(heads, Of("one.B", "c", "t"));
        Assert.Equal(Of("one.A", "c", "t"), Of("one.A", "d", "t"));
        Assert.NotEqual(Of("one.A", "c", "t"), Of("one.A", "c", "u"));
    }
}
