using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Trainer;

public sealed class AdamWTests
{
    private static readonly AdapterLayout Layout = AdapterLayout.For(new AdapterSpec { Rank = 2 }, [new LinearShape("layer", 5, 3)]);

    [Fact]
    public void Steps_after_a_save_and_load_are_the_steps_without_it()
    {
        var (straight, _) = Run(Initial(), AdapterState.Empty, 0, 6);
        var (half, state) = Run(Initial(), AdapterState.Empty, 0, 3);
        var (resumed, _) = Run(half, state, 3, 6);

        Assert.All(straight, entry => Assert.Equal(entry.Value.Data, resumed[entry.Key].Data));
        Assert.Equal(3, state["layer.A.step"].Data[0]);
        Assert.Equal(["layer.A.m", "layer.A.step", "layer.A.v", "layer.B.m", "layer.B.step", "layer.B.v"], state.Keys);
    }

    [Fact]
    public void A_round_keeps_the_moments_of_heads_and_resets_what_is_aggregated()
    {
        var (_, state) = Run(Initial(), AdapterState.Empty, 0, 2);
        foreach (var isAlone in (bool[])[true, false])
        {
            Assert.Equal(
                ["layer.B.m", "layer.B.step", "layer.B.v"], AdamW.AtRoundStart(state, Layout, Moments.KeepHeads, isAlone).Keys);
            Assert.Empty(AdamW.AtRoundStart(state, Layout, Moments.Reset, isAlone));
        }
    }

    [Fact]
    public void Moments_of_a_tensor_of_a_task_are_kept_where_nobody_else_moves_it()
    {
        var (_, state) = Run(Initial(), AdapterState.Empty, 0, 2);
        var layout = LayoutOf(Scope.Job, Scope.Task);
        Assert.Equal(["layer.B.m", "layer.B.step", "layer.B.v"], AdamW.AtRoundStart(state, layout, Moments.KeepHeads, isAlone: true).Keys);
        Assert.Empty(AdamW.AtRoundStart(state, layout, Moments.KeepHeads, isAlone: false));
        Assert.Empty(AdamW.AtRoundStart(state, layout, Moments.Reset, isAlone: true));
        // So a fork that leaves one client to a task finds none of the head that others moved.
        Assert.Equal(["layer.A.m", "layer.A.step", "layer.A.v"], AdamW.AtRoundEnd(state, layout, isAlone: false).Keys);
        Assert.Equal(state.Keys, AdamW.AtRoundEnd(state, layout, isAlone: true).Keys);
    }

    public static TheoryData<Scope, Scope> Owners
    {
        get
        {
            var all = new TheoryData<Scope, Scope>();
            Scope[] scopes = [Scope.Job, Scope.Task, Scope.Client];
            foreach (var a in scopes)
                foreach (var b in scopes) all.Add(a, b);
            return all;
        }
    }

    [Theory, MemberData(nameof(Owners))]
    public void Clipped_steps_have_the_same_bits_whoever_owns_the_tensors(Scope a, Scope b)
    {
        var expected = Clipped(LayoutOf(Scope.Job, Scope.Job));
        var actual = Clipped(LayoutOf(a, b));
        Assert.Equal(expected.Keys, actual.Keys);
        foreach (var (name, array) in expected) Assert.Equal(array.Data, actual[name].Data);

        AdapterState Clipped(AdapterLayout layout)
        {
            using var scope = NewDisposeScope();
            var values = layout.Initial(1, null, static _ => true);
            var stack = new AdapterStack([.. Enumerable.Repeat(new ClientAdapter(layout, values, null), 3)], masks: null, CPU, model: null);
            var optimizer = new AdamW(stack, new TrainingSpec { ClipNorm = 0.03 }, [.. Enumerable.Repeat(AdapterState.Empty, 3)]);
            for (var step = 1; step <= 3; step++)
            {
                for (var member = 0; member < 3; member++) Fill(StackLeaves.Of(stack, member), step + member);
                optimizer.Step([0.1, 0.2, 0.3]);
            }

            return new AdapterState(Enumerable.Range(0, 3).SelectMany(member => optimizer.Export(member)
                .Concat(Everything(stack.Member(member))).Select(entry => KeyValuePair.Create($"{member} {entry.Key}", entry.Value))));
        }
    }

