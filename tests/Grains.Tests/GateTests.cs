using FedRLora.Federation.Rounds;
using FedRLora.Grains.Coordination;

namespace FedRLora.Grains.Tests;

/// <summary>Which events reach the round machine of a job, whatever holds it.</summary>
public sealed class GateTests
{
    private static readonly RoundEvent Report = new RoundEvent.ResendDue();
    private static readonly RoundEvent Cancelled = new RoundEvent.Cancelled();
    private static readonly Gate Away = new Gate.StoreAway("The disk is full.");

    [Fact]
    public void An_open_gate_lets_everything_pass()
    {
        Assert.True(Gate.Open.Passes(Report) && Gate.Open.Passes(Cancelled));
        Assert.False(Gate.Open.IsClosed);
    }

    [Fact]
    public void A_job_that_is_not_to_go_on_here_can_still_be_cancelled()
    {
        Gate[] changed = [new Gate.OtherEngine("Another engine."), new Gate.OtherBase("Another base.")];
        Assert.All(changed, static gate => Assert.True(gate.IsClosed && !gate.Passes(Report) && gate.Passes(Cancelled)));
    }

    [Fact]
    public void Nothing_passes_that_could_not_be_written_down()
    {
        Assert.True(Away.IsClosed);
        Assert.False(Away.Passes(Report) || Away.Passes(Cancelled));
    }

    [Fact]
    public void A_job_that_was_resumed_is_held_by_what_held_it_until_the_loop_takes_it_up()
    {
        Assert.True(new Gate.Resuming(Gate.Open).Passes(Report));
        Assert.False(new Gate.Resuming(Away).Passes(Report));
        Assert.Equal("The disk is full.", new Gate.Resuming(Away).StoreTrouble);
    }
}
