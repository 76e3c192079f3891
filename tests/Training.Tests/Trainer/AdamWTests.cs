using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
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
        Assert.Equal(["layer.B.m", "layer.B.step", "layer.B.v"], AdamW.AtRoundStart(state, Layout, Moments.KeepHeads).Keys);
        Assert.Empty(AdamW.AtRoundStart(state, Layout, Moments.Reset));
    }

    [Fact]
    public void The_joint_norm_is_clipped_and_warm_head_steps_leave_shared_tensors_alone()
    {
        using var scope = NewDisposeScope();
        var adapter = LowRankAdapter.Create(Layout, Initial(), null, 0, CPU);
        var optimizer = new AdamW(adapter, new TrainingSpec { ClipNorm = 0.5 }, AdapterState.Empty);
        foreach (var parameter in adapter.Parameters) parameter.Value.grad!.fill_(3);
        optimizer.Step(0.1);
        var norm = Math.Sqrt(adapter.Parameters.Sum(static parameter => parameter.Value.grad!.square().sum().item<float>()));
        Assert.Equal(0.5, norm, 1e-4);

        var before = adapter.State(Scope.Job)["layer.A"].Data;
        optimizer.Step(0.1, clientScopeOnly: true);
        Assert.Equal(before, adapter.State(Scope.Job)["layer.A"].Data);
        Assert.Equal((1, 2), ((int)optimizer.Export()["layer.A.step"].Data[0], (int)optimizer.Export()["layer.B.step"].Data[0]));
    }

    [Fact]
    public void The_learning_rate_warms_up_and_runs_out()
    {
        var spec = new TrainingSpec { LearningRate = 1, WarmupSteps = 4 };
        double[] Rates(Schedule schedule) => [.. new long[] { 0, 3, 4, 7, 9 }.Select(step => Math.Round(LearningRate.At(spec with { Schedule = schedule }, step, 10), 4))];
        Assert.Equal([0.25, 1, 1, 1, 1], Rates(Schedule.Constant));
        Assert.Equal([0.25, 1, 1, 0.5, 0.1667], Rates(Schedule.Linear));
        Assert.Equal([0.25, 1, 1, 0.5, 0.067], Rates(Schedule.Cosine));
    }

    private static AdapterState Initial() => Layout.Initial(1, null, static _ => true);

    private static (AdapterState Values, AdapterState State) Run(AdapterState values, AdapterState state, int from, int to)
    {
        using var scope = NewDisposeScope();
        var adapter = LowRankAdapter.Create(Layout, values, null, 0, CPU);
        var optimizer = new AdamW(adapter, new TrainingSpec { WeightDecay = 0.1 }, state);
        for (var step = from; step < to; step++)
        {
            foreach (var parameter in adapter.Parameters) parameter.Value.grad!.copy_(arange(parameter.Value.numel()).reshape(parameter.Value.shape) * 0.01f - 0.02f * step);
            optimizer.Step(0.01);
        }

        return (new AdapterState([.. adapter.State(Scope.Job), .. adapter.State(Scope.Client)]), optimizer.Export());
    }
}
