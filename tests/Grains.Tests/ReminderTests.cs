using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Jobs;
using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.Grains.Tests;

public sealed class ReminderTests
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    [Fact]
    public async Task The_reminder_alone_brings_back_a_job_whose_silos_are_gone()
    {
        var inTime = InTime;
        await using var federation = await StartAsync(inTime);
        await LeaveAsync(federation, "left", inTime);

        var jobs = federation.Cluster.Client.GetGrain<IJobsGrain>(Keys.Jobs).GetGrainId();
        await federation.Cluster.Client.GetGrain<IRemindable>(jobs).ReceiveReminder("revive", default);

        // asking the job itself would revive it
        while (await CommittedAsync(federation, inTime) is not { Round: 3 }) await Task.Delay(20, inTime);
    }

    [Fact]
    public async Task A_job_that_cannot_be_opened_keeps_no_other_from_coming_back()
    {
        var inTime = InTime;
        await using var federation = await StartAsync(inTime);
        await federation.Store.WriteBytesAsync(Keys.Plan("a-broken"), "name: [not a plan"u8.ToArray(), WriteCondition.Any, inTime);
        await federation.Store.WriteBytesAsync(Keys.IndexOf("a-broken"), JobsGrain.Running.ToArray(), WriteCondition.Any, inTime);
        await LeaveAsync(federation, "left", inTime);

        await federation.Cluster.Client.GetGrain<IJobsGrain>(Keys.Jobs).ReviveAsync(inTime);

        while (await CommittedAsync(federation, inTime) is not { Round: 3 }) await Task.Delay(20, inTime);
    }

    // A silo asks for its jobs when it starts: that has to be over before there is one.
    private static async Task<TestFederation> StartAsync(CancellationToken cancellationToken)
    {
        var federation = await TestFederation.StartAsync(reviveEvery: TimeSpan.FromHours(1));
        var (client, jobs) = (federation.Cluster.Client, federation.Cluster.Client.GetGrain<IJobsGrain>(Keys.Jobs));
        while ((await client.GetGrain<IManagementGrain>(0).GetDetailedGrainStatistics(null, null, cancellationToken))
            .All(grain => grain.GrainId != jobs.GetGrainId())) await Task.Delay(5, cancellationToken);
        Assert.Empty(await jobs.ListAsync(cancellationToken)); // calls are taken one by one: after the question that made the grain
        return federation;
    }

    // As a submission leaves it when every silo dies before round 0.
    private static async Task LeaveAsync(TestFederation federation, string job, CancellationToken cancellationToken)
    {
        await federation.Store.WriteBytesAsync(Keys.Plan(job), Encoding.UTF8.GetBytes(TestFederation.Plan()), WriteCondition.Any,
            cancellationToken);
        await federation.Store.WriteBytesAsync(Keys.IndexOf(job), JobsGrain.Running.ToArray(), WriteCondition.Any, cancellationToken);
    }

    private static async Task<CurrentRound?> CommittedAsync(TestFederation federation, CancellationToken cancellationToken) =>
        await federation.Store.ReadBytesAsync(Keys.Current("left"), cancellationToken) is { } bytes
            ? CurrentRound.Parse(bytes, "left") : null;
}
