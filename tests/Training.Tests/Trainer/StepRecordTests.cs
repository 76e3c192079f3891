using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>The points of single steps.</summary>
public sealed class StepRecordTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("r-lora", 1.0)]
    [InlineData("fedsa-lora", 0.0)]
    public async Task Points_change_no_bit(string method, double clipNorm)
    {
        using var trainer = _tiny.Trainer();
        var plan = PlanOf(method, training => training with { ClipNorm = clipNorm });
        var without = await TrainAsync(trainer, plan, every: 0);
        var with = await TrainAsync(trainer, plan, every: 1);

        Assert.All(without.Zip(with), static pair =>
        {
            Assert.Empty(pair.First.Points);
            Assert.Equal(4, pair.Second.Points.Count);
            Same(pair.First.Update, pair.Second.Update);
            Same(pair.First.Head, pair.Second.Head);
            Same(pair.First.Optimizer, pair.Second.Optimizer);
            Assert.Equal(pair.First.Numbers.MeanLoss, pair.Second.Numbers.MeanLoss);
        });
    }

    [Fact]
    public async Task Points_come_at_the_interval_over_all_rounds_and_say_what_the_step_was()
    {
        using var trainer = _tiny.Trainer();
        var plan = PlanOf("fedsa-lora");
        var first = (await TrainAsync(trainer, plan, every: 3))[0];
        var second = (await TrainAsync(trainer, plan, every: 3, round: 2))[0];
        var each = (await TrainAsync(trainer, plan, every: 1, round: 2))[0];

        Assert.Equal([3], first.Points.Select(static point => (int)point.Step));
        Assert.Equal([6], second.Points.Select(static point => (int)point.Step));
        Assert.Equal([5, 6, 7, 8], each.Points.Select(static point => (int)point.Step));
        Assert.Equal(each.Numbers.LastLoss, each.Points[^1].Loss);
        var (same, point) = (each.Points[1], Assert.Single(second.Points));
        Assert.Equal((2, same.Loss, same.GradientNorm, same.LearningRate),
            (point.Round, point.Loss, point.GradientNorm, point.LearningRate));
        Assert.Equal(LearningRate.At(plan.Training, 5, 4, 3), point.LearningRate);
        Assert.All(each.Points, static at => Assert.True(at is { TokensPerSecond: > 0, ResidentBytes: > 10_000_000, Seconds: > 0 }));
        Assert.Equal(each.Points.OrderBy(static at => at.Seconds), each.Points);
    }

    [Theory]
    [InlineData(0.0)]
    [InlineData(1e9)]
    public async Task The_norm_is_that_of_the_gradient_before_it_is_clipped(double clipNorm)
    {
        using var trainer = _tiny.Trainer();
        var plan = PlanOf("fedsa-lora", training => training with
        {
            Optimizer = LocalOptimizer.Sgd, Steps = 1, ClipNorm = clipNorm, WeightDecay = 0, LearningRate = 1e-3,
        });
        var group = await GroupAsync(trainer, plan, every: 1, round: 1);
        var before = await trainer.TrainAsync(group with { Plan = plan with { Training = plan.Training with { LearningRate = 0 } } });
        var after = await trainer.TrainAsync(group);
        var clipped = await trainer.TrainAsync(
            group with { Plan = group.Plan with { Training = plan.Training with { ClipNorm = 1e-3 } } });

        // One step of y -= lr g.
        var rate = after[0].Points[0].LearningRate;
        var squares = after[0].Update.Values.Sum(static array => array.Data.Sum(static value => (double)value * value))
            + after[0].Head.Sum(entry => entry.Value.Data.Zip(before[0].Head[entry.Key].Data)
                .Sum(static pair => Math.Pow((double)pair.First - pair.Second, 2)));
        var norm = after[0].Points[0].GradientNorm!.Value;
        Assert.Equal(Math.Sqrt(squares) / rate, norm, norm * 1e-3);
        Assert.Equal(norm, clipped[0].Points[0].GradientNorm!.Value, norm * 1e-6);
    }

    [Fact]
    public async Task Members_of_a_group_have_each_their_own_steps()
    {
        using var trainer = _tiny.Trainer();
        var plan = PlanOf("fedsa-lora");
        var group = await GroupAsync(trainer, plan, every: 2, round: 1);
        var members = group.Members.Select(member => member.Client.Id == "two"
            ? member with { Client = member.Client with { Steps = 7 } } : member).ToList();

        var both = await trainer.TrainAsync(group with { Members = members });
        var alone = await trainer.TrainAsync(group with { Members = [members[1]] });

        Assert.Equal([2, 4], both[0].Points.Select(static point => (int)point.Step));
        Assert.Equal([2, 4, 6], both[1].Points.Select(static point => (int)point.Step));
        Assert.Equal(alone[0].Points.Select(static point => point.LearningRate), both[1].Points.Select(static point => point.LearningRate));
        // a group of another size may sum in another order: which does is the processor's
        Assert.All(alone[0].Points.Zip(both[1].Points), static pair => Assert.Equal(pair.First.Loss, pair.Second.Loss, 1e-5));
    }

    [Fact]
    public async Task A_step_that_moves_nothing_has_no_norm()
    {
        using var trainer = _tiny.Trainer();
        // Everything is shared, so that a step of heads alone steps on nothing.
        var adapter = TinyFederation.TinyCatalogue("lora");
        var plan = PlanOf("lora", training => training with { WarmHeadSteps = 2 });
        Assert.All(adapter.Roles, role => Assert.False(adapter.Tensor(role.Name).IsHead));

        var points = (await TrainAsync(trainer, plan, every: 1))[0].Points;

        Assert.Equal([true, true, false, false], points.Select(static point => point.GradientNorm is null));
    }

    [Fact]
    public async Task A_client_that_diverges_fails_with_the_points_that_show_it()
    {
        using var trainer = _tiny.Trainer();
        var plan = PlanOf("fedsa-lora", training => training with { LearningRate = 1e30, Steps = 6 });

        var result = (await TrainAsync(trainer, plan, every: 1))[0];

        Assert.NotNull(result.Failure);
        Assert.Equal(6, result.Points.Count);
        Assert.Contains(result.Points, static point => !double.IsFinite(point.Loss));
    }

    private FederationPlan PlanOf(string method, Func<TrainingSpec, TrainingSpec>? change = null)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method));
        return change is null ? plan : plan with { Training = change(plan.Training) };
    }

    private static async Task<TrainingGroup> GroupAsync(LocalTrainer trainer, FederationPlan plan, int every, int round)
    {
        plan = plan with { Telemetry = new() { StepEvery = every } };
        return await TinyFederation.GroupAsync(trainer, plan, "one", "two") with { Round = round };
    }

    private static async Task<IReadOnlyList<TrainingResult>> TrainAsync(
        LocalTrainer trainer, FederationPlan plan, int every, int round = 1) =>
        await trainer.TrainAsync(await GroupAsync(trainer, plan, every, round));

    private static void Same(AdapterState expected, AdapterState found)
    {
        Assert.Equal(expected.Keys, found.Keys);
        Assert.All(expected, entry => Assert.Equal(entry.Value.Data, found[entry.Key].Data));
    }
}
