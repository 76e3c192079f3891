using FedRLora.Abstractions.Plans;
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
