using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Tests.Objectives;

/// <summary>Terms of the objective in whole rounds of the trainer.</summary>
public sealed class TrainedTermTests : IDisposable
{
    private static readonly Dictionary<string, Objective> Terms = new(StringComparer.Ordinal)
    {
        ["proximal"] = new Objective.Proximal(2), ["control variates"] = new Objective.ControlVariates(),
        ["kl"] = new Objective.Alignment(AlignmentKind.Kl, 0.5), ["mmd"] = new Objective.Alignment(AlignmentKind.Mmd, 0.5),
        ["orthogonality"] = new Objective.Orthogonality(2), ["rank pruning"] = new Objective.RankPrune(2),
    };

    private readonly TinyFederation _tiny = new();

    public static TheoryData<string> Names => [.. Terms.Keys];

    public void Dispose() => _tiny.Dispose();

    [Theory, MemberData(nameof(Names))]
    public async Task A_term_changes_what_a_client_sends_and_not_how_its_loss_is_told(string name)
    {
        using var trainer = _tiny.Trainer();
        var (with, without) = (await GroupAsync(trainer, Plan(Terms[name]), "one"), await GroupAsync(trainer, Plan(), "one"));

        var (result, other) = ((await trainer.TrainAsync(with))[0], (await trainer.TrainAsync(without))[0]);

        Assert.Null(result.Failure);
        Assert.Contains(other.Update, entry => Norm(Difference(entry.Value, result.Update[entry.Key])) > 1e-3 * Norm(entry.Value));
        // After one step nothing of the term has come to the rows that the loss is told of.
        TrainingGroup OneStep(TrainingGroup of) => of with { Plan = of.Plan with { Training = of.Plan.Training with { Steps = 1 } } };
        var (first, plain) = ((await trainer.TrainAsync(OneStep(with)))[0], (await trainer.TrainAsync(OneStep(without)))[0]);
        Assert.Equal(plain.Numbers.MeanLoss, first.Numbers.MeanLoss);
    }

    [Theory, MemberData(nameof(Names))]
    public async Task A_client_in_a_group_trains_and_counts_as_it_does_alone_with_checkpoints_or_without(string name)
    {
        using var trainer = _tiny.Trainer();
        var group = await GroupAsync(trainer, Plan(Terms[name]), "one", "two");
        var alone = (await trainer.TrainAsync(group with { Members = [group.Members[1]] }))[0];
        foreach (var checkpoints in (bool[])[false, true])
        {
            var plan = group.Plan with { Training = group.Plan.Training with { ActivationCheckpointing = checkpoints } };

            var result = (await trainer.TrainAsync(group with { Plan = plan }))[1];

            Assert.Equal(alone.Update.Keys, result.Update.Keys);
            foreach (var (tensor, array) in alone.Update)
                Assert.True(Norm(Difference(array, result.Update[tensor])) <= 1e-3 * Norm(array), $"{tensor}, checkpoints {checkpoints}");
        }
    }

    [Fact]
    public async Task A_client_sends_the_moments_of_its_task_and_zeros_for_the_others_within_the_clip()
    {
        using var trainer = _tiny.Trainer();
        foreach (var clip in (double[])[100, 1.1])
        {
            var plan = Plan(new Objective.Alignment(AlignmentKind.Kl, 0.5, clip));
            var shared = await trainer.InitialSharedAsync(plan);
            var statistics = shared.Where(static entry => StatisticFamily.IsStatistic(entry.Key)).ToList();
            Assert.Equal(2 * shared.Keys.Count(static key => key.EndsWith(".A", StringComparison.Ordinal)), statistics.Count);
            Assert.All(statistics, static entry => Assert.All(entry.Value.Data, static value => Assert.Equal(0, value)));
            var group = new TrainingGroup { Plan = plan, Round = 1, Shared = shared, Members = [new() { Client = plan.Clients[0] }] };

            var update = (await trainer.TrainAsync(group))[0].Update;

            Assert.Equal(shared.Keys, update.Keys);
            foreach (var (name, _) in statistics)
            {
                var data = update[name].Data;
                if (name.StartsWith("statistics/alignment/two/", StringComparison.Ordinal))
                {
                    Assert.All(data, static value => Assert.Equal(0, value));
                    continue;
                }

                Assert.Equal(1, data[0]);
                Assert.InRange(Norm(update[name]), 1, clip);
                // A mean square is at least the square of the mean.
                var width = (data.Length - 1) / 2;
                for (var i = 0; i < width; i++) Assert.True(data[1 + width + i] >= data[1 + i] * data[1 + i]);
            }
        }
    }