    [Theory, InlineData(Scope.Client), InlineData(Scope.Task)]
    public void Warm_head_steps_move_what_belongs_to_a_client_or_a_task(Scope heads)
    {
        using var scope = NewDisposeScope();
        var layout = LayoutOf(Scope.Job, heads);
        var values = layout.Initial(1, null, static _ => true);
        var stack = new AdapterStack([new ClientAdapter(layout, values, null)], masks: null, CPU, model: null);
        var optimizer = new AdamW(stack, new TrainingSpec(), [AdapterState.Empty]);
        Fill(StackLeaves.Of(stack, 0), 1);

        optimizer.Step([0.1], headsOnly: true);

        Assert.Equal(values["layer.A"].Data, stack.Member(0).State(Scope.Job)["layer.A"].Data);
        Assert.NotEqual(values["layer.B"].Data, stack.Member(0).State(heads)["layer.B"].Data);
    }

    [Fact]
    public void The_joint_norm_is_clipped_and_warm_head_steps_leave_shared_tensors_alone()
    {
        using var scope = NewDisposeScope();
        var stack = Stack(Initial());
        var adapter = StackLeaves.Of(stack, 0);
        var optimizer = new AdamW(stack, new TrainingSpec { ClipNorm = 0.5 }, [AdapterState.Empty]);
        foreach (var parameter in adapter.Parameters) parameter.Value.grad!.fill_(Living.Of(3));
        optimizer.Step([0.1]);
        var norm = Math.Sqrt(adapter.Parameters.Sum(static parameter => parameter.Value.grad!.Squared().sum().item<float>()));
        Assert.Equal(0.5, norm, 1e-4);

        var before = adapter.State(Scope.Job)["layer.A"].Data;
        optimizer.Step([0.1], headsOnly: true);
        Assert.Equal(before, adapter.State(Scope.Job)["layer.A"].Data);
        Assert.Equal((1, 2), ((int)optimizer.Export(0)["layer.A.step"].Data[0], (int)optimizer.Export(0)["layer.B.step"].Data[0]));
    }

    [Fact]
    public void Members_of_a_stack_step_as_they_would_alone_and_those_that_are_done_stay()
    {
        using var scope = NewDisposeScope();
        var (values, state) = Run(Initial(), AdapterState.Empty, 0, 3);
        var stack = Stack(values, Initial(), Initial());
        var optimizer = new AdamW(stack, new TrainingSpec { WeightDecay = 0.1 }, [state, AdapterState.Empty, AdapterState.Empty]);
        for (var member = 0; member < 3; member++) Fill(StackLeaves.Of(stack, member), step: 3 * (1 - member));

        optimizer.Step([0.01, 0.02]);

        AssertSame(Run(values, state, 3, 4).Values, stack.Member(0));
        AssertSame(Run(Initial(), AdapterState.Empty, 0, 1, 0.02).Values, stack.Member(1));
        AssertSame(Initial(), stack.Member(2));
        Assert.Equal((4, 1, 0), ((int)optimizer.Export(0)["layer.A.step"].Data[0], (int)optimizer.Export(1)["layer.A.step"].Data[0],
            (int)optimizer.Export(2)["layer.A.step"].Data[0]));
    }

