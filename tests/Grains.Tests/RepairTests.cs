using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Coordination;
using FedRLora.Grains.Jobs;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

/// <summary>A job on silos that has lost what says where it stands: it is refused by name, and nothing of it is begun again.</summary>
public sealed class RepairTests(FinishedRun finished) : IClassFixture<FinishedRun>, IDisposable
{
    private const string Job = FinishedRun.Job;
    private static readonly string Plan = TestFederation.Plan(clients: 4, rounds: 3, site: static i => i < 2 ? "north" : "south");
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-repair-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    /// <summary>The damage, and whether repair goes back a round.</summary>
    public static TheoryData<string, string, int> Damages => new()
    {
        { "pointer missing", "current.json", 3 },
        { "pointer empty", "current.json", 3 },
        { "pointer truncated", "current.json", 3 },
        { "last manifest missing", "rounds/3/manifest-", 2 },
        { "last manifest truncated", "rounds/3/manifest-", 2 },
        { "shared missing", "rounds/3/shared-", 2 },
        { "notes truncated", "grains/job/job.json", 3 },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task A_damaged_job_is_refused_by_every_call_keeps_nobody_from_the_others_and_goes_on_when_repaired(
        string damage, string named, int round)
    {
        finished.CopyTo(_folder);
        Damage(damage);
        using var store = new DirectoryBlobStore(_folder);
        // as if all silos were lost
        await store.WriteBytesAsync(Keys.IndexOf(Job), JobsGrain.Running.ToArray(), WriteCondition.Any, InTime);
        var trainer = new FakeTrainer();
        await using var federation = await TestFederation.StartAsync(folder: _folder, store: store, trainer: trainer);
        await federation.RunAsync("other", TestFederation.Plan(clients: 1, rounds: 1), InTime);
        var (before, coordinator, jobs) = (Snapshot(), federation.Coordinator(Job),
            federation.Cluster.Client.GetGrain<IJobsGrain>(Keys.Jobs));

        await jobs.ReviveAsync(InTime);
        await jobs.AskAgainAsync(InTime);
        foreach (var call in new Func<Task>[]
        {
            () => coordinator.SubmitAsync(Plan, InTime), () => coordinator.ResumeAsync(allowEngineChange: true, cancellationToken: InTime),
            () => coordinator.GetProgressAsync(-1, InTime), () => coordinator.GetPlanAsync(InTime),
            () => coordinator.ExtendAsync(TestFederation.Plan(clients: 4, rounds: 4), cancellationToken: InTime),
            () => coordinator.ExportAsync(InTime), () => coordinator.PauseAsync(InTime), () => coordinator.CancelAsync(InTime),
            () => federation.Coordinator("fork").ForkAsync(Job, 3,
                TestFederation.Plan(clients: 4, rounds: 1, site: static i => i < 2 ? "north" : "south"), cancellationToken: InTime),
        })
        {
            var refused = await Record.ExceptionAsync(call);
            if (damage == "notes truncated" && refused is null) continue; // the fork: it needs no notes of its source
            Assert.Contains(named, CorruptBlobException.OrBadInputIn(refused)!.Message, StringComparison.Ordinal);
        }

        var listed = await jobs.ListAsync(InTime);
        Assert.Equal(JobStatus.Finished, listed.Single(static job => job.JobId == "other").Status);
        var own = listed.Single(static job => job.JobId == Job);
        Assert.Equal(JobStatus.Failed, own.Status);
        Assert.Contains(named, own.Reason, StringComparison.Ordinal);
        Assert.Equal(before, Snapshot());
        var forked = damage == "notes truncated"; // and at work by now, with all four clients
        // of the other job
        Assert.All(trainer.Trained, trained => Assert.True(trained.Round == 1 && (forked || trained.Client == "c00000")));

        var repairer = new RunRepair(store, store, Job);
        var repair = (await repairer.FindAsync(InTime))!;
        await repairer.ApplyAsync(repair, InTime);

        Assert.Equal(round, repair.After!.Round);
        Assert.True(await new RunVerifier(store, store, Job).VerifyAsync(InTime) is { Broken: [], Unchecked: [] });
        var over = await federation.FinishAsync(Job, InTime); // the same silos: the next call finds it whole
        Assert.Equal((JobStatus.Finished, finished.Digest), (over.Status, over.NewRounds[^1].ManifestSha256));
        Assert.Empty((await repairer.FindAsync(InTime))!.Steps);
    }

    /// <summary>Round 0 is written, and the process dies before it is committed: nobody may ask for a repair then.</summary>
    [Fact]
    public async Task A_job_that_died_just_before_its_first_commit_begins_by_itself()
    {
        finished.CopyTo(_folder);
        Directory.Delete(Path.Combine(_folder, "grains"), recursive: true);
        File.Delete(Path.Combine(_folder, Keys.Current(Job)));
        File.Delete(Path.Combine(_folder, Keys.Timing(Job, 0)));
        for (var round = 1; round <= 3; round++) Directory.Delete(Path.Combine(_folder, Keys.Round(Job, round)), recursive: true);
        await using var federation = await TestFederation.StartAsync(folder: _folder);

        await federation.Coordinator(Job).SubmitAsync(Plan, InTime);
        var over = await federation.FinishAsync(Job, InTime);

        Assert.Equal(finished.Digest, over.NewRounds[^1].ManifestSha256);
    }

    [Theory]
    [InlineData("timing")]
    [InlineData("notes")]
    public async Task A_job_that_lost_its_pointer_after_round_0_is_not_begun_again(string trace)
    {
        finished.CopyTo(_folder);
        File.Delete(Path.Combine(_folder, Keys.Current(Job)));
        if (trace == "timing") Directory.Delete(Path.Combine(_folder, "grains"), recursive: true);
        else File.Delete(Path.Combine(_folder, Keys.Timing(Job, 0)));
        for (var round = 1; round <= 3; round++) Directory.Delete(Path.Combine(_folder, Keys.Round(Job, round)), recursive: true);
        await using var federation = await TestFederation.StartAsync(folder: _folder);

        var refused = await Record.ExceptionAsync(() => federation.Coordinator(Job).SubmitAsync(Plan, InTime));

        Assert.StartsWith($"{Keys.Current(Job)} is missing, but {(trace == "timing" ? Keys.Timing(Job, 0) : Keys.Memory(Job))} shows",
            CorruptBlobException.OrBadInputIn(refused)!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_pointer_that_is_lost_while_the_job_runs_stops_it_at_its_next_commit()
    {
        using var store = new DirectoryBlobStore(_folder);
        var (trainer, reached, go) = (new FakeTrainer(), new TaskCompletionSource(), new TaskCompletionSource());
        trainer.BeforeTraining = async (group, _) =>
        {
            if (group.Round != 2) return;
            reached.TrySetResult();
            await go.Task;
        };
        await using var federation = await TestFederation.StartAsync(folder: _folder, store: store, trainer: trainer);
        await federation.Coordinator(Job).SubmitAsync(Plan, InTime);
        await reached.Task.WaitAsync(InTime);
        await store.DeleteAsync(Keys.Current(Job), InTime);
        go.SetResult();

        Exception? refused = null;
        while (refused is null)
        {
            await Task.Delay(20, InTime);
            refused = await Record.ExceptionAsync(() => federation.Coordinator(Job).GetProgressAsync(-1, InTime));
        }

        Assert.Contains("current.json is missing", CorruptBlobException.OrBadInputIn(refused)!.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(_folder, Keys.Current(Job))));
        var repairer = new RunRepair(store, store, Job);
        await repairer.ApplyAsync((await repairer.FindAsync(InTime))!, InTime);
        var over = await federation.FinishAsync(Job, InTime);
        Assert.Equal((JobStatus.Finished, finished.Digest), (over.Status, over.NewRounds[^1].ManifestSha256));
    }

    [Fact]
    public async Task A_job_without_its_plan_is_not_submitted_again()
    {
        finished.CopyTo(_folder);
        File.Delete(Path.Combine(_folder, Keys.Plan(Job)));
        await using var federation = await TestFederation.StartAsync(folder: _folder);

        var refused = await Record.ExceptionAsync(() => federation.Coordinator(Job).SubmitAsync(Plan, InTime));

        Assert.Matches("^jobs/job/plan.yaml is missing, but .* shows that rounds were committed; put it back",
            CorruptBlobException.OrBadInputIn(refused)!.Message);
        using var store = new DirectoryBlobStore(_folder);
        Assert.True((await new RunRepair(store, store, Job).FindAsync(InTime))!.IsHopeless);
        var given = new RunRepair(store, store, Job, [Plan]);
        await given.ApplyAsync((await given.FindAsync(InTime))!, InTime);
        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync(Job, InTime)).Status);
    }

