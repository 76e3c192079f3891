using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;
using Orleans.Runtime;
using Orleans.Runtime.Placement;

namespace FedRLora.Grains.Tests;

/// <summary>What sites lose between a report and the commit, and sites that are lost themselves.</summary>
public sealed class ConfirmationTests : IDisposable
{
    private const string Job = "job";
    private const string Groups = "training: {groupSize: 2}";
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-confirm-").FullName;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static string Site(int i) => i < 2 ? "north" : "south";

    private static string Plan(int rounds = 3, string strategy = "") =>
        TestFederation.Plan(clients: 4, rounds: rounds, more: Groups, strategy: strategy, site: Site);

    private static readonly Lazy<Task<string>> Undisturbed = new(static async () =>
    {
        await using var federation = await TestFederation.StartAsync(["north", "south"]);
        return await federation.RunAsync(Job, Plan(), InTime);
    });

    [Fact]
    public async Task Every_site_makes_its_files_durable_once_a_round_and_the_coordinator_before_its_pointer()
    {
        var store = new WatchedStore(_folder);
        await using var federation = await TestFederation.StartAsync(["north", "south"], store: store);

        await federation.RunAsync(Job,
            Plan(rounds: 2).Replace("strategy:", "checkpoints: {export: false}\nstrategy:", StringComparison.Ordinal), InTime);

        // In each round after the start: updates, the two sites, states and manifest, the coordinator, the pointer.
        var done = store.Operations.ToList();
        for (var round = 1; round <= 2; round++)
        {
            var reported = done.FindLastIndex(
                operation => operation.StartsWith($"write jobs/{Job}/rounds/{round}/1/updates/", StringComparison.Ordinal));
            var aggregated = done.FindIndex(
                operation => operation.StartsWith($"write jobs/{Job}/rounds/{round}/shared", StringComparison.Ordinal));
            var pointed = done.FindIndex(aggregated, operation => operation == $"write {Keys.Current(Job)}");
            Assert.Equal(2, done[reported..aggregated].Count(static operation => operation == "durable"));
            Assert.Equal("durable", done[pointed - 1]);
        }
    }

    public static TheoryData<string, string> Losses => new()
    {
        { "head.safetensors", "is gone" }, { "optimizer.safetensors", "is gone" }, { "update", "is gone" },
        { "head.safetensors", "is cut" }, { "optimizer.safetensors", "is cut" }, { "update", "is cut" },
    };

    [Theory]
    [MemberData(nameof(Losses))]
    public async Task A_client_of_which_a_file_was_lost_after_its_report_trains_again_with_its_group_to_the_same_digest(
        string file, string how)
    {
        var expected = await Undisturbed.Value;
        var store = new WatchedStore(_folder);
        await using var federation = await TestFederation.StartAsync(["north", "south"], store: store);
        var (lost, losing) = (new TaskCompletionSource(), 0);
        store.BeforeDurable = async () =>
        {
            if (federation.Trainer.Trained.Count(static work => work.Round == 2) < 4) return;
            if (Interlocked.Exchange(ref losing, 1) == 1)
            {
                await lost.Task.WaitAsync(InTime); // the other site is confirmed after the loss too
                return;
            }

            await LoseAsync(store,
                file == "update" ? Keys.Update(Job, 2, 1, "c00002") : $"{Keys.Owned(Job, "south", "c00002")}2/{file}", how);
            lost.TrySetResult();
        };
        var (missing, held) = (new TaskCompletionSource<JobProgress>(), 0);
        federation.Trainer.BeforeTraining = async (_, _) =>
        {
            if (lost.Task.IsCompleted && Interlocked.Exchange(ref held, 1) == 0)
                missing.SetResult((await federation.Coordinator(Job).GetProgressAsync(-1, InTime))!);
        };

        Assert.Equal(expected, await federation.RunAsync(Job, Plan(), InTime));

        var shown = Assert.Single((await missing.Task.WaitAsync(InTime)).Missing);
        Assert.Matches(how == "is gone"
            ? $"^c00002: .*/{Path.GetFileNameWithoutExtension(file)}.* is missing"
            : "^c00002: .* has [0-9]+ bytes, expected [0-9]+", shown);
        Assert.Equal([1, 1, 2, 2], federation.Trainer.Trained.Where(static work => work.Round == 2).CountBy(static work => work.Client)
            .OrderBy(static work => work.Key).Select(static work => work.Value));
    }

