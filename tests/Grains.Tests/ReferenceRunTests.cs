using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

/// <summary>The local-only reference that a run on silos begins when it is finished.</summary>
public sealed class ReferenceRunTests
{
    private const string Reference = "job.local-only";
    private const string Asked = "evaluation: {localOnly: true}";

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    private static string Plan(int rounds = 2, string more = Asked) => TestFederation.Plan(clients: 2, rounds: rounds, more: more);

    [Fact]
    public async Task A_finished_run_has_begun_its_reference_which_is_the_run_that_simulate_makes()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("job", Plan(), InTime);
        var reference = await federation.FinishAsync(Reference, InTime);
        await using var simulated = await TestFederation.StartAsync(beginsReferences: false);
        await simulated.RunAsync("job", Plan(), InTime);
        var expected = await simulated.RunAsync(Reference, LocalOnlyRun.PlanOf(Plan(), "plan.yaml"), InTime);

        Assert.Equal((JobStatus.Finished, expected), (reference.Status, reference.NewRounds[^1].ManifestSha256));
    }

    [Theory]
    [InlineData("")]
    [InlineData(Asked + "\nsharing: none")]
    public async Task A_run_that_does_not_ask_for_it_or_shares_nothing_itself_has_none(string more)
    {
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync("job", Plan(more: more), InTime);

        Assert.Null(await federation.Coordinator(Reference).GetPlanAsync(InTime));
    }

    [Fact]
    public async Task Whoever_submits_can_leave_it_out_and_the_digest_is_the_same()
    {
        await using var federation = await TestFederation.StartAsync();
        var expected = await federation.RunAsync("with", Plan(), InTime);

        await federation.Coordinator("job").SubmitAsync(Plan(), localOnly: false, InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(expected, over.NewRounds[^1].ManifestSha256);
        Assert.Null(await federation.Coordinator(Reference).GetPlanAsync(InTime));
        var report = await new RunVerifier(federation.Store, federation.Store, "job").VerifyAsync(InTime);
        Assert.Empty(report!.Broken.Select(static finding => finding.Key).Concat(report.Leftovers));
    }

    [Fact]
    public async Task A_reference_that_was_left_out_stays_so_after_the_silos_were_replaced_and_the_run_was_extended()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-reference-").FullName;
        await using (var before = await TestFederation.StartAsync(folder: folder))
        {
            await before.Coordinator("job").SubmitAsync(Plan(), localOnly: false, InTime);
            await before.FinishAsync("job", InTime);
        }

        await using var after = await TestFederation.StartAsync(folder: folder);
        await after.Coordinator("job").ExtendAsync(Plan(rounds: 3), cancellationToken: InTime);
        var over = await after.FinishAsync("job", InTime);

        Assert.Equal((JobStatus.Finished, 3), (over.Status, over.NewRounds[^1].Manifest.Round));
        Assert.Null(await after.Coordinator(Reference).GetPlanAsync(InTime));
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task An_extended_run_has_its_reference_extended_as_simulate_does()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("job", Plan(), InTime);
        var before = await federation.FinishAsync(Reference, InTime);

        await federation.Coordinator("job").ExtendAsync(Plan(rounds: 3), cancellationToken: InTime);
        await federation.FinishAsync("job", InTime);
        var after = await federation.FinishAsync(Reference, InTime);

        Assert.Equal((JobStatus.Finished, 3), (after.Status, after.NewRounds[^1].Manifest.Round));
        Assert.Equal(before.NewRounds[^1].ManifestSha256, after.NewRounds[2].ManifestSha256); // one chain, under two plans
    }

    [Theory]
    [InlineData("write jobs/job.local-only/plan.yaml", 1, false)]
    [InlineData("write jobs/job.local-only/plan.yaml", 1, true)]
    [InlineData("write index/job.local-only", 1, true)]
    [InlineData("write index/job", 2, false)] // as over
    public async Task A_process_that_dies_over_the_beginning_of_a_reference_leaves_one_to_the_next(string operation, int time, bool after)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-reference-").FullName;
        await using var undisturbed = await TestFederation.StartAsync();
        await undisturbed.RunAsync("job", Plan(), InTime);
        var expected = (await undisturbed.FinishAsync(Reference, InTime)).NewRounds[^1].ManifestSha256;
        using (var files = new DirectoryBlobStore(folder))
        {
            var store = new FaultInjectingStore(files) { CrashIn = (operation, time, after ? CrashMode.After : CrashMode.Before) };
            await using var before = await TestFederation.StartAsync(folder: folder, store: store);
            await before.Coordinator("job").SubmitAsync(Plan(), InTime);
            await store.Crashed.WaitAsync(InTime);
            foreach (var silo in before.Cluster.Silos.ToArray()) await before.Cluster.KillSiloAsync(silo);
        }

        await using (var next = await TestFederation.StartAsync(folder: folder))
        {
            Assert.Equal(JobStatus.Finished, (await next.FinishAsync("job", InTime)).Status);
            Assert.Equal(expected, (await next.FinishAsync(Reference, InTime)).NewRounds[^1].ManifestSha256);
        }

        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task A_store_that_is_away_at_the_end_of_a_run_pauses_it_and_the_reference_comes_when_it_is_resumed()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-reference-").FullName;
        using var files = new DirectoryBlobStore(folder);
        var store = new FaultInjectingStore(files);
        await using var federation = await TestFederation.StartAsync(folder: folder, store: store);
        federation.Trainer.BeforeExport = () => store.Unavailable = 0..int.MaxValue;
        await federation.Coordinator("job").SubmitAsync(Plan(), InTime);
        Assert.Equal(JobStatus.Paused, (await federation.FinishAsync("job", InTime)).Status);

        (store.Unavailable, federation.Trainer.BeforeExport) = (default, static () => { });
        await federation.Coordinator("job").ResumeAsync(allowEngineChange: false, cancellationToken: InTime);

        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync("job", InTime)).Status);
        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync(Reference, InTime)).Status);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task A_reference_that_has_begun_is_not_begun_again_by_a_silo_that_takes_the_run_for_unfinished()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-reference-").FullName;
        await using (var before = await TestFederation.StartAsync(folder: folder, beginsReferences: false))
            await before.RunAsync("job", Plan(), InTime);
        await File.WriteAllTextAsync(Path.Combine(folder, Keys.IndexOf("job")), "running", InTime); // as it died before the mark

        string first;
        await using (var after = await TestFederation.StartAsync(folder: folder))
        {
            Assert.Equal(JobStatus.Finished, (await after.FinishAsync("job", InTime)).Status);
            first = (await after.FinishAsync(Reference, InTime)).NewRounds[^1].ManifestSha256;
        }

        await File.WriteAllTextAsync(Path.Combine(folder, Keys.IndexOf("job")), "running", InTime);
        await using var again = await TestFederation.StartAsync(folder: folder);
        Assert.Equal(JobStatus.Finished, (await again.FinishAsync("job", InTime)).Status);
        Assert.Equal(first, (await again.FinishAsync(Reference, InTime)).NewRounds[^1].ManifestSha256);
        Assert.Empty(again.Trainer.Trained);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task A_cancelled_run_has_no_reference_and_a_cancelled_reference_stays_cancelled()
    {
        await using var federation = await TestFederation.StartAsync();
        federation.Trainer.BeforeTraining = static (_, token) => Task.Delay(Timeout.Infinite, token);
        await federation.Coordinator("stopped").SubmitAsync(Plan(), InTime);
        await federation.Coordinator("stopped").CancelAsync(InTime);
        Assert.Equal(JobStatus.Cancelled, (await federation.FinishAsync("stopped", InTime)).Status);
        federation.Trainer.BeforeTraining = static (group, token) =>
            group.Plan.Sharing == Sharing.None ? Task.Delay(Timeout.Infinite, token) : Task.CompletedTask;
        await federation.RunAsync("job", Plan(), InTime);
        await federation.Coordinator(Reference).CancelAsync(InTime);
        Assert.Equal(JobStatus.Cancelled, (await federation.FinishAsync(Reference, InTime)).Status);

        await federation.Coordinator("job").ExtendAsync(Plan(rounds: 3), cancellationToken: InTime);
        await federation.FinishAsync("job", InTime);

        Assert.Null(await federation.Coordinator("stopped.local-only").GetPlanAsync(InTime));
        Assert.Equal(JobStatus.Cancelled, (await federation.FinishAsync(Reference, InTime)).Status);
    }

    [Fact]
    public async Task A_fork_has_no_reference()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.Coordinator("source").SubmitAsync(Plan(), localOnly: false, InTime);
        await federation.FinishAsync("source", InTime);

        await federation.Coordinator("job").ForkAsync("source", 1, Plan(), cancellationToken: InTime);
        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync("job", InTime)).Status);

        Assert.Null(await federation.Coordinator(Reference).GetPlanAsync(InTime));
    }

    [Fact]
    public async Task A_name_that_leaves_no_room_for_the_reference_is_refused_before_anything_is_stored()
    {
        await using var federation = await TestFederation.StartAsync();
        var name = new string('n', 54);

        var refusal = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator(name).SubmitAsync(Plan(), InTime));

        Assert.Equal($"run: {name} is too long for a run with evaluation.localOnly; give at most 53 characters.", refusal.Message);
        Assert.Null(await StoredPlans.NewestAsync(federation.Store, name, InTime));
        await federation.Coordinator(name).SubmitAsync(Plan(), localOnly: false, InTime);
        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync(name, InTime)).Status);
    }

    [Fact]
    public async Task The_name_of_a_reference_is_not_taken_by_another_run_before_or_after()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("first.local-only", Plan(more: ""), InTime);
        await federation.RunAsync("second", Plan(), InTime);

        var before = await Assert.ThrowsAsync<BadInputException>(() => federation.Coordinator("first").SubmitAsync(Plan(), InTime));
        await federation.Coordinator("third").SubmitAsync(Plan(), InTime);
        var after = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator("third.local-only").SubmitAsync(Plan(more: ""), InTime));

        Assert.StartsWith("Run first.local-only exists with another plan", before.Message, StringComparison.Ordinal);
        Assert.StartsWith(
            "third.local-only is what the local-only reference of run third is called", after.Message, StringComparison.Ordinal);
    }
}