    [Fact]
    public void A_state_that_does_not_fit_is_refused()
    {
        var (_, state) = Run(Initial(), AdapterState.Empty, 0, 2);
        AdamW.Check(state, Layout);
        Assert.Contains("layer.A.m", Refused(state.Where(static entry => entry.Key != "layer.A.m").Append(new("layer.A.m", new([1], [0])))),
            StringComparison.Ordinal);
        Assert.Contains("tensors A have taken 2 and 1 steps", Refused(state, TwoLayers), StringComparison.Ordinal);

        string Refused(IEnumerable<KeyValuePair<string, NamedArray>> entries, AdapterLayout? layout = null) =>
            Assert.Throws<BadInputException>(() => AdamW.Check(
                new AdapterState(entries.Concat(layout is null ? [] : [new("other.A.step", new([], [1]))])), layout ?? Layout)).Message;
    }

    [Fact]
    public void The_learning_rate_warms_up_and_runs_out()
    {
        var spec = new TrainingSpec { LearningRate = 1, WarmupSteps = 4 };
        double[] Rates(Schedule schedule) => [.. new long[] { 0, 3, 4, 7, 9 }.Select(
            step => Math.Round(LearningRate.At(spec with { Schedule = schedule }, step, steps: 5, rounds: 2), 4))];
        Assert.Equal([0.25, 1, 1, 1, 1], Rates(Schedule.Constant));
        Assert.Equal([0.25, 1, 1, 0.5, 0.1667], Rates(Schedule.Linear));
        Assert.Equal([0.25, 1, 1, 0.5, 0.067], Rates(Schedule.Cosine));
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(8, 4)]
    [InlineData(400, 20)]
    public void Without_a_number_the_rate_is_full_after_half_of_the_first_round_and_at_most_twenty_steps_however_many_rounds_there_are(
        int steps, int full)
    {
        var spec = new TrainingSpec { LearningRate = 1, Schedule = Schedule.Constant };
        double[] Rates(int rounds) => [.. Enumerable.Range(0, steps).Select(step => LearningRate.At(spec, step, steps, rounds))];
        Assert.Equal(full - 1, Array.IndexOf(Rates(1), 1));
        Assert.Equal(Rates(1), Rates(7));
    }

    private static AdapterState Initial() => Layout.Initial(1, null, static _ => true);

    private static AdapterLayout LayoutOf(Scope a, Scope b) => AdapterLayout.For(
        new AdapterSpec { Rank = 2 }.With("A", tensor => tensor with { Scope = a }).With("B", tensor => tensor with { Scope = b }),
        [new LinearShape("layer", 5, 3)]);

    private static AdapterState Everything(PlacedAdapter adapter) =>
        new([.. adapter.State(Scope.Job), .. adapter.State(Scope.Task), .. adapter.State(Scope.Client)]);

    private static AdapterLayout TwoLayers { get; } = AdapterLayout.For(new AdapterSpec { Rank = 2 },
        [new LinearShape("layer", 5, 3), new LinearShape("other", 5, 3)]);

    private static AdapterStack Stack(params AdapterState[] members) => 
        new([.. members.Select(static values => new ClientAdapter(Layout, values, null))], masks: null, CPU, model: null);

    private static void AssertSame(AdapterState expected, PlacedAdapter adapter)
    {
        var actual = Everything(adapter);
        Assert.All(expected, entry => Assert.Equal(entry.Value.Data, actual[entry.Key].Data));
    }

    private static void Fill(PlacedAdapter adapter, int step)
    {
        foreach (var parameter in adapter.Parameters)
        {
            var numbers = Living.Range(0, parameter.Value.numel(), CPU).reshape(parameter.Value.shape);
            parameter.Value.grad!.copy_(numbers * Living.Of(0.01f) - Living.Of(0.02f * step));
        }
    }

    private static (AdapterState Values, AdapterState State) Run(
        AdapterState values, AdapterState state, int from, int to, double rate = 0.01)
    {
        using var scope = NewDisposeScope();
        var stack = Stack(values);
        var optimizer = new AdamW(stack, new TrainingSpec { WeightDecay = 0.1 }, [state]);
        for (var step = from; step < to; step++)
        {
            Fill(StackLeaves.Of(stack, 0), step);
            optimizer.Step([rate]);
        }

        return (Everything(stack.Member(0)), optimizer.Export(0));
    }
}