    [Fact]
    public async Task A_missing_fingerprint_holds_the_job_until_it_is_made_again_from_the_last_manifest()
    {
        finished.CopyTo(_folder);
        File.Delete(Path.Combine(_folder, Keys.Fingerprint(Job)));
        using var store = new DirectoryBlobStore(_folder);
        await using (var federation = await TestFederation.StartAsync(folder: _folder, store: store))
        {
            await federation.Coordinator(Job).ExtendAsync(
                TestFederation.Plan(clients: 4, rounds: 4, site: static i => i < 2 ? "north" : "south"), cancellationToken: InTime);
            var held = await federation.Coordinator(Job).GetProgressAsync(-1, InTime);
            Assert.Equal(JobStatus.Failed, held!.Status);
            Assert.StartsWith("jobs/job/fingerprint.json is missing", held.Reason, StringComparison.Ordinal);
            await Assert.ThrowsAsync<BadInputException>(
                () => federation.Coordinator(Job).ResumeAsync(allowEngineChange: false, cancellationToken: InTime));
        }

        var repairer = new RunRepair(store, store, Job);
        await repairer.ApplyAsync((await repairer.FindAsync(InTime))!, InTime);

        await using var again = await TestFederation.StartAsync(folder: _folder, store: store);
        Assert.Equal((JobStatus.Finished, 4), (await again.FinishAsync(Job, InTime)) is var over ? (over.Status, over.Round) : default);
        var other = new FakeTrainer { Engine = new EngineFingerprint("another", "none", 1) };
        await again.DisposeAsync();
        await using var elsewhere = await TestFederation.StartAsync(folder: _folder, store: store, trainer: other);
        await elsewhere.Coordinator(Job).ExtendAsync(
            TestFederation.Plan(clients: 4, rounds: 5, site: static i => i < 2 ? "north" : "south"), cancellationToken: InTime);
        Assert.Contains("was made with fake; none; threads 1", (await elsewhere.Coordinator(Job).GetProgressAsync(-1, InTime))!.Reason,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("one", "reads other values of adapter or training")]
    [InlineData(null, "may read other values of adapter or training")]
    public async Task A_run_does_not_go_on_with_values_that_another_version_reads_in_its_plan(string? recorded, string said)
    {
        using var store = new DirectoryBlobStore(_folder);
        static FakeTrainer Reading(string? values) => new() { Engine = new EngineFingerprint("fake", "none", 1, Values: values) };
        await using (var federation = await TestFederation.StartAsync(folder: _folder, store: store, trainer: Reading(recorded)))
            await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 1), InTime);

