using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

/// <summary>Base, tokenizer and rows that are exchanged under a run on silos.</summary>
public sealed class InputChangeTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-inputs-").FullName;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // Two clients, each with rows of its own.
    private static string Plan(int rounds, string strategy = "", Func<int, string>? site = null) =>
        TestFederation.Plan(clients: 2, rounds: rounds, strategy: strategy, site: site)
        .Replace("data: {train: a.jsonl, test: b.jsonl}}\n  - {id: c00001",
            "data: {train: first.jsonl, test: first.test}}\n  - {id: c00001", StringComparison.Ordinal);

    private static string Refusal(string file) => file switch
    {
        "a.jsonl" => "a.jsonl: the training rows of client c00001 are not those that run job was made with",
        "b.jsonl" => "b.jsonl: the test rows of client c00001 are not those that run job was made with",
        _ => $"{file} of none is not the one that run job was made with (sha256 ",
    };

    public static TheoryData<string> Files => ["tokenizer.json", "weights.bin", "a.jsonl", "b.jsonl"];

    [Theory]
    [MemberData(nameof(Files))]
    public async Task A_paused_run_does_not_go_on_with_another_file_unless_that_is_allowed(string file)
    {
        await using var federation = await PausedAsync();
        federation.Inputs[file] = "other";
        var before = Committed(await KeysAsync(federation.Store));

        var refused = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("job")
            .ResumeAsync(allowEngineChange: true, cancellationToken: InTime));

        Assert.StartsWith(Refusal(file), refused.Message, StringComparison.Ordinal);
        Assert.Contains("--allow-data-change", refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, Committed(await KeysAsync(federation.Store)));
        Assert.Equal(JobStatus.Paused, (await federation.FinishAsync("job", InTime)).Status);

        await federation.Coordinator("job").ResumeAsync(allowEngineChange: false, allowDataChange: true, InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        AssertChangedAt(over.NewRounds, file, round: 2);
        Assert.All(over.NewRounds.Skip(2), static round =>
            Assert.All(round.Manifest.Clients, static client => Assert.Equal(ClientOutcome.Trained, client.Outcome)));
        var report = (await new RunVerifier(federation.Store, federation.Store, "job").VerifyAsync(InTime))!;
        Assert.Empty(report.Broken);
        Assert.StartsWith("from round 2 on: other ", Assert.Single(report.Changes), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_was_put_back_is_what_it_was()
    {
        var plan = Plan(3);
        await using var undisturbed = await TestFederation.StartAsync();
        var expected = await undisturbed.RunAsync("job", plan, InTime);
        await using var federation = await PausedAsync();
        federation.Inputs["weights.bin"] = "other";
        await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("job")
            .ResumeAsync(allowEngineChange: false, cancellationToken: InTime));
        federation.Inputs["weights.bin"] = "weights.bin";

        await federation.Coordinator("job").ResumeAsync(allowEngineChange: false, cancellationToken: InTime);

        Assert.Equal(expected, (await federation.FinishAsync("job", InTime)).NewRounds[^1].ManifestSha256);
    }

    [Theory]
    [MemberData(nameof(Files))]
    public async Task A_finished_run_is_not_extended_with_another_file_unless_that_is_allowed(string file)
    {
        await using var federation = await TestFederation.StartAsync(folder: _folder);
        await federation.RunAsync("job", Plan(2), InTime);
        federation.Inputs[file] = "other";
        var before = await KeysAsync(federation.Store);

        var refused = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("job")
            .ExtendAsync(Plan(3), cancellationToken: InTime));

        Assert.StartsWith(Refusal(file), refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, await KeysAsync(federation.Store));
        await federation.Coordinator("job").ExtendAsync(Plan(3), allowDataChange: true, InTime);
        var over = await federation.FinishAsync("job", InTime);
        Assert.Equal((JobStatus.Finished, 3), (over.Status, over.NewRounds[^1].Manifest.Round));
        AssertChangedAt(over.NewRounds, file, round: 3);
    }

    [Theory]
    [MemberData(nameof(Files))]
    public async Task A_fork_begins_with_another_file_only_where_that_is_allowed(string file)
    {
        await using var federation = await TestFederation.StartAsync(folder: _folder);
        await federation.RunAsync("job", Plan(2), InTime);
        federation.Inputs[file] = "other";
        var before = await KeysAsync(federation.Store);

        var refused = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("fork")
            .ForkAsync("job", 2, Plan(1), cancellationToken: InTime));

        Assert.StartsWith(Refusal(file), refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, await KeysAsync(federation.Store));
        await federation.Coordinator("fork").ForkAsync("job", 2, Plan(1), allowDataChange: true, InTime);
        var over = await federation.FinishAsync("fork", InTime);
        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        var source = (await federation.FinishAsync("job", InTime)).NewRounds[^1];
        AssertChangedAt([source, .. over.NewRounds], file, round: 1);
        Assert.Empty((await new RunVerifier(federation.Store, federation.Store, "fork").VerifyAsync(InTime))!.Broken);
    }

    [Fact]
    public async Task A_fork_that_gives_a_client_other_data_does_not_ask_for_what_it_had()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("job", Plan(2), InTime);
        federation.Inputs["a.jsonl"] = "other";

        await federation.Coordinator("fork")
            .ForkAsync("job", 2, Plan(1).Replace("train: a.jsonl", "train: new.jsonl", StringComparison.Ordinal),
            cancellationToken: InTime);

        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync("fork", InTime)).Status);
    }

    [Fact]
    public async Task A_fork_is_held_to_the_round_it_begins_from_and_not_to_the_last()
    {
        await using var federation = await PausedAsync("\ncheckpoints: {keepEvery: 1}");
        federation.Inputs["a.jsonl"] = federation.Inputs["weights.bin"] = "other";
        await federation.Coordinator("job").ResumeAsync(allowEngineChange: false, allowDataChange: true, InTime);
        await federation.FinishAsync("job", InTime);
        string Fork(int rounds) => Plan(rounds).Replace("\nstrategy", "\ncheckpoints: {keepEvery: 1}\nstrategy", StringComparison.Ordinal);

        await federation.Coordinator("late").ForkAsync("job", 2, Fork(1), cancellationToken: InTime);
        var refused = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("early")
            .ForkAsync("job", 1, Fork(1), cancellationToken: InTime));
        federation.Inputs["a.jsonl"] = "a.jsonl";
        federation.Inputs["weights.bin"] = "weights.bin";
        await federation.Coordinator("early").ForkAsync("job", 1, Fork(1), cancellationToken: InTime);

        Assert.Contains("weights.bin", refused.Message, StringComparison.Ordinal);
        Assert.Contains("c00001", refused.Message, StringComparison.Ordinal);
        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync("early", InTime)).Status);
    }

    [Fact]
    public async Task A_model_at_another_path_is_the_same_base()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("job", Plan(2), InTime);

        await federation.Coordinator("fork")
            .ForkAsync("job", 2, Plan(1).Replace("path: none", "path: elsewhere", StringComparison.Ordinal), cancellationToken: InTime);

        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync("fork", InTime)).Status);
    }

    [Theory]
    [InlineData("weights.bin")]
    [InlineData("a.jsonl")]
    public async Task A_client_whose_file_changed_while_its_silo_was_gone_fails_by_name(string file)
    {
        await using (var first = await HangingInRoundTwoAsync()) await UntilRoundAsync(first, 1);

        await using var second = await TestFederation.StartAsync(folder: _folder, inputs: new FakeInputs { [file] = "other" });
        var stopped = await second.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Failed, stopped.Status);
        Assert.Contains(Refusal(file), stopped.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_is_not_scored_on_rows_that_changed()
    {
        await using (var first = await HangingInRoundTwoAsync()) await UntilRoundAsync(first, 1);

        await using var second = await TestFederation.StartAsync(folder: _folder, inputs: new FakeInputs { ["b.jsonl"] = "other" });
        var over = await second.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Finished, over.Status);
        Assert.Equal((null, Refusal("b.jsonl")),
            (over.NewRounds[^1].Manifest.Clients[1].Score, over.NewRounds[^1].Manifest.Clients[1].ScoreReason));
        Assert.NotNull(over.NewRounds[^1].Manifest.Clients[0].Score);
    }

    [Fact]
    public async Task After_a_failure_by_changed_rows_the_run_goes_on_where_it_is_allowed()
    {
        await using (var first = await HangingInRoundTwoAsync()) await UntilRoundAsync(first, 1);
        await using var second = await TestFederation.StartAsync(folder: _folder, inputs: new FakeInputs { ["a.jsonl"] = "other" });
        await second.FinishAsync("job", InTime);
        Assert.DoesNotContain(second.Trainer.Trained, static work => work.Client == "c00001");

        await second.Coordinator("job").ResumeAsync(allowEngineChange: false, allowDataChange: true, InTime);
        var over = await second.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Finished, over.Status);
        AssertChangedAt(over.NewRounds, "a.jsonl", round: 2);
    }

    [Fact]
    public async Task A_coordinator_on_a_silo_with_another_base_waits_and_does_nothing()
    {
        await using (var first = await HangingInRoundTwoAsync()) await UntilRoundAsync(first, 1);
        await using var second = await TestFederation.StartAsync(folder: _folder, inputs: new FakeInputs { ["tokenizer.json"] = "other" });
        var held = await second.FinishAsync("job", InTime);
        await second.Reporting("job").AskAgainAsync(InTime);

        Assert.Contains("tokenizer.json of none", held.Reason, StringComparison.Ordinal);
        Assert.Contains("--allow-data-change", held.Reason, StringComparison.Ordinal);
        Assert.Empty(second.Trainer.Trained);
        await Assert.ThrowsAsync<BadInputException>(() => second.Coordinator("job")
            .ResumeAsync(allowEngineChange: true, cancellationToken: InTime));

        second.Inputs["tokenizer.json"] = "tokenizer.json";
        await second.Coordinator("job").ResumeAsync(allowEngineChange: false, cancellationToken: InTime);
        Assert.Equal(JobStatus.Finished, (await second.FinishAsync("job", InTime)).Status);
    }

    [Fact]
    public async Task A_base_that_could_not_be_read_is_recorded_before_the_run_goes_on()
    {
        // As a version that did not record the base leaves it.
        var store = new DirectoryBlobStore(_folder);
        await store.WriteBytesAsync(Keys.Plan("job"), Encoding.UTF8.GetBytes(Plan(1)), WriteCondition.Absent, InTime);
        await using var federation = await TestFederation.StartAsync(folder: _folder, inputs: new FakeInputs { ["config.json"] = "" });
        Assert.Contains("none/config.json: no such file", (await federation.FinishAsync("job", InTime)).Reason, StringComparison.Ordinal);

        var refused = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("job")
            .ResumeAsync(allowEngineChange: true, allowDataChange: true, InTime));
        federation.Inputs["config.json"] = "config.json";
        await federation.Coordinator("job").ResumeAsync(allowEngineChange: false, cancellationToken: InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Contains("none/config.json: no such file", refused.Message, StringComparison.Ordinal);
        Assert.Equal(JobStatus.Finished, over.Status);
        Assert.All(over.NewRounds, static round => Assert.NotNull(round.Manifest.Base));
    }

    [Theory]
    [InlineData("weights.bin", "weights.bin of none is not the one that run job was made with")]
    [InlineData("a.jsonl", "a.jsonl: the training rows of client c00001")]
    public async Task A_silo_with_another_file_gets_no_work_and_the_quorum_decides(string file, string said)
    {
        var (north, south) = (new FakeInputs(), new FakeInputs());
        await using var federation = await TestFederation.StartAsync(["north", "south"], inputsOf: site => site == "north" ? north : south);
        federation.Trainer.BeforeTraining = (group, _) =>
        {
            if (group.Round == 2) south[file] = "other";
            return Task.CompletedTask;
        };

        await federation.RunAsync("job", Plan(4, "  quorum: 0.5\n", static i => i == 0 ? "north" : "south"), InTime);

        foreach (var round in (await federation.FinishAsync("job", InTime)).NewRounds.Skip(3))
        {
            Assert.Equal([ClientOutcome.Trained, ClientOutcome.Failed], round.Manifest.Clients.Select(static client => client.Outcome));
            Assert.StartsWith(said, round.Manifest.Clients[1].Reason, StringComparison.Ordinal);
            Assert.StartsWith(said, round.Manifest.Clients[1].ScoreReason, StringComparison.Ordinal);
            Assert.NotNull(round.Manifest.Clients[0].Score);
        }

        Assert.DoesNotContain(federation.Trainer.Trained, static work => work is (> 2, "c00001"));
    }

    // Whether or not a store of the site's own is used, what leaves a site is "changed" or nothing.
    [Fact]
    public async Task Digests_of_rows_stay_at_their_site_and_differ_between_runs()
    {
        var (store, siteStore) = (new DirectoryBlobStore(Path.Combine(_folder, "job")),
            new DirectoryBlobStore(Path.Combine(_folder, "site")));
        await using var federation = await TestFederation.StartAsync(store: store, siteStore: siteStore);
        await federation.RunAsync("one", Plan(2), InTime);
        await federation.RunAsync("two", Plan(2), InTime);

        var (one, two) = (await SecretsAsync("one"), await SecretsAsync("two"));

        Assert.Equal(3, one.Length); // salt, training rows, test rows
        Assert.Empty(one.Intersect(two));
        var key = new List<string>();
        await foreach (var blob in store.ListAsync("", InTime)) key.Add(blob);
        Assert.DoesNotContain(key, static blob => blob.EndsWith("rows.json", StringComparison.Ordinal));
        foreach (var blob in key)
        {
            var content = Encoding.Latin1.GetString((await store.ReadBytesAsync(blob, InTime))!);
            Assert.DoesNotContain(one.Concat(two), secret => content.Contains(secret, StringComparison.Ordinal));
        }

        var digests = (await federation.FinishAsync("one", InTime)).NewRounds.Select(static round => round.ManifestSha256);
        // no salt in them
        Assert.Equal(digests, (await federation.FinishAsync("two", InTime)).NewRounds.Select(static round => round.ManifestSha256));

        async Task<string[]> SecretsAsync(string job)
        {
            var text = Encoding.UTF8.GetString((await siteStore.ReadBytesAsync(Keys.Rows(job, "local", "c00001"), InTime))!);
            return [.. text.Split('"').Where(static part => part.Length == 64 && part.All(char.IsAsciiHexDigitLower)).Take(3)];
        }
    }

    [Fact]
    public async Task Rows_are_read_once_while_nobody_touches_them()
    {
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync("job", Plan(6), InTime);

        Assert.True(federation.Inputs.Readings <= 8, $"{federation.Inputs.Readings} readings"); // two clients: training rows, then both
    }

    [Theory]
    [InlineData("missing")]
    [InlineData("truncated")]
    public async Task Lost_inputs_are_refused_by_name_and_made_again_from_the_manifests(string damage)
    {
        await using (var first = await HangingInRoundTwoAsync()) await UntilRoundAsync(first, 1);
        var store = new DirectoryBlobStore(_folder);
        var key = Keys.Inputs("job");
        if (damage == "missing") await store.DeleteAsync(key, InTime);
        else await store.WriteBytesAsync(key, (await store.ReadBytesAsync(key, InTime))!.AsMemory(0, 100), WriteCondition.Any, InTime);
        await using (var refusing = await TestFederation.StartAsync(folder: _folder))
        {
            var refused = await Record.ExceptionAsync(() => refusing.Coordinator("job")
                .ResumeAsync(allowEngineChange: true, allowDataChange: true, InTime));
            Assert.Contains(key, CorruptBlobException.OrBadInputIn(refused)!.Message, StringComparison.Ordinal);
            Assert.Contains("fedrlora repair", CorruptBlobException.OrBadInputIn(refused)!.Message, StringComparison.Ordinal);
        }

        Assert.StartsWith($"{key} ", Assert.Single((await RepairAsync(store)).Steps), StringComparison.Ordinal);
        await using (var changed = await TestFederation.StartAsync(folder: _folder, inputs: new FakeInputs { ["weights.bin"] = "other" }))
            Assert.Contains("none: weights are not what run job was made with", (await changed.FinishAsync("job", InTime)).Reason,
                StringComparison.Ordinal);
        await using var second = await TestFederation.StartAsync(folder: _folder);
        Assert.Equal(JobStatus.Finished, (await second.FinishAsync("job", InTime)).Status);
        Assert.Empty((await new RunVerifier(store, store, "job").VerifyAsync(InTime))!.Broken);
    }

    // Changed after round 1, and again after round 2, which is lost.
    [Theory]
    [InlineData("weights.bin", false)]
    [InlineData("weights.bin", true)]
    [InlineData("a.jsonl", false)]
    [InlineData("a.jsonl", true)]
    public async Task A_change_that_was_allowed_after_a_round_that_is_lost_is_to_be_allowed_again(string file, bool putBack)
    {
        var store = new DirectoryBlobStore(_folder);
        await using (var federation = await TestFederation.StartAsync(folder: _folder))
        {
            await federation.RunAsync("job", Plan(2), InTime);
            federation.Inputs[file] = "other";
            await federation.Coordinator("job").ExtendAsync(Plan(3), allowDataChange: true, InTime);
            await federation.FinishAsync("job", InTime);
        }

        foreach (var round in new[] { 2, 3 }) await store.DeleteAsync(StoredRounds.Manifest(_folder, "job", round), InTime);
        var repair = await RepairAsync(store);
        Assert.Equal(1, repair.After!.Round);
        Assert.Contains(repair.Steps, step => step.StartsWith(Keys.Inputs("job"), StringComparison.Ordinal)
            && step.Contains("after round 2", StringComparison.Ordinal));

        await using var again = await TestFederation.StartAsync(folder: _folder,
            inputs: putBack ? null : new FakeInputs { [file] = "other" });
        var over = await again.FinishAsync("job", InTime);
        if (!putBack)
        {
            Assert.Contains(file == "a.jsonl" ? Refusal(file) : "weights.bin of none", over.Reason, StringComparison.Ordinal);
            await again.Coordinator("job").ResumeAsync(allowEngineChange: false, allowDataChange: true, InTime);
            over = await again.FinishAsync("job", InTime);
        }

        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        AssertChangedAt(over.NewRounds, file, round: putBack ? 0 : 2);
        Assert.Empty((await new RunVerifier(store, store, "job").VerifyAsync(InTime))!.Broken);
    }

    [Theory]
    [InlineData("missing")]
    [InlineData("truncated")]
    public async Task Lost_digests_of_rows_are_refused_by_name_and_count_as_a_change_where_that_is_allowed(string damage)
    {
        await using (var federation = await TestFederation.StartAsync(folder: _folder)) await federation.RunAsync("job", Plan(2), InTime);
        var (store, key) = (new DirectoryBlobStore(_folder), Keys.Rows("job", "local", "c00001"));
        if (damage == "missing") await store.DeleteAsync(key, InTime);
        else await store.WriteBytesAsync(key, (await store.ReadBytesAsync(key, InTime))!.AsMemory(0, 100), WriteCondition.Any, InTime);
        await using var again = await TestFederation.StartAsync(folder: _folder);

        var refused = await Assert.ThrowsAsync<BadInputException>(
            () => again.Coordinator("job").ExtendAsync(Plan(3), cancellationToken: InTime));
        Assert.StartsWith(key, refused.Message, StringComparison.Ordinal);
        Assert.Contains("--allow-data-change", refused.Message, StringComparison.Ordinal);
        Assert.Contains((await new RunVerifier(store, store, "job").VerifyAsync(InTime))!.Broken, finding => finding.Key == key);
        Assert.StartsWith(key, Assert.Single((await RepairAsync(store)).Unresolved), StringComparison.Ordinal);

        await again.Coordinator("job").ExtendAsync(Plan(3), allowDataChange: true, InTime);
        var over = await again.FinishAsync("job", InTime);
        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        AssertChangedAt(over.NewRounds, "a.jsonl", round: 3);
        Assert.Empty((await new RunVerifier(store, store, "job").VerifyAsync(InTime))!.Broken);
    }

    private static async Task<Repair> RepairAsync(DirectoryBlobStore store)
    {
        var repairer = new RunRepair(store, store, "job");
        var repair = (await repairer.FindAsync(InTime))!;
        await repairer.ApplyAsync(repair, InTime);
        return repair;
    }

    [Fact]
    public async Task An_export_refuses_another_starting_adapter_and_another_base_but_not_another_tokenizer()
    {
        var trainer = new FakeTrainer { Engine = new("fake", "none", 1, "digest-of-given"), Given = "digest-of-given" };
        await using var federation = await TestFederation.StartAsync(trainer: trainer);
        await federation.RunAsync("job", Plan(2)
            .Replace("adapter: fedsa-lora", "adapter: {method: fedsa-lora, from: given}", StringComparison.Ordinal), InTime);
        federation.Inputs["tokenizer.json"] = "other";
        Assert.Equal(2, (await federation.Coordinator("job").ExportAsync(InTime)).Count);

        federation.Inputs["weights.bin"] = "other";
        var otherBase = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("job").ExportAsync(InTime));
        federation.Inputs["weights.bin"] = "weights.bin";
        trainer.Given = "another";
        var otherStart = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("job").ExportAsync(InTime));

        Assert.Contains("weights.bin of none", otherBase.Message, StringComparison.Ordinal);
        Assert.Contains("given: not the adapter that the run started from", otherStart.Message, StringComparison.Ordinal);
    }

    private static void AssertChangedAt(IReadOnlyList<RoundSummary> rounds, string file, int round)
    {
        var isRow = file.EndsWith(".jsonl", StringComparison.Ordinal);
        for (var i = 1; i < rounds.Count; i++)
        {
            var (before, now) = (rounds[i - 1].Manifest, rounds[i].Manifest);
            Assert.Equal(!isRow && i == round, before.Base != now.Base);
            Assert.Equal(isRow && i == round ? ["c00001"] : [], now.Clients.Where(static client => client.Rows == "changed")
                .Select(static client => client.Id));
        }
    }

    private async Task<TestFederation> PausedAsync(string more = "")
    {
        var federation = await TestFederation.StartAsync(folder: _folder);
        var reached = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Round != 2 || reached.Task.IsCompleted) return;
            if (group.Members[0].Client.Id == "c00001") reached.SetResult();
            await Task.Delay(Timeout.Infinite, token); // only the pause ends this work
        };
        await federation.Coordinator("job")
            .SubmitAsync(Plan(3).Replace("\nstrategy", $"{more}\nstrategy", StringComparison.Ordinal), InTime);
        await reached.Task.WaitAsync(InTime);
        await federation.Coordinator("job").PauseAsync(InTime);
        Assert.Equal(JobStatus.Paused, (await federation.FinishAsync("job", InTime)).Status);
        return federation;
    }

    private async Task<TestFederation> HangingInRoundTwoAsync()
    {
        var federation = await TestFederation.StartAsync(folder: _folder);
        federation.Trainer.BeforeTraining = static (group, token) =>
            group.Round == 2 ? Task.Delay(Timeout.Infinite, token) : Task.CompletedTask;
        await federation.Coordinator("job").SubmitAsync(Plan(3), InTime);
        return federation;
    }

    private static async Task UntilRoundAsync(TestFederation federation, int round)
    {
        while ((await federation.Coordinator("job").GetProgressAsync(-1, InTime))!.NewRounds.Count <= round) await Task.Delay(20, InTime);
    }

    // Work of round 2 that was begun before the pause may end after it.
    private static IEnumerable<string> Committed(IEnumerable<string> keys) =>
        keys.Where(static key => !key.Contains("/2/", StringComparison.Ordinal));

    private static async Task<IReadOnlyList<string>> KeysAsync(IBlobStore store)
    {
        var keys = new List<string>();
        await foreach (var key in store.ListAsync("",
            InTime)) keys.Add($"{key} {RoundManifest.Digest((await store.ReadBytesAsync(key, InTime))!)}");
        return keys;
    }
}
