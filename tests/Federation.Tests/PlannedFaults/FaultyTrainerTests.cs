using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Faults;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.PlannedFaults;

public sealed class FaultyTrainerTests
{
    private readonly HonestTrainer _honest = new();
    private readonly ManualTime _time = new();

    [Fact]
    public async Task A_plan_without_faults_goes_straight_through()
    {
        var group = Group(["a", "b"]);

        Assert.Same(_honest.Results(group), await new FaultyTrainer(_honest, _time).TrainAsync(group));
    }

    [Theory]
    [InlineData(FaultKind.Zero, null, new float[] { 0, 0, 0, 0, 0, 0 })]
    [InlineData(FaultKind.SignFlip, null, new float[] { -1, -2, -3, -4, -5, -6 })]
    [InlineData(FaultKind.SignFlip, 10.0, new float[] { -10, -20, -30, -40, -50, -60 })]
    [InlineData(FaultKind.Huge, null, new float[] { 1e6f, 2e6f, 3e6f, 4e6f, 5e6f, 6e6f })]
    [InlineData(FaultKind.Huge, 2.0, new float[] { 2, 4, 6, 8, 10, 12 })]
    public async Task An_attack_changes_the_update_that_is_sent_and_nothing_else(FaultKind kind, double? scale, float[] expected)
    {
        var results = await TrainAsync(["a", "b"], new FaultSpec { Kind = kind, Clients = ["b"], Scale = scale });

        var honest = _honest.Results(Group(["a", "b"]));
        Assert.Same(honest[0], results[0]);
        Assert.Equal(expected, results[1].Update["w"].Data);
        Assert.Equal([1f, 2, 3, 4, 5, 6], honest[1].Update["w"].Data);   // not written over
        Assert.Equal(honest[1] with { Update = results[1].Update }, results[1]);
    }

    [Fact]
    public async Task An_update_of_NaN_has_no_other_element()
    {
        var results = await TrainAsync(["a"], new FaultSpec { Kind = FaultKind.Nan, Clients = ["a"] });

        Assert.All(results[0].Update.Values, static array => Assert.All(array.Data, static value => Assert.True(float.IsNaN(value))));
    }

    [Fact]
    public async Task A_wrong_shape_lacks_the_last_row()
    {
        var update = (await TrainAsync(["a"], new FaultSpec { Kind = FaultKind.WrongShape, Clients = ["a"] }))[0].Update;

        Assert.Equal([1L, 3L], update["w"].Shape);
        Assert.Equal([1f, 2, 3], update["w"].Data);
    }

    [Fact]
    public async Task A_tensor_without_rows_to_spare_has_another_name()
    {
        _honest.Update = new AdapterState([KeyValuePair.Create("s", new NamedArray([], [1f]))]);

        Assert.Equal(["s.wrong"], (await TrainAsync(["a"], new FaultSpec { Kind = FaultKind.WrongShape, Clients = ["a"] }))[0].Update.Keys);
    }

    [Fact]
    public async Task Nothing_shared_cannot_be_attacked()
    {
        _honest.Update = AdapterState.Empty;

        Assert.All(
            Enum.GetValues<FaultKind>().Where(static kind => kind >= FaultKind.Nan),
            kind => Assert.Empty(UpdateAttack.Apply(new FaultSpec { Kind = kind }, _honest.Update)));
        Assert.Null((await TrainAsync(["a"], new FaultSpec { Kind = FaultKind.WrongShape, Clients = ["a"] }))[0].Failure);
    }

    [Fact]
    public async Task Attacks_on_one_update_follow_each_other()
    {
        var results = await TrainAsync(
            ["a"], new FaultSpec { Kind = FaultKind.Huge, Clients = ["a"], Scale = 2 },
            new FaultSpec { Kind = FaultKind.SignFlip, Clients = ["a"] });

        Assert.Equal([-2f, -4, -6, -8, -10, -12], results[0].Update["w"].Data);
    }

    [Fact]
    public async Task A_silent_member_reports_nothing_and_the_others_train_in_the_same_group()
    {
        var results = await TrainAsync(["a", "b", "c"], new FaultSpec { Kind = FaultKind.Silent, Clients = ["b"] });

        Assert.Equal([false, true, false], results.Select(static result => result.Silent));
        Assert.Equal(["a", "b", "c"], Assert.Single(_honest.Trained));
        Assert.Same(_honest.Results(Group(["a", "b", "c"]))[2], results[2]);
    }

    [Fact]
    public async Task A_group_that_reports_no_training_does_not_train()
    {
        var results = await TrainAsync(
            ["a", "b"], new FaultSpec { Kind = FaultKind.Silent, Clients = ["a"] },
            new FaultSpec { Kind = FaultKind.Fail, Clients = ["b"] });

        Assert.Empty(_honest.Trained);
        Assert.Equal(["a", "b"], results.Select(static result => result.ClientId));
    }

