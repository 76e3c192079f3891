using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>A method whose lifecycle lets a part of its tensors train in a round.</summary>
public sealed class RoundPartTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Tensors_that_take_turns_train_and_leave_in_their_rounds_alone()
    {
        using var trainer = _tiny.Trainer();
        var plan = Alternating(TinyFederation.TinyCatalogue("lora"));
        var group = await TinyFederation.GroupAsync(trainer, plan, "one", "two");

        foreach (var (round, role) in ((int, string)[])[(1, "B"), (2, "A"), (3, "B")])
        {
            var results = await trainer.TrainAsync(group with { Round = round });

            Assert.All(results, result =>
            {
                Assert.Null(result.Failure);
                Assert.Equal(
                    group.Shared.Keys.Where(name => name.EndsWith("." + role, StringComparison.Ordinal)), result.Update.Keys);
                Assert.All(result.Update.Values, static moved => Assert.Contains(moved.Data, static value => value != 0));
            });
            group = group with { Shared = Moved(group.Shared, results[0].Update) };
        }
    }

    [Fact]
    public async Task Moments_of_a_head_wait_unchanged_while_what_is_shared_trains()
    {
        using var trainer = _tiny.Trainer();
        var plan = Alternating(TinyFederation.TinyCatalogue("fedsa-lora"));
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");
        var first = (await trainer.TrainAsync(group))[0];
        Assert.Empty(first.Update);
        Assert.Contains(first.Head.Values, static head => head.Data.Any(static value => value != 0));

        var second = (await trainer.TrainAsync(After(group, first) with { Round = 2 }))[0];

        Assert.Equal(group.Shared.Keys, second.Update.Keys);
        Assert.Equal(first.Head.Keys, second.Head.Keys);
        foreach (var (name, head) in first.Head)
        {
            Assert.Equal(head.Data, second.Head[name].Data);
            foreach (var of in (string[])[".m", ".v", ".step"])
            {
                Assert.Contains(first.Optimizer[name + of].Data, static value => value != 0);
                Assert.Equal(first.Optimizer[name + of].Data, second.Optimizer[name + of].Data);
            }
        }

        // And nothing of them where all moments are reset.
        var reset = plan with { Training = plan.Training with { Moments = Moments.Reset } };
        var without = (await trainer.TrainAsync(After(group, first) with { Plan = reset, Round = 2 }))[0];
        Assert.DoesNotContain(without.Optimizer.Keys, static name => name.Contains(".B.", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_method_without_a_lifecycle_has_the_bits_of_one_that_trains_everything_in_all_rounds()
    {
        using var trainer = _tiny.Trainer();
        var plan = _tiny.Plan();
        var all = plan with { Adapter = plan.Adapter with { Lifecycle = [Trains("all", "heads", "shared")] } };

        var (expected, actual) = (await TrainAsync(plan), await TrainAsync(all));

        foreach (var (one, other) in ((AdapterState, AdapterState)[])
            [(expected.Update, actual.Update), (expected.Head, actual.Head), (expected.Optimizer, actual.Optimizer)])
        {
            Assert.Equal(one.Keys, other.Keys);
            Assert.All(one, entry => Assert.Equal(entry.Value.Data, other[entry.Key].Data));
        }

        async Task<TrainingResult> TrainAsync(FederationPlan of) =>
            (await trainer.TrainAsync(await TinyFederation.GroupAsync(trainer, of, "one")))[0];
    }

    [Fact]
    public async Task Steps_of_plain_SGD_remember_nothing_and_are_not_AdamW_s()
    {
        using var trainer = _tiny.Trainer();
        var plan = _tiny.Plan() with { Training = _tiny.Plan().Training with { Optimizer = LocalOptimizer.Sgd } };
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");

        var result = (await trainer.TrainAsync(group))[0];

        Assert.Null(result.Failure);
        Assert.Empty(result.Optimizer);
        var other = (await trainer.TrainAsync(group with { Plan = _tiny.Plan() }))[0];
        Assert.All(result.Update, entry => Assert.NotEqual(entry.Value.Data, other.Update[entry.Key].Data));
    }

    private FederationPlan Alternating(AdapterSpec spec) =>
        _tiny.Plan(spec with { Lifecycle = [Trains("odd", "B"), Trains("even", "A")] });

    private static LifecycleStep Trains(string rounds, params string[] tensors) =>
        new(RoundSet.Parse(rounds)!, new LifecycleAction.Train(tensors));

    private static TrainingGroup After(TrainingGroup group, TrainingResult result) => group with
    {
        Shared = Moved(group.Shared, result.Update),
        Members = [group.Members[0] with { Head = result.Head, Optimizer = result.Optimizer }],
    };

    private static AdapterState Moved(AdapterState shared, AdapterState update) => new(shared.Select(entry =>
        update.TryGetValue(entry.Key, out var moved)
            ? KeyValuePair.Create(entry.Key, entry.Value with { Data = [.. entry.Value.Data.Zip(moved.Data, static (a, b) => a + b)] })
            : entry));
}
