using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests;

/// <summary>
/// A store that cannot be used from some operation on: the run waits, and a resume ends it with the digest it would have had.
/// </summary>
public sealed class StoreTroubleTests(ITestOutputHelper output)
{
    private const int Sample = 14;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    [Fact]
    public async Task A_run_waits_for_its_store_and_goes_on_to_the_same_digest_when_resumed()
    {
        var plan = TestFederation.Plan(clients: 3, rounds: 3);
        var (expected, operations) = await UndisturbedAsync(plan);
        var soak = Environment.GetEnvironmentVariable("FEDRLORA_SOAK") is { Length: > 0 };
        var points = soak ? Enumerable.Range(1, operations) : Enumerable.Range(0, Sample).Select(i => 1 + (i * operations / Sample));
        var (tried, paused) = (0, 0);
        foreach (var point in points)
        {
            paused += await DisturbAsync(plan, point, expected) ? 1 : 0;
            tried++;
        }

        output.WriteLine($"{tried} of {operations} operations tried, {paused} paused the run");
        Assert.True(paused > tried / 2, $"{paused} of {tried} points paused the run");
    }

    [Fact]
    public async Task A_run_of_another_engine_that_could_not_be_cancelled_for_its_store_goes_on_when_it_is_resumed()
    {
        var (folder, plan) = (Directory.CreateTempSubdirectory("fedrlora-trouble-").FullName, TestFederation.Plan(clients: 3, rounds: 2));
        var reached = new TaskCompletionSource();
        await using (var before = await TestFederation.StartAsync(folder: folder))
        {
            before.Trainer.BeforeTraining = async (group, token) =>
            {
                if (group.Round < 2) return;
                reached.TrySetResult();
                await Task.Delay(Timeout.Infinite, token);
            };
            await before.Coordinator("job").SubmitAsync(plan, InTime);
            await reached.Task.WaitAsync(InTime);
        }

        using var files = new DirectoryBlobStore(folder);
        var store = new FaultInjectingStore(files);
        var other = new FakeTrainer { Engine = new("fake", "others", 1) };
        await using var federation = await TestFederation.StartAsync(folder: folder, store: store, trainer: other);
        var coordinator = federation.Coordinator("job");
        Assert.Equal(HoldKind.Changed, (await coordinator.GetProgressAsync(-1, InTime))!.Hold!.Kind);

        var tried = store.Operations;
        store.Unavailable = 0..int.MaxValue;
        await coordinator.CancelAsync(InTime);
        while (store.Operations == tried) await Task.Delay(10, InTime);
        store.Unavailable = default;

        Assert.Equal(HoldKind.Changed, (await coordinator.GetProgressAsync(-1, InTime))!.Hold!.Kind);
        await coordinator.ResumeAsync(allowEngineChange: true, cancellationToken: InTime);
        var over = await federation.FinishAsync("job", InTime);
        Assert.True(over.Status == JobStatus.Finished, over.Reason);
    }

    private static async Task<(string Digest, int Operations)> UndisturbedAsync(string plan)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-trouble-").FullName;
        using var files = new DirectoryBlobStore(folder);
        var store = new FaultInjectingStore(files);
        await using var federation = await TestFederation.StartAsync(folder: folder, store: store);
        var digest = await federation.RunAsync("job", plan, InTime);
        return (digest, store.Operations);
    }

    private static async Task<bool> DisturbAsync(string plan, int operation, string expected)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-trouble-").FullName;
        using var files = new DirectoryBlobStore(folder);
        var store = new FaultInjectingStore(files) { Unavailable = operation..int.MaxValue };
        await using var federation = await TestFederation.StartAsync(folder: folder, store: store);
        var paused = false;
        while (true)
        {
            try
            {
                if (await federation.Coordinator("job").GetProgressAsync(-1, InTime) is null)
                    await federation.Coordinator("job").SubmitAsync(plan, InTime);
                var over = await federation.FinishAsync("job", InTime);
                if (over.Status == JobStatus.Paused)
                {
                    Assert.Contains("is away", over.Reason, StringComparison.Ordinal);
                    paused = true;
                    store.Unavailable = default;
                    await federation.Coordinator("job").ResumeAsync(allowEngineChange: false, cancellationToken: InTime);
                    continue;
                }

                Assert.True(over.Status == JobStatus.Finished, $"operation {operation}: {over.Reason}");
                store.Unavailable = default;
                Assert.Equal(expected, (await federation.FinishAsync("job", InTime)).NewRounds[^1].ManifestSha256);
                return paused;
            }
            catch (Exception e) when (StoreUnavailableException.In(e) is not null)
            {
                store.Unavailable = default; // the caller heard of it: nothing runs yet
            }
        }
    }
}