    [Theory]
    [InlineData(FaultKind.Fail, "Failed in round 3, as the plan's faults say.")]
    [InlineData(FaultKind.Absent, "Absent in round 3, as the plan's faults say.")]
    public async Task A_failure_is_reported_in_words(FaultKind kind, string reason) =>
        Assert.Equal(reason, (await TrainAsync(["a"], new FaultSpec { Kind = kind, Clients = ["a"] }))[0].Failure);

    [Fact]
    public async Task A_client_that_failed_by_itself_has_nothing_to_attack()
    {
        _honest.Failure = "a.jsonl:7: not JSON";

        Assert.Same(
            _honest.Results(Group(["a"]))[0], (await TrainAsync(["a"], new FaultSpec { Kind = FaultKind.Nan, Clients = ["a"] }))[0]);
    }

    [Fact]
    public async Task A_fault_outside_its_rounds_changes_nothing()
    {
        var results = await TrainAsync(["a"], new FaultSpec { Kind = FaultKind.Nan, Clients = ["a"], Rounds = new() { From = 4 } });

        Assert.Same(_honest.Results(Group(["a"]))[0], results[0]);
    }

    [Fact]
    public async Task A_group_is_as_late_as_its_latest_member()
    {
        var training = TrainAsync(
            ["a", "b"], new FaultSpec { Kind = FaultKind.Delay, Clients = ["a"], Delay = TimeSpan.FromSeconds(5) },
            new FaultSpec { Kind = FaultKind.Delay, Clients = ["b"], Delay = TimeSpan.FromSeconds(30) });

        Assert.Equal(TimeSpan.FromSeconds(30), await _time.Asked);
        Assert.False(training.IsCompleted);
        _time.Fire();
        Assert.Equal(2, (await training).Count);
    }

    [Fact]
    public async Task A_delay_ends_when_the_work_is_stopped()
    {
        using var stop = new CancellationTokenSource();
        var training = TrainAsync(
            ["a"], stop.Token, new FaultSpec { Kind = FaultKind.Delay, Clients = ["a"], Delay = TimeSpan.FromSeconds(5) });
        await _time.Asked;

        await stop.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => training);
    }

    private Task<IReadOnlyList<TrainingResult>> TrainAsync(string[] members, params FaultSpec[] faults) =>
        TrainAsync(members, default, faults);

    private Task<IReadOnlyList<TrainingResult>> TrainAsync(
        string[] members, CancellationToken cancellationToken, params FaultSpec[] faults) =>
        new FaultyTrainer(_honest, _time).TrainAsync(Group(members, faults), cancellationToken);

    private static TrainingGroup Group(string[] members, params FaultSpec[] faults)
    {
        var plan = Of(members) with { Faults = faults };
        return new TrainingGroup
        {
            Plan = plan, Round = 3, Shared = AdapterState.Empty,
            Members = [.. plan.Clients.Select(static client => new GroupMember { Client = client })],
        };
    }

    private sealed class HonestTrainer : ITrainer
    {
        private IReadOnlyList<TrainingResult>? _results;

        public AdapterState Update { get; set; } = new([KeyValuePair.Create("w", new NamedArray([2, 3], [1, 2, 3, 4, 5, 6]))]);

        public string? Failure { get; set; }

        public List<string[]> Trained { get; } = [];

        public IReadOnlyList<TrainingResult> Results(TrainingGroup group) =>
            _results ??=
            [
                .. group.Members.Select(member => new TrainingResult
                {
                    ClientId = member.Client.Id, Update = Update, Failure = Failure,
                    Numbers = new() { Samples = 10, Steps = 2, MeanLoss = 1, ProductNorm = 3 },
                }),
            ];

        public Task<IReadOnlyList<TrainingResult>> TrainAsync(TrainingGroup group, CancellationToken cancellationToken = default)
        {
            Trained.Add([.. group.Members.Select(static member => member.Client.Id)]);
            return Task.FromResult(Results(group));
        }

        public Task<EngineFingerprint> FingerprintAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
            throw new NotSupportedException();

        public Task<int> GroupSizeAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
            Task.FromResult(plan.Training.GroupSize ?? 1);

        public Task<AdapterState> InitialSharedAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
            throw new NotSupportedException();

        public Task<AdapterState> InitialOfTaskAsync(
            FederationPlan plan, string task, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public Task<IReadOnlyList<EvaluationResult>> EvaluateAsync(TrainingGroup group, CancellationToken cancellationToken = default) =>
            throw new NotSupportedException();
    }

    /// <summary>A clock with one timer, which rings when the test says so.</summary>
    private sealed class ManualTime : TimeProvider
    {
        private readonly TaskCompletionSource<TimeSpan> _asked = new();
        private Action? _ring;

        public Task<TimeSpan> Asked => _asked.Task;

        public void Fire() => _ring!();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _ring = () => callback(state);
            _asked.TrySetResult(dueTime);
            return new NoTimer();
        }

        private sealed class NoTimer : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => default;
        }
    }
}
