using System.Diagnostics.Metrics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Sending;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Tests;

/// <summary>Sites that do not let every tensor leave.</summary>
public sealed class MaySendTests : IDisposable
{
    private const string Refusal = "Site local refuses the plan, which would send updates of ";
    private static readonly SendingLimits Nothing = SendingLimits.Parse(["nothing"]);
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-may-send-").FullName;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static string Plan(string adapter, int rounds = 2) => TestFederation.Plan(clients: 2, rounds: rounds)
        .Replace("adapter: fedsa-lora", $"adapter: {adapter}", StringComparison.Ordinal);

    [Theory]
    [InlineData("job", "{method: fedsa-lora, scopeB: task}", "B (scope task)")]
    [InlineData("nothing-but A", "lora", "B (scope job)")]
    [InlineData("nothing", "fedsa-lora", "A (scope job)")]
    public async Task A_plan_that_would_send_more_is_refused_at_submission_and_nothing_is_stored(string word, string adapter, string what)
    {
        await using var federation = await TestFederation.StartAsync(maySend: SendingLimits.Parse([word]));

        var refused = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator("job").SubmitAsync(Plan(adapter), InTime));

        Assert.StartsWith(Refusal + what + ":", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refused.Message);
        Assert.Empty(await KeysAsync(federation.Store));
        Assert.Empty(federation.Trainer.Trained);
    }

    [Theory]
    [InlineData("job", "fedsa-lora")]
    [InlineData("task", "{method: fedsa-lora, scopeB: task}")]
    [InlineData("nothing-but B,A", "{method: fedsa-lora, scopeB: task}")]
    public async Task A_plan_within_the_word_runs(string word, string adapter)
    {
        await using var federation = await TestFederation.StartAsync(maySend: SendingLimits.Parse([word]));

        await federation.RunAsync("job", Plan(adapter), InTime);
    }

    [Fact]
    public async Task Every_site_that_refuses_is_named()
    {
        await using var federation = await TestFederation.StartAsync(
            ["north", "south"], maySend: SendingLimits.Parse(["north=nothing", "south=nothing-but B"]));

        var refused = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("job").SubmitAsync(
            TestFederation.Plan(clients: 3, site: static i => i == 1 ? "north" : "south"), InTime));

        Assert.Equal(["north", "south"], refused.Message.Split('\n').Select(static line => line.Split(' ')[1]));
    }

    [Fact]
    public async Task A_site_that_comes_later_and_refuses_pauses_the_run_before_its_first_round()
    {
        var plan = TestFederation.Plan(clients: 2, site: static i => i == 0 ? "here" : "later");
        var words = SendingLimits.Parse(["later=nothing"]);
        await using (var alone = await TestFederation.StartAsync(["here"], folder: _folder, maySend: words))
            await alone.Coordinator("job").SubmitAsync(plan, InTime); // nobody speaks for the other site

        await using var both = await TestFederation.StartAsync(["here", "later"], folder: _folder, maySend: words);

        var stopped = await both.FinishAsync("job", InTime);
        Assert.Equal(JobStatus.Paused, stopped.Status);
        Assert.StartsWith("Site later refuses the plan", stopped.Reason, StringComparison.Ordinal);
        Assert.DoesNotContain(both.Trainer.Trained, static trained => trained.Client == "c00001");
    }

    [Fact]
    public async Task A_narrower_word_after_a_restart_stops_the_run_with_no_further_update_until_the_word_is_wider_again()
    {
        var plan = Plan("fedsa-lora", rounds: 4);
        string expected;
        await using (var undisturbed = await TestFederation.StartAsync()) expected = await undisturbed.RunAsync("job", plan, InTime);
        var reached = new TaskCompletionSource();
        var trainer = new FakeTrainer
        {
            BeforeTraining = (group, token) =>
            {
                if (group.Round != 2) return Task.CompletedTask;
                reached.TrySetResult();
                return Task.Delay(Timeout.Infinite, token);
            },
        };
        await using (var before = await TestFederation.StartAsync(folder: _folder, trainer: trainer))
        {
            await before.Coordinator("job").SubmitAsync(plan, InTime);
            await reached.Task.WaitAsync(InTime);
        }

        await using (var narrower = await TestFederation.StartAsync(folder: _folder, maySend: Nothing))
        {
            var stopped = await narrower.FinishAsync("job", InTime);

            Assert.Equal(JobStatus.Paused, stopped.Status);
            Assert.StartsWith(Refusal + "A (scope job)", stopped.Reason, StringComparison.Ordinal);
            Assert.EndsWith(stopped.Reason!, stopped.Hold!.Text, StringComparison.Ordinal);
            Assert.Equal(1, stopped.NewRounds[^1].Manifest.Round);
            await Assert.ThrowsAsync<BadInputException>(() => narrower.Coordinator("job").ResumeAsync(false, cancellationToken: InTime));
            await Assert.ThrowsAsync<BadInputException>(
                () => narrower.Coordinator("job").ExtendAsync(Plan("fedsa-lora", rounds: 5), cancellationToken: InTime));
            await Assert.ThrowsAsync<BadInputException>(
                () => narrower.Coordinator("fork").ForkAsync("job", 1, plan, cancellationToken: InTime));
            Assert.Empty(narrower.Trainer.Trained);
            Assert.DoesNotContain(await KeysAsync(narrower.Store), static key => key.Contains("rounds/2/", StringComparison.Ordinal)
                || key.StartsWith("jobs/fork/", StringComparison.Ordinal));
        }

        await using var wider = await TestFederation.StartAsync(folder: _folder, maySend: SendingLimits.Parse(["job"]));
        await wider.Coordinator("job").ResumeAsync(false, cancellationToken: InTime);
        var over = await wider.FinishAsync("job", InTime);
        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        Assert.Equal(expected, over.NewRounds[^1].ManifestSha256);
    }

    [Fact]
    public async Task A_client_whose_coordinator_and_site_never_asked_trains_nothing_and_writes_no_update()
    {
        var job = $"unasked-{Guid.NewGuid():n}";
        await using (var open = await TestFederation.StartAsync(folder: _folder)) await open.RunAsync(job, Plan("fedsa-lora"), InTime);
        var failed = new TaskCompletionSource();
        using var listener = new MeterListener();
        listener.InstrumentPublished = static (instrument, self) =>
        {
            if (instrument.Meter.Name == Telemetry.Name && instrument.Name == "fedrlora.client.reports")
                self.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((_, _, tags, _) =>
        {
            var all = tags.ToArray().ToDictionary(static tag => tag.Key, static tag => tag.Value as string, StringComparer.Ordinal);
            if (all["run"] == job && all["outcome"] == "failed") failed.TrySetResult();
        });
        listener.Start();
        await using var federation = await TestFederation.StartAsync(folder: _folder, maySend: Nothing);
        var before = await KeysAsync(federation.Store);
        var over = await federation.FinishAsync(job, InTime);
        var plan = before.Single(key => key == Keys.Plan(job));

        await federation.Cluster.Client.GetGrain<IClientGrain>(Keys.Client(job, "local", "c00000")).AcceptAsync(new SiteAssignment
        {
            JobId = job, Round = 3, Attempt = 0, Phase = RoundPhase.Train,
            Plan = await RefAsync(federation, plan), Shared = over.NewRounds[^1].Manifest.SharedOf(job),
            Members = [new MemberWork { ClientId = "c00000" }],
        });
        await failed.Task.WaitAsync(InTime);

        Assert.Empty(federation.Trainer.Trained);
        Assert.DoesNotContain(await KeysAsync(federation.Store), static key => key.Contains("rounds/3/", StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_update_that_holds_more_than_the_plan_says_never_leaves_the_site()
    {
        var trainer = new FakeTrainer
        {
            Afterwards = static (_, result) => result with { Update = new([.. result.Update, new("x.B", result.Update["A"])]) },
        };
        await using var federation = await TestFederation.StartAsync(trainer: trainer, maySend: SendingLimits.Parse(["job"]));

        await federation.Coordinator("job").SubmitAsync(Plan("fedsa-lora"), InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Failed, over.Status);
        Assert.Contains(Refusal + "B (scope client)", over.Reason, StringComparison.Ordinal);
        Assert.NotEmpty(trainer.Trained);
        Assert.DoesNotContain(await KeysAsync(federation.Store), static key => key.Contains("/updates/", StringComparison.Ordinal));
    }

    private static async Task<BlobRef> RefAsync(TestFederation federation, string key)
    {
        var bytes = (await federation.Store.ReadBytesAsync(key, InTime))!;
        return new BlobRef(key, RoundManifest.Digest(bytes), bytes.Length);
    }

    private static async Task<IReadOnlyList<string>> KeysAsync(Abstractions.Ports.IBlobStore store)
    {
        var keys = new List<string>();
        await foreach (var key in store.ListAsync("", InTime)) keys.Add(key);
        return keys;
    }
}