    [Fact]
    public async Task Without_moments_of_others_as_in_the_first_round_alignment_has_no_part()
    {
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, Plan(Terms["kl"]), "one");

        var result = (await trainer.TrainAsync(group))[0];

        var plain = (await trainer.TrainAsync(await TinyFederation.GroupAsync(trainer, Plan(), "one")))[0];
        Assert.All(plain.Update, entry => Assert.Equal(entry.Value.Data, result.Update[entry.Key].Data));
    }

    [Theory]
    [InlineData(Moments.KeepHeads)]
    [InlineData(Moments.Reset)]
    public async Task A_correction_is_not_clipped_and_a_client_keeps_its_variate(Moments moments)
    {
        using var trainer = _tiny.Trainer();
        var plan = Plan(Terms["control variates"]);
        // Nothing is left of the gradient itself.
        plan = plan with
        {
            Training = plan.Training with
            {
                Optimizer = LocalOptimizer.Sgd, ClipNorm = 1e-12, Schedule = Schedule.Constant, WarmupSteps = 0, Moments = moments,
            },
        };
        var group = await GroupAsync(trainer, plan, "one");
        var (steps, rate) = (plan.Training.Steps, plan.Training.LearningRate);

        var first = (await trainer.TrainAsync(group))[0];

        foreach (var name in first.Update.Keys.Where(static name => !StatisticFamily.IsStatistic(name)))
        {
            var common = group.Shared[$"statistics/variates/{name}"].Data;
            AssertClose([.. common.Select(c => (float)(-rate * steps * c))], first.Update[name].Data);
            // c_k' = c_k - c + (x - y)/(K lr): of a gradient of 0, zero.
            AssertClose(new float[common.Length], first.Optimizer[name + ".variate"].Data);
        }

        var kept = new AdapterState(group.Shared.Where(static entry => !StatisticFamily.IsStatistic(entry.Key))
            .Select(static entry => KeyValuePair.Create(entry.Key + ".variate", Filled(entry.Value.Shape, 0.25f))));
        var second = (await trainer.TrainAsync(group with { Members = [group.Members[0] with { Optimizer = kept }] }))[0];
        foreach (var name in second.Update.Keys.Where(static name => !StatisticFamily.IsStatistic(name)))
        {
            var common = group.Shared[$"statistics/variates/{name}"].Data;
            AssertClose([.. common.Select(c => (float)(-rate * steps * (c - 0.25f)))], second.Update[name].Data);
            AssertClose([.. common.Select(static _ => -0.25f)], second.Update[$"statistics/variates/{name}"].Data);
        }
    }

    [Fact]
    public async Task A_variate_of_what_waits_in_a_round_is_kept_and_its_statistic_is_zero()
    {
        using var trainer = _tiny.Trainer();
        var plan = Plan(Terms["control variates"]);
        plan = plan with { Adapter = plan.Adapter with { Lifecycle = [new(RoundSet.Parse("all")!, new LifecycleAction.Train(["A"]))] } };
        var group = await GroupAsync(trainer, plan, "one");
        var waiting = group.Shared.Where(static entry => IsHead(entry.Key)).ToList();
        var kept = new AdapterState(
            waiting.Select(static entry => KeyValuePair.Create(entry.Key + ".variate", Filled(entry.Value.Shape, 0.25f))));

        var result = (await trainer.TrainAsync(group with { Members = [group.Members[0] with { Optimizer = kept }] }))[0];

        Assert.Null(result.Failure);
        Assert.DoesNotContain(result.Update.Keys, IsHead);
        foreach (var (name, _) in waiting)
        {
            Assert.Equal(kept[name + ".variate"].Data, result.Optimizer[name + ".variate"].Data);
            Assert.All(result.Update[$"statistics/variates/{name}"].Data, static value => Assert.Equal(0, value));
        }

        static bool IsHead(string name) => name.EndsWith(".B", StringComparison.Ordinal) && !StatisticFamily.IsStatistic(name);
    }

    [Fact]
    public async Task A_shared_state_without_a_statistic_of_the_plan_is_refused_by_its_name()
    {
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, Plan(Terms["control variates"]), "one");
        var lost = group.Shared.Keys.First(StatisticFamily.IsStatistic);

        var thrown = await Assert.ThrowsAsync<BadInputException>(
            () => trainer.TrainAsync(group with { Shared = new(group.Shared.Where(entry => entry.Key != lost)) }));

        Assert.Contains(lost, thrown.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Scores_and_exports_see_nothing_of_statistics()
    {
        using var trainer = _tiny.Trainer();
        var (with, without) = (await GroupAsync(trainer, Plan(Terms["kl"]), "one"), await GroupAsync(trainer, Plan(), "one"));

        Assert.Equal((await trainer.EvaluateAsync(without))[0], (await trainer.EvaluateAsync(with))[0] with { RowScores = [] }, Same);
        var exporter = new Training.Adapters.Peft.PeftExporter(_tiny.Root);
        Assert.Equal(
            exporter.Export(without.Plan, 1, without.Plan.Clients[0], without.Shared, null).Tensors.Keys,
            exporter.Export(with.Plan, 1, with.Plan.Clients[0], with.Shared, null).Tensors.Keys);

        static bool Same(EvaluationResult one, EvaluationResult other) =>
            (one.Loss, one.Score, one.Rows) == (other.Loss, other.Score, other.Rows);
    }

    [Fact]
    public async Task A_plan_that_shares_nothing_declares_no_statistics_and_trains_as_without_the_term()
    {
        using var trainer = _tiny.Trainer();
        var plan = Plan(Terms["kl"]);
        plan = plan with { Adapter = plan.Adapter.Unshared(), Sharing = Sharing.None };
        var alone = await TinyFederation.GroupAsync(trainer, plan, "one");
        Assert.Empty(alone.Shared);

        var result = (await trainer.TrainAsync(alone))[0];

        Assert.Null(result.Failure);
        Assert.Empty(result.Update);
    }

    // With a task's pair, for orthogonality.
    private FederationPlan Plan(params Objective[] terms) => _tiny.Plan(
        (TinyFederation.TinyCatalogue("lora") with { Objectives = terms, TaskBranch = new TaskBranch(2, 4) })
        .WithEach(static tensor => tensor with { Scope = Scope.Job }));

    private static async Task<TrainingGroup> GroupAsync(LocalTrainer trainer, FederationPlan plan, params string[] clients)
    {
        var group = await TinyFederation.GroupAsync(trainer, plan, clients);
        return group with
        {
            Shared = new(group.Shared.Select(static entry => KeyValuePair.Create(entry.Key, entry.Key.Split('/') switch
            {
                ["statistics", "variates", ..] => Filled(entry.Value.Shape, 0.5f),
                ["statistics", "alignment", ..] => MomentsOf(entry.Value.Shape),
                _ => entry.Value,
            }))),
        };
    }

    // Means of 1 and variances of 2, of two clients.
    private static NamedArray MomentsOf(IReadOnlyList<long> shape) => new(shape,
        [2, .. Enumerable.Repeat(2f, (int)(shape[0] - 1) / 2), .. Enumerable.Repeat(6f, (int)(shape[0] - 1) / 2)]);

    private static NamedArray Filled(IReadOnlyList<long> shape, float value) =>
        new(shape, [.. Enumerable.Repeat(value, (int)NamedArray.Count(shape))]);

    private static NamedArray Difference(NamedArray one, NamedArray other) =>
        one with { Data = [.. one.Data.Zip(other.Data, static (a, b) => a - b)] };

    private static double Norm(NamedArray array) => Math.Sqrt(array.Data.Sum(static value => (double)value * value));

    private static void AssertClose(float[] expected, float[] actual) => Close.Assert(expected, actual, "tensor", 1e-6, 1e-5);
}
