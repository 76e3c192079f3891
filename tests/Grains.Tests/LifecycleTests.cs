using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Runs;

namespace FedRLora.Grains.Tests;

public sealed class LifecycleTests
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    [Fact]
    public async Task A_paused_run_waits_and_goes_on_to_the_same_digest()
    {
        var plan = TestFederation.Plan(clients: 4, rounds: 3);
        await using var undisturbed = await TestFederation.StartAsync();
        var expected = await undisturbed.RunAsync("job", plan, InTime);
        await using var federation = await TestFederation.StartAsync();
        var reached = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Round != 2 || reached.Task.IsCompleted) return;
            if (group.Members[0].Client.Id == "c00003") reached.SetResult();
            await Task.Delay(Timeout.Infinite, token); // only the pause ends this work
        };
        var coordinator = federation.Coordinator("job");
        await coordinator.SubmitAsync(plan, InTime);
        await reached.Task.WaitAsync(InTime);

        await coordinator.PauseAsync(InTime);
        var paused = await federation.FinishAsync("job", InTime);
        Assert.Equal((JobStatus.Paused, 2, 1), (paused.Status, paused.Round, paused.NewRounds[^1].Manifest.Round));
        await Assert.ThrowsAsync<BadInputException>(() => coordinator.SubmitAsync(plan, InTime));

        await coordinator.ResumeAsync(allowEngineChange: false, cancellationToken: InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal((JobStatus.Finished, expected), (over.Status, over.NewRounds[^1].ManifestSha256));
    }

    [Fact]
    public async Task A_paused_run_is_still_paused_after_its_silo_was_replaced()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-pause-").FullName;
        var plan = TestFederation.Plan(clients: 2, rounds: 2);
        await using (var before = await TestFederation.StartAsync(folder: folder))
        {
            before.Trainer.BeforeTraining = static (_, token) => Task.Delay(Timeout.Infinite, token);
            await before.Coordinator("job").SubmitAsync(plan, InTime);
            await before.Coordinator("job").PauseAsync(InTime);
            await before.FinishAsync("job", InTime);
        }

        await using var after = await TestFederation.StartAsync(folder: folder);
        Assert.Equal(JobStatus.Paused, (await after.FinishAsync("job", InTime)).Status);
        await after.Coordinator("job").ResumeAsync(allowEngineChange: false, cancellationToken: InTime);
        Assert.Equal(JobStatus.Finished, (await after.FinishAsync("job", InTime)).Status);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task An_extended_run_has_the_rounds_of_one_that_was_longer_from_the_start()
    {
        await using var longer = await TestFederation.StartAsync();
        await longer.RunAsync("job", TestFederation.Plan(clients: 3, rounds: 4), InTime);
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("job", TestFederation.Plan(clients: 3, rounds: 2), InTime);

        await federation.Coordinator("job").ExtendAsync(TestFederation.Plan(clients: 3, rounds: 4), cancellationToken: InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal((JobStatus.Finished, 5), (over.Status, over.NewRounds.Count));
        var straight = (await longer.FinishAsync("job", InTime)).NewRounds;
        Assert.Equal(straight.Select(static round => round.Manifest.Shared), over.NewRounds.Select(static round => round.Manifest.Shared));
        Assert.Equal(straight[^1].Manifest.Clients.Select(static client => client.Head),
            over.NewRounds[^1].Manifest.Clients.Select(static client => client.Head));
        Assert.Equal(over.NewRounds[2].ManifestSha256, over.NewRounds[3].Manifest.Previous); // one chain, under two plans
        Assert.NotEqual(over.NewRounds[2].Manifest.PlanSha256, over.NewRounds[3].Manifest.PlanSha256);
    }

    [Fact]
    public async Task A_run_that_is_extended_while_it_works_opens_its_round_again_under_the_new_plan()
    {
        await using var federation = await TestFederation.StartAsync();
        var reached = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Round != 2 || group.Plan.Strategy.Rounds == 3) return;
            reached.TrySetResult();
            await Task.Delay(Timeout.Infinite, token);
        };
        await federation.Coordinator("job").SubmitAsync(TestFederation.Plan(clients: 2, rounds: 2), InTime);
        await reached.Task.WaitAsync(InTime);

        await federation.Coordinator("job").ExtendAsync(TestFederation.Plan(clients: 2, rounds: 3), cancellationToken: InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal((JobStatus.Finished, 3), (over.Status, over.NewRounds[^1].Manifest.Round));
        Assert.NotEqual(over.NewRounds[1].Manifest.PlanSha256, over.NewRounds[2].Manifest.PlanSha256);
    }

    [Fact]
    public async Task An_extension_changes_the_rounds_alone_and_only_to_more()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("job", TestFederation.Plan(clients: 2, rounds: 2), InTime);

        var fewer = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator("job").ExtendAsync(TestFederation.Plan(clients: 2, rounds: 2), cancellationToken: InTime));
        var other = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator("job").ExtendAsync(TestFederation.Plan(clients: 3, rounds: 4), cancellationToken: InTime));

        Assert.Contains("has 2 rounds already", fewer.Message, StringComparison.Ordinal);
        Assert.Contains("strategy.rounds alone", other.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_fork_goes_on_from_a_round_of_another_run_as_that_run_did()
    {
        await using var federation = await TestFederation.StartAsync(["north", "south"]);
        static string Site(int i) => i < 2 ? "north" : "south";
        var digest = await federation.RunAsync("source", TestFederation.Plan(clients: 4, rounds: 2, site: Site), InTime);
        await federation.Coordinator("source")
            .ExtendAsync(TestFederation.Plan(clients: 4, rounds: 3, site: Site), cancellationToken: InTime);
        var source = (await federation.FinishAsync("source", InTime)).NewRounds;

        await federation.Coordinator("fork")
            .ForkAsync("source", 3, TestFederation.Plan(clients: 4, rounds: 1, site: Site), cancellationToken: InTime);
        var fork = (await federation.FinishAsync("fork", InTime)).NewRounds;

        Assert.Equal(2, fork.Count);
        Assert.Equal(source[3].ManifestSha256, fork[0].Manifest.Previous); // the chain leads into the other run
        Assert.Equal(source[3].Manifest.Shared, fork[0].Manifest.Shared);
        Assert.Equal(source[3].Manifest.Clients.Select(static client => (client.Head, client.Optimizer, client.Score)),
            fork[0].Manifest.Clients.Select(static client => (client.Head, client.Optimizer, client.Score)));
        Assert.All(fork[1].Manifest.Clients, static client => Assert.Equal(ClientOutcome.Trained, client.Outcome));
        Assert.NotEqual(digest, source[3].ManifestSha256);
    }

    [Fact]
    public async Task A_fork_that_cannot_be_is_refused_before_it_begins()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("source", TestFederation.Plan(clients: 2, rounds: 5), InTime);

        var later = await Refused(7, TestFederation.Plan(clients: 2));
        var forgotten = await Refused(1, TestFederation.Plan(clients: 2));
        var moved = await Refused(5, TestFederation.Plan(clients: 2, site: static _ => "elsewhere"));
        var other = await Refused(5, TestFederation.Plan(clients: 2).Replace("fedsa-lora", "ffa-lora", StringComparison.Ordinal));
        var scoped = await Refused(5, TestFederation.Plan(clients: 2, adapter: TestFederation.TaskHeads));
        var alone = await Refused(5, TestFederation.Plan(clients: 2) + "\nsharing: none\n");

        Assert.Contains("rounds 0 to 5, not 7", later, StringComparison.Ordinal);
        Assert.Contains("not kept any more", forgotten, StringComparison.Ordinal);
        Assert.Contains("c00000", moved, StringComparison.Ordinal);
        Assert.Contains("the adapter of source, which is fedsa-lora and the plan's ffa-lora: ", other, StringComparison.Ordinal);
        Assert.Contains("the adapter of source, whose B has scope client and the plan's task: ", scoped, StringComparison.Ordinal);
        Assert.Contains("give the plan sharing: method, or begin", alone, StringComparison.Ordinal);
        Assert.Null(await federation.Coordinator("fork").GetProgressAsync(-1, InTime));

        async Task<string> Refused(int round, string plan) =>
            (await Assert.ThrowsAsync<BadInputException>(
                () => federation.Coordinator("fork").ForkAsync("source", round, plan, cancellationToken: InTime))).Message;
    }

    [Fact]
    public async Task A_fork_of_a_run_that_lacks_a_statistic_of_its_plan_is_refused_by_its_name_and_one_of_fewer_tasks_is_not()
    {
        await using var federation = await TestFederation.StartAsync();
        var plan = TestFederation.Plan(clients: 2, rounds: 1);
        static AdapterState Of(params string[] tasks) => new(tasks.Select(static task =>
            KeyValuePair.Create($"statistics/alignment/{task}/layer", new NamedArray([1], [0]))));
        federation.Trainer.Statistics = Of("one", "two");
        await federation.RunAsync("source", plan, InTime);

        federation.Trainer.Statistics = Of("one", "new");
        var thrown = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator("fork").ForkAsync("source", 1, plan, cancellationToken: InTime));
        federation.Trainer.Statistics = Of("one");
        await federation.Coordinator("fork").ForkAsync("source", 1, plan, cancellationToken: InTime);

        Assert.Contains("has no statistics/alignment/new/layer", thrown.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_fork_that_failed_half_way_left_is_no_start_for_another_run_of_its_name()
    {
        var plan = TestFederation.Plan(clients: 2, rounds: 1);
        await using var federation = await TestFederation.StartAsync();
        var expected = await federation.RunAsync("source", plan, InTime);
        var manifest = (await federation.FinishAsync("source", InTime)).NewRounds[^1].Manifest;
        await Fork.CopySharedAsync(federation.Store, "source", manifest, federation.Store, "job", InTime);

        Assert.Equal(expected, await federation.RunAsync("job", plan, InTime));
    }

    [Fact]
    public async Task A_resume_that_follows_a_pause_counts_even_while_the_pause_is_on_its_way()
    {
        await using var federation = await TestFederation.StartAsync();
        var reached = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = (group, _) =>
        {
            if (group.Round == 2) reached.TrySetResult();
            return Task.Delay(50, CancellationToken.None);
        };
        await federation.Coordinator("job").SubmitAsync(TestFederation.Plan(clients: 4, rounds: 5), InTime);
        await reached.Task.WaitAsync(InTime);

        await federation.Coordinator("job").PauseAsync(InTime);
        await federation.Coordinator("job").ResumeAsync(allowEngineChange: false, cancellationToken: InTime);

        var over = await federation.FinishAsync("job", InTime);
        Assert.True(over.Status == JobStatus.Finished, $"{over.Status} in round {over.Round}: {over.Reason}");
    }

    [Fact]
    public async Task A_site_that_a_round_went_on_without_is_in_a_later_one_when_it_has_a_silo_again()
    {
        await using var federation = await TestFederation.StartAsync(["north", "south"]);
        federation.Trainer.BeforeTraining = static (_, token) => Task.Delay(100, token);
        var plan = TestFederation.Plan(clients: 4, rounds: 60, site: static i => i < 3 ? "north" : "south",
            strategy: "  quorum: 0.5\n  siteLoss: continue");
        var south = federation.Cluster.Silos.Single(silo => federation.SiteOf[silo.Name] == "south");
        await federation.Coordinator("job").SubmitAsync(plan, InTime);
        while ((await ProgressAsync()).NewRounds.Count < 3) await Task.Delay(20, InTime);

        await federation.Cluster.KillSiloAsync(south);
        await UntilAsync(static client => client.Outcome == ClientOutcome.NotSelected || client.Outcome == ClientOutcome.Late);
        await federation.Cluster.StartAdditionalSiloAsync(); // takes the next site in turn
        await federation.Cluster.StartAdditionalSiloAsync();
        await UntilAsync(static client => client.Outcome == ClientOutcome.Trained);

        await federation.Coordinator("job").CancelAsync(InTime);

        async Task<JobProgress> ProgressAsync() => (await federation.Coordinator("job").GetProgressAsync(-1, InTime))!;

        async Task UntilAsync(Func<ManifestClient, bool> holds)
        {
            var progress = await ProgressAsync();
            while (!holds(progress.NewRounds[^1].Manifest.Clients[3]))
            {
                Assert.True(progress.Status == JobStatus.Running, progress.Reason ?? $"{progress.Status}");
                await Task.Delay(20, InTime);
                progress = await ProgressAsync();
            }
        }
    }

    [Fact]
    public async Task Buffered_rounds_close_without_the_slow_client_and_take_its_update_later()
    {
        await using var federation = await TestFederation.StartAsync();
        var release = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Members[0].Client.Id != "c00000") return;
            if (group.Round > 1) release.TrySetResult(); // never: it is still at work
            await release.Task.WaitAsync(token);
        };
        var plan = TestFederation.Plan(clients: 4, rounds: 6, strategy: "  trigger: {rule: buffered, bufferSize: 2}");
        await federation.Coordinator("job").SubmitAsync(plan, InTime);
        while ((await federation.Coordinator("job").GetProgressAsync(-1, InTime))!.NewRounds.Count < 4) await Task.Delay(10, InTime);
        release.SetResult();
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Finished, over.Status);
        Assert.All(over.NewRounds.Skip(1),
            static round => Assert.Equal(2, round.Manifest.Clients.Count(static client => client.Outcome == ClientOutcome.Trained)));
        Assert.DoesNotContain(over.NewRounds.Take(3), static round => round.Manifest.Clients[0].Outcome == ClientOutcome.Trained);
        var work = federation.Trainer.Trained.CountBy(static work => work).ToList();
        Assert.All(work, static one => Assert.Equal(1, one.Value)); // nobody trains the same round twice
        var taken = over.NewRounds.FirstOrDefault(static round => round.Manifest.Clients[0].Outcome == ClientOutcome.Trained);
        if (taken is not null)
            Assert.Equal((1, taken.Manifest.Round - 1), (taken.Manifest.Clients[0].HeadRound, taken.Manifest.Clients[0].Staleness));
        var left = Directory.EnumerateFiles(federation.Folder, "*", SearchOption.AllDirectories)
            .Where(static path => path.Contains("/updates/", StringComparison.Ordinal) && !path.Contains("/.", StringComparison.Ordinal));
        // which may have been at its last write when the run ended
        Assert.DoesNotContain(left, static path => !path.EndsWith("c00000.safetensors", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_client_that_stumbles_tries_again_by_itself()
    {
        await using var federation = await TestFederation.StartAsync();
        var stumbles = 0;
        federation.Trainer.BeforeTraining = (group, _) => group.Members[0].Client.Id == "c00001" && Interlocked.Increment(ref stumbles) <= 2
            ? throw new IOException("the disk hiccuped") : Task.CompletedTask;

        await federation.RunAsync("job",
            TestFederation.Plan(clients: 2, rounds: 1, strategy: "  maxAttempts: 1\n  clientRetries: 2"), InTime);

        Assert.Equal(3, stumbles);
    }

    [Fact]
    public async Task A_client_that_sends_poison_is_put_into_quarantine_and_the_manifest_says_so()
    {
        var trainer = new FakeTrainer();
        trainer.Afterwards = (_, result) =>
            result.ClientId != "c00002" ? result : result with { Update = new([new("A", new([4], [float.NaN, 0, 0, 0]))]) };
        await using var federation = await TestFederation.StartAsync(trainer: trainer);

        await federation.RunAsync("job",
            TestFederation.Plan(clients: 4, rounds: 4, strategy: "  quorum: 0.5\n  quarantine: {after: 2}"), InTime);

        var rounds = (await federation.FinishAsync("job", InTime)).NewRounds;
        Assert.Equal(
            [ClientOutcome.NotSelected, ClientOutcome.Refused, ClientOutcome.Refused, ClientOutcome.Quarantined, ClientOutcome.Quarantined],
            rounds.Select(static round => round.Manifest.Clients[2].Outcome));
    }
}
