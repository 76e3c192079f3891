using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

public sealed class RoundTests
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    [Fact]
    public async Task A_job_runs_every_round_and_scores_the_start()
    {
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync("job", TestFederation.Plan(clients: 4, rounds: 3), InTime);

        var over = await federation.FinishAsync("job", InTime);
        Assert.Equal([0, 1, 2, 3], over.NewRounds.Select(round => round.Manifest.Round));
        Assert.All(over.NewRounds, round => Assert.All(round.Manifest.Clients, client => Assert.NotNull(client.Score)));
        Assert.Equal(12, federation.Trainer.Trained.Count);
    }

    [Fact]
    public async Task The_same_plan_gives_the_same_digest_on_one_silo_and_on_three()
    {
        var plan = TestFederation.Plan(clients: 6, rounds: 3);
        await using var one = await TestFederation.StartAsync(["*"]);
        await using var three = await TestFederation.StartAsync(["*", "*", "*"]);

        Assert.Equal(await one.RunAsync("job", plan, InTime), await three.RunAsync("another", plan, InTime));
    }

    [Fact]
    public async Task A_failed_client_is_named_in_the_manifest_and_keeps_its_head()
    {
        await using var federation = await TestFederation.StartAsync();
        federation.Trainer.Afterwards = static (group, result) => group.Round == 2 && result.ClientId == "c00001"
            ? new() { ClientId = result.ClientId, Failure = "b.jsonl:7: not JSON" } : result;

        await federation.RunAsync("job", TestFederation.Plan(clients: 3, rounds: 2, strategy: "  quorum: 0.5"), InTime);

        var rounds = (await federation.FinishAsync("job", InTime)).NewRounds;
        var failed = rounds[2].Manifest.Clients[1];
        Assert.Equal((ClientOutcome.Failed, "b.jsonl:7: not JSON", 1), (failed.Outcome, failed.Reason, failed.HeadRound));
        Assert.Equal(rounds[1].Manifest.Clients[1].Head, failed.Head);
    }

    [Fact]
    public async Task What_a_failed_clients_work_waited_for_the_device_is_not_learned_as_its_work()
    {
        await using var federation = await TestFederation.StartAsync();
        var waited = new TrainingNumbers { WaitedSeconds = 3600 };
        federation.Trainer.Afterwards = (_, result) => result.ClientId == "c00001"
            ? new() { ClientId = result.ClientId, Failure = "b.jsonl:7: not JSON", Numbers = waited } : result with { Numbers = waited };

        await federation.RunAsync("job", TestFederation.Plan(clients: 3, rounds: 1, strategy: "  quorum: 0.5\n  timeBudget: 3"), InTime);

        var state = JsonNode.Parse((await federation.Store.ReadBytesAsync(Keys.Memory("job"), InTime))!)!["State"]!;
        Assert.All((string[])["c00000", "c00001", "c00002"], client =>
        {
            Assert.Equal(0, state["UsualSeconds"]![client]!.GetValue<double>()); // all that it took was waiting
            Assert.InRange(state["UsualWaits"]![client]!.GetValue<double>(), double.Epsilon, 60);
        });
    }

    [Fact]
    public async Task An_update_with_NaN_is_refused_and_named()
    {
        await using var federation = await TestFederation.StartAsync();
        federation.Trainer.Afterwards = static (group, result) => result.ClientId == "c00002"
            ? result with { Update = new AdapterState([new("A", new NamedArray([4], [0, float.NaN, 0, 0]))]) } : result;

        await federation.RunAsync("job", TestFederation.Plan(clients: 3, rounds: 1, strategy: "  quorum: 0.5"), InTime);

        var refused = (await federation.FinishAsync("job", InTime)).NewRounds[1].Manifest.Clients[2];
        Assert.Equal(ClientOutcome.Refused, refused.Outcome);
        Assert.Contains("A", refused.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Too_few_reports_for_the_quorum_stop_the_job_and_keep_what_is_committed()
    {
        await using var federation = await TestFederation.StartAsync();
        federation.Trainer.Afterwards = static (group, result) => group.Round == 2
            ? new() { ClientId = result.ClientId, Failure = "out of memory" } : result;

        await federation.Coordinator("job").SubmitAsync(TestFederation.Plan(clients: 2, rounds: 3, strategy: "  maxAttempts: 2"), InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Failed, over.Status);
        Assert.Contains("out of memory", over.Reason, StringComparison.Ordinal);
        Assert.Equal(1, over.NewRounds[^1].Manifest.Round);
    }

    [Fact]
    public async Task A_client_that_cannot_be_scored_is_named_with_its_reason()
    {
        await using var federation = await TestFederation.StartAsync();
        federation.Trainer.Unscorable.Add("c00001");

        await federation.RunAsync("job", TestFederation.Plan(clients: 2, rounds: 1), InTime);

        var clients = (await federation.FinishAsync("job", InTime)).NewRounds[1].Manifest.Clients;
        Assert.Equal(new[] { null, "b.jsonl: no such file" }, clients.Select(static client => client.ScoreReason));
    }

    [Fact]
    public async Task A_start_that_nobody_can_score_stops_the_job()
    {
        await using var federation = await TestFederation.StartAsync();
        federation.Trainer.Unscorable.UnionWith(["c00000", "c00001"]);

        await federation.Coordinator("job").SubmitAsync(TestFederation.Plan(clients: 2, rounds: 1), InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Failed, over.Status);
        Assert.Contains("b.jsonl: no such file", over.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_job_that_is_over_is_not_submitted_again()
    {
        await using var federation = await TestFederation.StartAsync();
        var plan = TestFederation.Plan(rounds: 1);
        await federation.RunAsync("job", plan, InTime);

        var refused = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("job").SubmitAsync(plan, InTime));

        Assert.Contains("finished", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_cancelled_job_resumes_to_the_digest_of_an_undisturbed_one()
    {
        var plan = TestFederation.Plan(clients: 3, rounds: 4);
        await using var federation = await TestFederation.StartAsync();
        var expected = await federation.RunAsync("undisturbed", plan, InTime);
        var reached = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Round != 2) return;
            reached.TrySetResult();
            await Task.Delay(Timeout.Infinite, token);
        };
        await federation.Coordinator("job").SubmitAsync(plan, InTime);
        await reached.Task.WaitAsync(InTime);

        await federation.Coordinator("job").CancelAsync(InTime);
        Assert.Equal(JobStatus.Cancelled, (await federation.FinishAsync("job", InTime)).Status);
        federation.Trainer.BeforeTraining = static (_, _) => Task.CompletedTask;
        await federation.Coordinator("job").ResumeAsync(allowEngineChange: false, cancellationToken: InTime);
        while ((await federation.FinishAsync("job", InTime)).Status != JobStatus.Finished) await Task.Delay(20);

        Assert.Equal(expected, (await federation.FinishAsync("job", InTime)).NewRounds[^1].ManifestSha256);
    }

    [Fact]
    public async Task Another_engine_waits_for_a_resume_that_allows_it_and_stands_in_the_chain()
    {
        var trainer = new FakeTrainer();
        var folder = Directory.CreateTempSubdirectory("fedrlora-").FullName;
        var plan = TestFederation.Plan(clients: 2, rounds: 3);
        await using (var first = await TestFederation.StartAsync(trainer: trainer, folder: folder))
        {
            trainer.BeforeTraining = static (group, token) => group.Round == 2 ? Task.Delay(Timeout.Infinite, token) : Task.CompletedTask;
            await first.Coordinator("job").SubmitAsync(plan, InTime);
            while ((await first.Coordinator("job").GetProgressAsync(-1, InTime))!.NewRounds.Count < 2) await Task.Delay(20);
        }

        trainer = new FakeTrainer { Engine = new("fake", "other kernels", 1) };
        await using var second = await TestFederation.StartAsync(trainer: trainer, folder: folder);
        var held = await second.FinishAsync("job", InTime);
        Assert.Equal(JobStatus.Failed, held.Status);
        Assert.Contains("--allow-engine-change", held.Reason, StringComparison.Ordinal);
        await second.Reporting("job").AskAgainAsync(InTime); // as the membership does when a silo is lost
        await Task.Delay(TimeSpan.FromSeconds(1.2), InTime); // and the tick that asks the silent, twice
        Assert.Empty(trainer.Trained);
        await Assert.ThrowsAsync<BadInputException>(() => second.Coordinator("job")
            .ResumeAsync(allowEngineChange: false, cancellationToken: InTime));

        await second.Coordinator("job").ResumeAsync(allowEngineChange: true, cancellationToken: InTime);
        var over = await second.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Finished, over.Status);
        Assert.Equal(["none", "none", "other kernels", "other kernels"],
            over.NewRounds.Select(static round => round.Manifest.Engine!.Split("; ")[1]));
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task Updates_are_deleted_after_the_commit_and_old_heads_with_them()
    {
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync("job", TestFederation.Plan(clients: 2, rounds: 4), InTime);

        var keys = new List<string>();
        await foreach (var key in federation.Store.ListAsync("", InTime)) keys.Add(key);
        Assert.DoesNotContain(keys, key => key.Contains("/updates/", StringComparison.Ordinal));
        Assert.DoesNotContain(Keys.Head("job", "local", "c00000", 1), keys);
        Assert.Contains(Keys.Head("job", "local", "c00000", 3), keys); // the manifest before the last names it
        Assert.Contains(Keys.Head("job", "local", "c00000", 4), keys);
    }

    [Fact]
    public async Task Updates_that_could_not_be_deleted_stop_no_round_and_go_when_the_job_starts_again()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-").FullName;
        var trainer = new FakeTrainer();
        await using (var first = await TestFederation.StartAsync(trainer: trainer, folder: folder,
            store: new UndeletingStore(new DirectoryBlobStore(folder))))
        {
            await first.RunAsync("job", TestFederation.Plan(clients: 2, rounds: 2), InTime);
            Assert.Equal(4, (await UpdatesAsync(first.Store)).Count);
            Assert.Equal(4, trainer.Trained.Count);
        }

        await using var second = await TestFederation.StartAsync(folder: folder);
        Assert.Equal(JobStatus.Finished, (await second.FinishAsync("job", InTime)).Status);

        var inTime = InTime;
        while ((await UpdatesAsync(second.Store)).Count > 0) await Task.Delay(20, inTime);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task What_lies_at_an_updates_key_and_is_none_of_its_work_is_not_reported()
    {
        var plan = TestFederation.Plan(clients: 2, rounds: 2, more: "training: {groupSize: 1}");
        await using var federation = await TestFederation.StartAsync();
        byte[]? other = null;
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            while (group.Members[0].Client.Id == "c00001" && other is null)
            {
                other = await federation.Store.ReadBytesAsync(Keys.Update("undisturbed", 1, 1, "c00000"), token);
                await Task.Delay(5, token);
            }
        };
        var expected = await federation.RunAsync("undisturbed", plan, InTime);
        await federation.Store.WriteBytesAsync(Keys.Update("job", 1, 1, "c00001"), other, WriteCondition.Any, InTime); // another client's
        await federation.Store.WriteBytesAsync(Keys.Update("job", 2, 1, "c00000"), other, WriteCondition.Any, InTime); // another round's
        await federation.Store.WriteBytesAsync(Keys.Update("job", 2, 1, "c00001"), other.AsMemory(0, other!.Length / 2),
            WriteCondition.Any, InTime);

        Assert.Equal(expected, await federation.RunAsync("job", plan, InTime));
    }

    [Fact]
    public async Task Another_plan_under_the_same_name_is_refused()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("job", TestFederation.Plan(rounds: 1), InTime);

        var refused = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator("job").SubmitAsync(TestFederation.Plan(rounds: 2), InTime));

        Assert.Contains("another plan", refused.Message, StringComparison.Ordinal);
    }

    private static async Task<IReadOnlyList<string>> UpdatesAsync(IBlobStore store)
    {
        var updates = new List<string>();
        await foreach (var key in store.ListAsync("jobs/", InTime))
        {
            if (key.Contains("/updates/", StringComparison.Ordinal)) updates.Add(key);
        }

        return updates;
    }

    private sealed class UndeletingStore(IBlobStore inner) : IBlobStore
    {
        public Task<WrittenBlob> WriteAsync(
            string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
            CancellationToken cancellationToken = default) => inner.WriteAsync(key, content, condition, cancellationToken);

        public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default) =>
            inner.OpenAsync(key, cancellationToken);

        public IAsyncEnumerable<string> ListAsync(string prefix, CancellationToken cancellationToken = default) =>
            inner.ListAsync(prefix, cancellationToken);

        public Task DeleteAsync(string key, CancellationToken cancellationToken = default) => inner.DeleteAsync(key, cancellationToken);

        public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default) =>
            prefix.StartsWith("jobs/", StringComparison.Ordinal)
                ? throw new IOException("The disk is read-only.")
                : inner.DeleteAllAsync(prefix, cancellationToken);

        public Task MakeDurableAsync(CancellationToken cancellationToken = default) => inner.MakeDurableAsync(cancellationToken);
    }
}