        await using var later = await TestFederation.StartAsync(folder: _folder, store: store, trainer: Reading("two"));
        await later.Coordinator(Job).ExtendAsync(TestFederation.Plan(clients: 2, rounds: 2), cancellationToken: InTime);

        Assert.Contains(said, (await later.Coordinator(Job).GetProgressAsync(-1, InTime))!.Reason, StringComparison.Ordinal);
        await Assert.ThrowsAsync<BadInputException>(
            () => later.Coordinator(Job).ResumeAsync(allowEngineChange: false, cancellationToken: InTime));
        await later.Coordinator(Job).ResumeAsync(allowEngineChange: true, cancellationToken: InTime);
        Assert.Equal(JobStatus.Finished, (await later.FinishAsync(Job, InTime)).Status);
    }

    [Fact]
    public async Task A_cancelled_job_that_lost_its_notes_does_not_run_unasked()
    {
        using var store = new DirectoryBlobStore(_folder);
        var trainer = new FakeTrainer();
        await using (var federation = await TestFederation.StartAsync(folder: _folder, store: store, trainer: trainer))
        {
            var reached = new TaskCompletionSource();
            trainer.BeforeTraining = async (group, token) =>
            {
                if (group.Round != 2) return;
                reached.TrySetResult();
                await Task.Delay(Timeout.InfiniteTimeSpan, token);
            };
            await federation.Coordinator(Job).SubmitAsync(Plan, InTime);
            await reached.Task.WaitAsync(InTime);
            await federation.Coordinator(Job).CancelAsync(InTime);
            await federation.FinishAsync(Job, InTime);
        }

        await store.DeleteAsync(Keys.Memory(Job), InTime);
        await using var again = await TestFederation.StartAsync(folder: _folder, store: store);

        var stopped = await again.FinishAsync(Job, InTime);
        Assert.Equal((JobStatus.Paused, 1), (stopped.Status, stopped.NewRounds[^1].Manifest.Round));
        Assert.StartsWith($"{Keys.Memory(Job)} is missing", stopped.Reason, StringComparison.Ordinal);
        await again.Coordinator(Job).ResumeAsync(allowEngineChange: false, cancellationToken: InTime);
        Assert.Equal(finished.Digest, (await again.FinishAsync(Job, InTime)).NewRounds[^1].ManifestSha256);
    }

    [Fact]
    public async Task A_job_that_is_in_no_list_comes_back_into_it_when_it_is_asked_for()
    {
        finished.CopyTo(_folder);
        File.Delete(Path.Combine(_folder, Keys.IndexOf(Job)));
        await using var federation = await TestFederation.StartAsync(folder: _folder);

        await federation.Coordinator(Job).GetProgressAsync(-1, InTime);

        Assert.Equal([Job], (await federation.Cluster.Client.GetGrain<IJobsGrain>(Keys.Jobs).ListAsync(InTime))
            .Select(static job => job.JobId));
    }

    [Fact]
    public async Task A_fork_that_lost_its_start_before_its_first_round_does_not_begin_without_it()
    {
        using var store = new DirectoryBlobStore(_folder);
        finished.CopyTo(_folder);
        var trainer = new FakeTrainer();
        const string Other = "fork";
        await using (var federation = await TestFederation.StartAsync(folder: _folder, store: store, trainer: trainer))
        {
            await federation.Coordinator(Other).ForkAsync(Job, 3,
                TestFederation.Plan(clients: 4, rounds: 1, site: static i => i < 2 ? "north" : "south"), cancellationToken: InTime);
            await federation.FinishAsync(Other, InTime);
        }

        // As if it had died before its first commit.
        await store.DeleteAllAsync(Keys.Rounds(Other), InTime);
        await store.DeleteAsync(Keys.Current(Other), InTime);
        await store.WriteBytesAsync(Keys.Memory(Other), SealedJson.Seal(System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(
            new JobMemory { OriginSha256 = finished.Digest })), WriteCondition.Any, InTime);
        await store.DeleteAllAsync(Keys.Origins(Other), InTime);
        await using var again = await TestFederation.StartAsync(folder: _folder, store: store);

        var refused = await Record.ExceptionAsync(() => again.Coordinator(Other).GetProgressAsync(-1, InTime));

        Assert.StartsWith("jobs/fork/origin/manifest.json is missing", CorruptBlobException.OrBadInputIn(refused)!.Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_two_manifests_of_the_last_round_the_one_that_the_notes_name_was_committed()
    {
        finished.CopyTo(_folder);
        using var store = new DirectoryBlobStore(_folder);
        var manifest = RoundManifest.Parse(
            await File.ReadAllBytesAsync(Path.Combine(_folder, StoredRounds.Manifest(_folder, Job, 3))), "manifest");
        var rival = (manifest with { Coherence = 0.125 }).ToBytes();
        await store.WriteBytesAsync(Keys.Manifest(Job, 3, RoundManifest.Digest(rival)), rival, WriteCondition.Any, InTime);
        await store.DeleteAsync(Keys.Current(Job), InTime);

        Assert.Equal(finished.Digest, (await new RunRepair(store, store, Job).FindAsync(InTime))!.After!.ManifestSha256);

        await store.DeleteAsync(Keys.Memory(Job), InTime);
        var repair = (await new RunRepair(store, store, Job).FindAsync(InTime))!;
        Assert.Equal((2, manifest.Previous), (repair.After!.Round, repair.After.ManifestSha256));
        Assert.Equal(new PassedRound(3, "jobs/job/rounds/3/ has 2 manifests, and nothing says which of them was committed"),
            Assert.Single(repair.Passed));
    }

    [Fact]
    public async Task A_sites_own_store_is_looked_at_and_the_others_are_named()
    {
        finished.CopyTo(_folder);
        var site = Directory.CreateDirectory(Path.Combine(_folder, ".north")).FullName;
        Directory.CreateDirectory(Path.Combine(site, "sites"));
        Directory.Move(Path.Combine(_folder, "sites", "north"), Path.Combine(site, "sites", "north"));
        using var store = new DirectoryBlobStore(_folder);
        using var north = new DirectoryBlobStore(site);
        Damage("last manifest missing");

        Assert.Contains("nothing of site north is in this store",
            (await new RunRepair(store, store, Job).FindAsync(InTime))!.Passed[1].Reason, StringComparison.Ordinal);
        var repair = (await new RunRepair(store, north, Job).FindAsync(InTime))!;
        Assert.Equal(2, repair.After!.Round);
        Assert.Equal(["south"], repair.OtherSites);
    }

    private void Damage(string damage)
    {
        var file = Path.Combine(_folder, damage.Split(' ')[0] switch
        {
            "pointer" => Keys.Current(Job),
            "notes" => Keys.Memory(Job),
            "shared" => StoredRounds.Shared(_folder, Job, 3),
            _ => StoredRounds.Manifest(_folder, Job, 3),
        });
        if (damage.EndsWith("missing", StringComparison.Ordinal)) File.Delete(file);
        else File.WriteAllBytes(file, damage.EndsWith("empty", StringComparison.Ordinal) ? [] : File.ReadAllBytes(file)[..100]);
    }

    // What is stored of the job.
    private List<string> Snapshot() => [.. Directory.GetFiles(_folder, "*", SearchOption.AllDirectories)
        .Where(file => Path.GetRelativePath(_folder, file).Split('/').Any(static part => part is Job or Job + ".json")
            && !file.Contains("/other", StringComparison.Ordinal) && !file.Contains("/.", StringComparison.Ordinal)
            && !file.EndsWith("grains/job/fork.json", StringComparison.Ordinal))
        .Select(static file => $"{file} {RoundManifest.Digest(File.ReadAllBytes(file))}").Order(StringComparer.Ordinal)];
}