    [Fact]
    public async Task A_site_that_lost_committed_heads_too_stops_the_run_by_name_instead_of_beginning_them_anew()
    {
        var store = new WatchedStore(_folder);
        await using var federation = await TestFederation.StartAsync(["north", "south"], store: store);
        var lost = 0;
        store.BeforeDurable = async () =>
        {
            if (federation.Trainer.Trained.Count(static work => work.Round == 2) >= 4 && Interlocked.Exchange(ref lost, 1) == 0)
                await store.DeleteAllAsync("sites/south/", CancellationToken.None);
        };

        await federation.Coordinator(Job).SubmitAsync(Plan(), InTime);
        var over = await federation.FinishAsync(Job, InTime);

        Assert.Equal((JobStatus.Failed, 1), (over.Status, over.NewRounds[^1].Manifest.Round));
        Assert.Contains($"{Keys.Head(Job, "south", "c00002", 1)} is missing", over.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_never_stays_fails_its_client_by_name_and_the_round_goes_on()
    {
        var store = new WatchedStore(_folder);
        await using var federation = await TestFederation.StartAsync(["north", "south"], store: store);
        store.BeforeDurable = () => store.DeleteAsync(Keys.Head(Job, "south", "c00002", 2), CancellationToken.None);

        await federation.RunAsync(Job, Plan(rounds: 2, strategy: "  quorum: 0.5"), InTime);

        var failed = (await federation.FinishAsync(Job, InTime)).NewRounds[2].Manifest.Clients[2];
        Assert.Equal((ClientOutcome.Failed, 1), (failed.Outcome, failed.HeadRound));
        Assert.Contains($"{Keys.Head(Job, "south", "c00002", 2)} is missing", failed.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_site_that_does_not_confirm_within_the_time_budgets_of_its_clients_is_not_in_the_round()
    {
        var store = new WatchedStore(_folder);
        var (hanging, hung) = (new TaskCompletionSource(), 0);
        await using var federation = await TestFederation.StartAsync(["north", "south"], store: store);
        store.BeforeDurable = () =>
        {
            var trained = federation.Trainer.Trained.Count(static work => work.Round == 2) == 4;
            return trained && Interlocked.Exchange(ref hung, 1) == 0 ? hanging.Task : Task.CompletedTask; // the first site that is asked
        };
        try
        {
            var plan = Plan(rounds: 2, strategy: "  quorum: 0.5\n  timeBudget: {factor: 1, atLeast: 1s}")
                .Replace("strategy:", "checkpoints: {export: false}\nstrategy:", StringComparison.Ordinal);
            await federation.RunAsync(Job, plan, InTime);
        }
        finally
        {
            hanging.SetResult();
        }

        var clients = (await federation.FinishAsync(Job, InTime)).NewRounds[2].Manifest.Clients;
        Assert.Equal([2, 2], clients.CountBy(static client => client.Outcome).Select(static outcome => outcome.Value));
        Assert.Equal(2, clients.Count(static client => client.Outcome == ClientOutcome.Trained));
    }

    [Theory]
    [MemberData(nameof(Losses))]
    [InlineData("head.safetensors", "holds zeros")]
    [InlineData("optimizer.safetensors", "holds zeros")]
    [InlineData("update", "holds zeros")]
    public async Task What_a_restart_finds_unfinished_is_trained_again_with_its_group_to_the_same_digest(string file, string how)
    {
        var plan = Plan();
        var expected = await Undisturbed.Value;
        var reached = new TaskCompletionSource();
        using (var files = new DirectoryBlobStore(_folder))
        {
            var trainer = new FakeTrainer();
            trainer.BeforeTraining = async (group, token) =>
            {
                if (group.Round != 2 || group.Members[0].Client.Id != "c00000") return;
                reached.TrySetResult();
                await Task.Delay(Timeout.Infinite, token);
            };
            await using var first = await TestFederation.StartAsync(["north", "south"], trainer: trainer, folder: _folder, store: files);
            await first.Coordinator(Job).SubmitAsync(plan, InTime);
            await reached.Task.WaitAsync(InTime);
            var inTime = InTime;
            while (await files.ReadBytesAsync(Keys.Update(Job, 2, 1, "c00003"), inTime) is null) await Task.Delay(5, inTime);
        }

        using var store = new DirectoryBlobStore(_folder);
        await LoseAsync(store, file == "update" ? Keys.Update(Job, 2, 1, "c00002") : $"{Keys.Owned(Job, "south", "c00002")}2/{file}", how);
        await using var second = await TestFederation.StartAsync(["north", "south"], folder: _folder, store: store);
        var over = await second.FinishAsync(Job, InTime);

        Assert.Equal((JobStatus.Finished, expected), (over.Status, over.NewRounds[^1].ManifestSha256));
        // both groups: one had not finished, the other not wholly
        Assert.Equal(4, second.Trainer.Trained.Count(static work => work.Round == 2));
    }

    [Fact]
    public async Task What_a_restart_finds_finished_is_not_trained_again()
    {
        var plan = Plan();
        using var store = new DirectoryBlobStore(_folder);
        var held = new TaskCompletionSource();
        var watched = new WatchedStore(store);
        await using (var first = await TestFederation.StartAsync(["north", "south"], folder: _folder, store: watched))
        {
            watched.BeforeDurable = async () =>
            {
                if (first.Trainer.Trained.Count(static work => work.Round == 2) < 4) return;
                held.TrySetResult();
                await Task.Delay(Timeout.Infinite, InTime);
            };
            await first.Coordinator(Job).SubmitAsync(plan, InTime);
            await held.Task.WaitAsync(InTime);
            Assert.Equal("confirm", (await first.Coordinator(Job).GetProgressAsync(-1, InTime))!.Phase);
            foreach (var silo in first.Cluster.Silos.ToArray()) await first.Cluster.KillSiloAsync(silo);
        }

        await using var second = await TestFederation.StartAsync(["north", "south"], folder: _folder, store: store);
        var over = await second.FinishAsync(Job, InTime);

        Assert.Equal((JobStatus.Finished, await Undisturbed.Value), (over.Status, over.NewRounds[^1].ManifestSha256));
        Assert.DoesNotContain(second.Trainer.Trained, static work => work.Round == 2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_site_killed_between_report_and_confirmation_is_waited_for_to_the_same_digest(bool filesToo)
    {
        var expected = await Undisturbed.Value;
        var (federation, reached, killed) = await KilledAsync(Plan());
        await using var owned = federation;
        await reached.WaitAsync(InTime);

        await federation.Cluster.KillSiloAsync(federation.Cluster.Silos.Single(silo => federation.SiteOf[silo.Name] == "south"));
        if (filesToo)
        {
            await federation.Store.DeleteAsync(Keys.Head(Job, "south", "c00002", 2), InTime);
            await federation.Store.DeleteAsync(Keys.Optimizer(Job, "south", "c00003", 2), InTime);
        }

        killed.SetResult();
        await Task.Delay(TimeSpan.FromSeconds(2)); // longer than a round takes
        var waiting = await federation.Coordinator(Job).GetProgressAsync(-1, InTime);
        Assert.Equal((JobStatus.Running, 2), (waiting!.Status, waiting.Round));
        await federation.Cluster.StartAdditionalSiloAsync(); // takes the next site in turn
        await federation.Cluster.StartAdditionalSiloAsync();
        var over = await federation.FinishAsync(Job, InTime);

        Assert.Equal((JobStatus.Finished, expected), (over.Status, over.NewRounds[^1].ManifestSha256));
    }

    [Theory]
    [InlineData("  quorum: 0.5\n  siteLoss: continue")]
    [InlineData("  quorum: 0.5\n  deadline: 2s")]
    public async Task A_site_killed_between_report_and_confirmation_is_not_in_the_round_where_the_plan_goes_on(string strategy)
    {
        var (federation, reached, killed) = await KilledAsync(Plan(rounds: 2, strategy: strategy));
        await using var owned = federation;
        await reached.WaitAsync(InTime);

        await federation.Cluster.KillSiloAsync(federation.Cluster.Silos.Single(silo => federation.SiteOf[silo.Name] == "south"));
        killed.SetResult();
        var over = await federation.FinishAsync(Job, InTime);

        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        var round = over.NewRounds[2].Manifest;
        Assert.Equal([ClientOutcome.Trained, ClientOutcome.Trained, ClientOutcome.Late, ClientOutcome.Late],
            round.Clients.Select(static client => client.Outcome));
        Assert.Equal(over.NewRounds[1].Manifest.Clients.Skip(2).Select(static client => client.Head),
            round.Clients.Skip(2).Select(static client => client.Head));
    }

    // The coordinator is at the north; of round 2 both sites' reports are in, and neither has confirmed.
    private async Task<(TestFederation Federation, Task Reached, TaskCompletionSource Killed)> KilledAsync(string plan)
    {
        var store = new WatchedStore(_folder);
        var federation = await TestFederation.StartAsync(["north", "south"], store: store);
        var (reached, killed, asked) = (new TaskCompletionSource(),
            new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously), 0);
        store.BeforeDurable = async () =>
        {
            if (killed.Task.IsCompleted || federation.Trainer.Trained.Count(static work => work.Round == 2) < 4) return;
            if (Interlocked.Increment(ref asked) == 2) reached.TrySetResult();
            await killed.Task;
        };
        RequestContext.Set(IPlacementDirector.PlacementHintKey,
            federation.Cluster.Silos.Single(silo => federation.SiteOf[silo.Name] == "north").SiloAddress);
        await federation.Coordinator(Job).SubmitAsync(plan, InTime);
        RequestContext.Clear();
        return (federation, reached.Task, killed);
    }

    [Fact]
    public async Task A_committed_head_that_is_gone_stops_the_run_by_name_and_loses_nothing()
    {
        var expected = await Undisturbed.Value;
        using var files = new DirectoryBlobStore(_folder);
        await using var federation = await TestFederation.StartAsync(["north", "south"], store: files);
        var key = Keys.Head(Job, "south", "c00002", 1);
        byte[]? kept = null;
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Round != 2 || kept is not null || group.Members[0].Client.Id != "c00002") return;
            kept = await files.ReadBytesAsync(key, token);
            await files.DeleteAsync(key, token);
            throw new InvalidOperationException("its silo stumbles");
        };
        await federation.Coordinator(Job).SubmitAsync(Plan(), InTime);
        var over = await federation.FinishAsync(Job, InTime);

        Assert.Equal((JobStatus.Failed, 1), (over.Status, over.NewRounds[^1].Manifest.Round));
        Assert.Contains($"{key} is missing", over.Reason, StringComparison.Ordinal);

        await files.WriteBytesAsync(key, kept, WriteCondition.Any, InTime); // from a backup
        await federation.Coordinator(Job).ResumeAsync(allowEngineChange: false, cancellationToken: InTime);
        over = await federation.FinishAsync(Job, InTime);
        Assert.Equal((JobStatus.Finished, expected), (over.Status, over.NewRounds[^1].ManifestSha256));
    }

    [Fact]
    public async Task A_buffered_client_whose_head_was_lost_does_the_same_work_again_and_counts_once()
    {
        var store = new WatchedStore(_folder);
        await using var federation = await TestFederation.StartAsync(["north", "south"], store: store);
        var lost = 0;
        store.BeforeDurable = async () =>
        {
            foreach (var client in (string[])["c00000", "c00001", "c00002", "c00003"])
            {
                var key = Keys.Head(Job, client is "c00000" or "c00001" ? "north" : "south", client, 2);
                if (Volatile.Read(ref lost) == 0 && await store.ReadBytesAsync(key, InTime) is not null
                    && Interlocked.Exchange(ref lost, 1) == 0) await store.DeleteAsync(key, InTime);
            }
        };

        await federation.RunAsync(Job,
            TestFederation.Plan(clients: 4, rounds: 6, strategy: "  trigger: {rule: buffered, bufferSize: 2}", site: Site), InTime);

        Assert.Equal(1, lost);
        var updates = (await federation.FinishAsync(Job, InTime)).NewRounds.SelectMany(static round => round.Manifest.Clients)
            .Where(static client => client.Update is not null).Select(static client => (client.Id, client.HeadRound));
        Assert.Equal(updates.Distinct().Count(), updates.Count());
        using var reader = new DirectoryBlobStore(_folder);
        var report = await new RunVerifier(reader, reader, Job).VerifyAsync(InTime);
        Assert.Empty(report!.Broken);
    }

    [Fact]
    public async Task What_a_fork_copies_is_durable_before_it_is_a_start()
    {
        var store = new WatchedStore(_folder);
        await using var federation = await TestFederation.StartAsync(["north", "south"], store: store);
        await federation.RunAsync("source", Plan(rounds: 1), InTime);
        store.Operations.Clear();

        await federation.Coordinator("fork").ForkAsync("source", 1, Plan(rounds: 1), cancellationToken: InTime);

        var done = store.Operations.ToList();
        foreach (var site in (string[])["north", "south"])
        {
            var copied = done.FindLastIndex(
                operation => operation.StartsWith($"write sites/{site}/jobs/fork/clients/", StringComparison.Ordinal)
                    && operation.Contains("/0/", StringComparison.Ordinal));
            Assert.Equal("durable", done[copied + 1]); // before the next site, and before the job has a start
        }

        var start = done.IndexOf($"write {Keys.OriginManifest("fork")}");
        Assert.Equal("durable", done[start - 1]);
        Assert.StartsWith($"write {Keys.Origins("fork")}shared-", done[start - 2], StringComparison.Ordinal);
    }

    // A power cut leaves a key without its file, with a part of it, or with its length and not its content.
    private static async Task LoseAsync(IBlobStore store, string key, string how)
    {
        var bytes = await store.ReadBytesAsync(key, InTime) ?? throw new InvalidOperationException($"There is no {key}.");
        if (how == "is cut") Array.Resize(ref bytes, bytes.Length / 2);
        if (how == "holds zeros") bytes.AsSpan(^4..).Clear();
        if (how == "is gone") await store.DeleteAsync(key, InTime);
        else await store.WriteBytesAsync(key, bytes, WriteCondition.Any, InTime);
    }

    /// <summary>A store that says what is done with it, and lets a test act before something is made durable.</summary>
    private sealed class WatchedStore(IBlobStore inner) : IBlobStore
    {
        public WatchedStore(string folder)
            : this(new DirectoryBlobStore(folder))
        {
        }

        public ConcurrentQueue<string> Operations { get; } = new();

        public Func<Task> BeforeDurable { get; set; } = static () => Task.CompletedTask;

        public Task<WrittenBlob> WriteAsync(
            string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
            CancellationToken cancellationToken = default)
        {
            Operations.Enqueue($"write {key}");
            return inner.WriteAsync(key, content, condition, cancellationToken);
        }

        public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default) =>
            inner.OpenAsync(key, cancellationToken);

        public IAsyncEnumerable<string> ListAsync(string prefix, CancellationToken cancellationToken = default) =>
            inner.ListAsync(prefix, cancellationToken);

        public Task DeleteAsync(string key, CancellationToken cancellationToken = default) => inner.DeleteAsync(key, cancellationToken);

        public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default) =>
            inner.DeleteAllAsync(prefix, cancellationToken);

        public async Task MakeDurableAsync(CancellationToken cancellationToken = default)
        {
            await BeforeDurable();
            await inner.MakeDurableAsync(cancellationToken);
            Operations.Enqueue("durable");
        }
    }
}
