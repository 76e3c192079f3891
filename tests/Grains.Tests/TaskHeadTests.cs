using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;
using Orleans.Runtime;

namespace FedRLora.Grains.Tests;

/// <summary>Heads of scope task: who receives them, what keeps them, and who begins with them.</summary>
public sealed class TaskHeadTests : IDisposable
{
    private const string Job = "job";

    // Nobody of task t1 is there in rounds 2 and 3.
    private const string Absent = "faults: [{kind: absent, clients: [c00001, c00003], rounds: {from: 2, to: 3}}]";

    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-tasks-").FullName;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static string Plan(
        int clients = 4, int rounds = 4, string more = "", string strategy = "", Func<int, string>? site = null) =>
        TestFederation.Plan(clients, rounds, more, strategy, site, TestFederation.TaskHeads);

    [Fact]
    public async Task Clients_of_a_task_begin_each_round_with_the_same_head_and_move_it_together()
    {
        await using var federation = await TestFederation.StartAsync();
        var seen = new ConcurrentBag<(int Round, string Task, float Head, float Update)>();
        federation.Trainer.Afterwards = (group, result) =>
        {
            var member = group.Members.Single(one => one.Client.Id == result.ClientId);
            seen.Add((group.Round, member.Client.Task, member.OfTask["B"].Data[0], result.Update["B"].Data[0]));
            return result;
        };

        await federation.RunAsync(Job, Plan(), InTime);

        foreach (var task in (string[])["t0", "t1"])
        {
            var before = 0f;
            for (var round = 1; round <= 4; round++)
            {
                var ofRound = seen.Where(one => one.Round == round && one.Task == task).ToList();
                Assert.Equal(2, ofRound.Count);
                Assert.All(ofRound, one => Assert.Equal(before, one.Head));
                before += ofRound.Average(static one => one.Update);
            }
        }

        Assert.NotEqual(
            seen.First(static one => one is { Round: 4, Task: "t0" }).Head, seen.First(static one => one is { Round: 4, Task: "t1" }).Head);
    }

    [Fact]
    public async Task A_task_whose_clients_are_all_absent_keeps_its_head_and_goes_on_with_it()
    {
        await using var federation = await TestFederation.StartAsync();
        var seen = new ConcurrentBag<(int Round, float Head)>();
        federation.Trainer.BeforeTraining = (group, _) =>
        {
            foreach (var member in group.Members.Where(static member => member.Client.Task == "t1"))
                seen.Add((group.Round, member.OfTask["B"].Data[0]));
            return Task.CompletedTask;
        };

        await federation.RunAsync(Job, Plan(more: $"{Absent}\ncheckpoints: {{keepLast: 2}}"), InTime);

        var rounds = (await federation.FinishAsync(Job, InTime)).NewRounds;
        var states = rounds.Select(static round => round.Manifest.Tasks!.Single(static task => task.Task == "t1")).ToList();
        Assert.Equal([0, 1, 1, 1, 4], states.Select(static state => state.Round));
        Assert.Equal([0, 1, 1, 1, 2], states.Select(static state => state.Version));
        Assert.Equal([null, null, "none of its clients is in the round", "none of its clients is in the round", null],
            states.Select(static state => state.Kept));
        Assert.Equal([1, 1, 4, 4], seen.Select(static one => one.Round).Order());
        Assert.All(seen.Where(static one => one.Round == 4), static one => Assert.NotEqual(0, one.Head));
        // What a kept round names is kept wherever it lies, and nothing else.
        Assert.Null(await federation.Store.OpenAsync(states[0].SharedOf(Job).Key, InTime));
        Assert.NotNull(await federation.Store.OpenAsync(states[3].SharedOf(Job).Key, InTime));
        await IsWholeAsync(federation);
    }

    [Fact]
    public async Task States_of_tasks_that_no_kept_round_names_are_let_go_one_by_one()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync(Job, Plan(rounds: 7, more: $"{Absent}\ncheckpoints: {{keepLast: 2, keepEvery: 3}}"), InTime);

        string[] KeysOf(string task) => [.. Directory.EnumerateFiles(federation.Folder, $"shared-of-{task}-*", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(federation.Folder, path).Split('/')[3]).Order(StringComparer.Ordinal)];
        Assert.Equal(["0", "3", "6", "7"], KeysOf("t0"));
        Assert.Equal(["0", "1", "6", "7"], KeysOf("t1")); // round 3 names that of round 1
        await IsWholeAsync(federation);
    }

    [Fact]
    public async Task What_is_left_of_states_that_were_let_go_half_goes_when_the_job_starts_again()
    {
        var cut = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var store = new ReadingStore(new DirectoryBlobStore(_folder), static _ => { }, key =>
        {
            if (!key.Contains("/1/shared-of-t1-", StringComparison.Ordinal)) return;
            cut.TrySetResult();
            throw new IOException("The disk is read-only.");
        });
        await using (var first = await TestFederation.StartAsync(folder: _folder, store: store))
        {
            // The last round lets round 3 go, which names the state of round 1.
            await first.RunAsync(Job, Plan(rounds: 5, more: $"{Absent}\ncheckpoints: {{keepLast: 2}}"), InTime);
            await cut.Task.WaitAsync(InTime);
        }

        await using var again = await TestFederation.StartAsync(folder: _folder);
        await again.FinishAsync(Job, InTime);
        var inTime = InTime;
        bool IsLeft(int round) => Directory.EnumerateFiles(Path.Combine(_folder, Keys.Round(Job, round)), "shared-*").Any();
        while (IsLeft(1) || IsLeft(3)) await Task.Delay(20, inTime);
    }

    [Fact]
    public async Task A_client_that_joins_begins_with_the_head_of_its_task_and_a_new_task_with_a_fresh_one()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("source", Plan(), InTime);
        var source = (await federation.FinishAsync("source", InTime)).NewRounds[^1].Manifest;
        var head = await federation.Store.ReadStateAsync(source.Tasks![0].SharedOf("source"), InTime);
        var heads = new ConcurrentDictionary<string, float>();
        federation.Trainer.BeforeTraining = (group, _) =>
        {
            foreach (var member in group.Members) heads[member.Client.Id] = member.OfTask["B"].Data[0];
            return Task.CompletedTask;
        };
        var joined = Plan(clients: 5, rounds: 1)
            + "  - {id: other, task: another / t2, site: local, data: {train: a.jsonl, test: b.jsonl}}\n";

        await federation.Coordinator(Job).ForkAsync("source", 4, joined, cancellationToken: InTime);
        var rounds = (await federation.FinishAsync(Job, InTime)).NewRounds;

        Assert.Equal(head["B"].Data[0], heads["c00000"]);
        Assert.Equal(head["B"].Data[0], heads["c00004"]); // of t0, and new
        Assert.Equal(0, heads["other"]);
        Assert.Equal(["another / t2", "t0", "t1"], rounds[0].Manifest.Tasks!.Select(static task => task.Task));
        Assert.Equal(source.Tasks![0].Shared, rounds[0].Manifest.Tasks![1].Shared);
        await IsWholeAsync(federation);
    }

    [Fact]
    public async Task A_client_does_not_take_the_moments_of_a_head_of_its_own_to_another_task()
    {
        await using var federation = await TestFederation.StartAsync();
        var source = Plan(clients: 2, rounds: 2);
        await federation.RunAsync("source", source, InTime);
        var moved = source.Replace("task: t1", "task: t2", StringComparison.Ordinal);

        var refused = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator(Job).ForkAsync("source", 2, moved, cancellationToken: InTime));
        await federation.Coordinator(Job).ForkAsync("source", 2, $"{moved}training: {{moments: reset}}\n", cancellationToken: InTime);

        Assert.Equal(
            "Client c00001 alone moved the head of another task in source, whose moments it keeps; give it another id for task t2, "
            + "or the plan training.moments: reset.",
            refused.Message);
        Assert.Equal(JobStatus.Finished, (await federation.FinishAsync(Job, InTime)).Status);
    }

    [Fact]
    public async Task A_lost_head_of_a_task_is_named_and_repair_goes_back_before_it()
    {
        using var store = new DirectoryBlobStore(_folder);
        string digest;
        await using (var federation = await TestFederation.StartAsync(folder: _folder, store: store))
            digest = await federation.RunAsync(Job, Plan(), InTime);
        var lost = Directory.GetFiles(Path.Combine(_folder, Keys.Round(Job, 4)), "shared-of-t1-*").Single();
        File.Delete(lost);

        var report = (await new RunVerifier(store, store, Job).VerifyAsync(InTime))!;
        Assert.Equal(Path.GetRelativePath(_folder, lost), Assert.Single(report.Broken).Key);
        await using var again = await TestFederation.StartAsync(folder: _folder, store: store);
        var refused = await Record.ExceptionAsync(() => again.Coordinator(Job).ResumeAsync(true, cancellationToken: InTime));
        Assert.Contains(Path.GetFileName(lost), CorruptBlobException.OrBadInputIn(refused)!.Message, StringComparison.Ordinal);

        var repairer = new RunRepair(store, store, Job);
        var repair = (await repairer.FindAsync(InTime))!;
        await repairer.ApplyAsync(repair, InTime);
        Assert.Equal(3, repair.After!.Round);
        await store.WriteBytesAsync(Keys.IndexOf(Job), Jobs.JobsGrain.Running.ToArray(), WriteCondition.Any, InTime);
        await again.Coordinator(Job).ResumeAsync(false, cancellationToken: InTime);
        Assert.Equal(digest, (await again.FinishAsync(Job, InTime)).NewRounds[^1].ManifestSha256);
    }

    /// <summary>The second client's work is three rounds old when it comes, its task's head as old as when it began.</summary>
    [Fact]
    public async Task In_buffered_rounds_a_head_that_is_its_task_s_alone_moves_as_a_head_of_its_client_does()
    {
        const string Buffered = "  trigger: {rule: buffered, bufferSize: 1, concurrency: 2}\n";
        var own = await RunAsync("own", TestFederation.Plan(clients: 2, rounds: 5, strategy: Buffered));
        var byTask = await RunAsync("by-task", Plan(clients: 2, rounds: 5, strategy: Buffered));

        var heads = own.Manifest.Clients.Select(client => client.Head!.At(Keys.Head("own", "local", client.Id, client.HeadRound)));
        var states = byTask.Manifest.Tasks!.Select(static task => task.SharedOf("by-task"));
        Assert.Equal([4, 1], byTask.Manifest.Tasks!.Select(static task => task.Version));
        Assert.Equal((1, 3), (own.Clients[0].Staleness ?? 0, own.Stale));
        Assert.Equal((1, 3), (byTask.Clients[0].Staleness ?? 0, byTask.Stale));
        using var store = new DirectoryBlobStore(_folder);
        foreach (var (head, state) in heads.Zip(states))
        {
            var expected = (await store.ReadStateAsync(head, InTime))["B"].Data[0];
            Assert.Equal(expected, (await store.ReadStateAsync(state, InTime))["B"].Data[0]);
        }

        Assert.Equal(
            (await store.ReadStateAsync(own.Manifest.SharedOf("own"), InTime))["A"].Data,
            (await store.ReadStateAsync(byTask.Manifest.SharedOf("by-task"), InTime))["A"].Data);

        async Task<(RoundManifest Manifest, IReadOnlyList<ManifestClient> Clients, int Stale)> RunAsync(string job, string plan)
        {
            using var store = new DirectoryBlobStore(_folder);
            await using var federation = await TestFederation.StartAsync(folder: _folder, store: store);
            // Of each round one client is let through, once the round before is committed.
            string[] order = ["c00000", "c00000", "c00000", "c00001", "c00000"];
            federation.Trainer.BeforeTraining = async (group, token) =>
            {
                while (true)
                {
                    var bytes = await store.ReadBytesAsync(Keys.Current(job), token);
                    var committed = bytes is null ? 0 : CurrentRound.Parse(bytes, job).Round;
                    if (committed < order.Length && order[committed] == group.Members[0].Client.Id) return;
                    await Task.Delay(20, token);
                }
            };
            await federation.Coordinator(job).SubmitAsync(plan, InTime);
            var rounds = (await federation.FinishAsync(job, InTime)).NewRounds;
            return (rounds[^1].Manifest, rounds[^1].Manifest.Clients, rounds[4].Manifest.Clients[1].Staleness!.Value);
        }
    }

    [Fact]
    public async Task A_silo_reads_and_is_sent_the_heads_of_its_own_tasks_alone()
    {
        string[] sites = ["a", "b", "c"];
        var (read, sent) = (new ConcurrentBag<(string Site, string Key)>(), new ConcurrentBag<(string Site, string Task)>());
        await using var federation = await TestFederation.StartAsync(
            sites, folder: _folder, jobStoreOf: site => new ReadingStore(new DirectoryBlobStore(_folder), key => read.Add((site, key))),
            heard: (site, argument) =>
            {
                foreach (var task in (argument as SiteAssignment)?.Tasks.Keys ?? []) sent.Add((site, task));
            });
        var plan = Plan(clients: 0, rounds: 3) + string.Concat(sites.Select(static site =>
                $"  - {{id: c-{site}, task: t{site}, site: {site}, data: {{train: a.jsonl, test: b.jsonl}}}}\n"));

        await federation.RunAsync(Job, plan, InTime);

        // The silo of the coordinator aggregates every task.
        var host = (await federation.Cluster.Client.GetGrain<IManagementGrain>(0).GetDetailedGrainStatistics(null, null, InTime))
            .Single(grain => grain.GrainId.Type.ToString()!.Contains("coordinator", StringComparison.OrdinalIgnoreCase)).SiloAddress;
        var others = federation.Cluster.Silos.Where(silo => !silo.SiloAddress.Equals(host))
            .Select(silo => federation.SiteOf[silo.Name]).ToList();
        Assert.Equal(2, others.Count);
        Assert.Equal(sites.Select(static site => (site, $"t{site}")), sent.Distinct().Order());
        foreach (var site in others)
        {
            var states = read.Where(one => one.Site == site && one.Key.Contains("shared-of-", StringComparison.Ordinal)).ToList();
            Assert.NotEmpty(states);
            Assert.All(states, one => Assert.Contains($"shared-of-t{site}-", one.Key, StringComparison.Ordinal));
        }
    }

    // All that is named is there, and nothing in the job's store that is not.
    private static async Task IsWholeAsync(TestFederation federation)
    {
        var report = await new RunVerifier(federation.Store, federation.Store, Job).VerifyAsync(InTime);
        Assert.True(report is { Broken: [], Unchecked: [], Leftovers: [] });
        var unneeded = await new RunCollector(federation.Store, federation.Store, Job).FindAsync(InTime);
        Assert.DoesNotContain(unneeded, static blob => blob.Key.StartsWith("jobs/", StringComparison.Ordinal));
    }

    private sealed class ReadingStore(IBlobStore inner, Action<string> reads, Action<string>? deletes = null) : IBlobStore
    {
        public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default)
        {
            reads(key);
            return inner.OpenAsync(key, cancellationToken);
        }

        public Task<WrittenBlob> WriteAsync(
            string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
            CancellationToken cancellationToken = default) => inner.WriteAsync(key, content, condition, cancellationToken);

        public IAsyncEnumerable<string> ListAsync(string prefix, CancellationToken cancellationToken = default) =>
            inner.ListAsync(prefix, cancellationToken);

        public Task DeleteAsync(string key, CancellationToken cancellationToken = default)
        {
            deletes?.Invoke(key);
            return inner.DeleteAsync(key, cancellationToken);
        }

        public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default) =>
            inner.DeleteAllAsync(prefix, cancellationToken);

        public Task MakeDurableAsync(CancellationToken cancellationToken = default) => inner.MakeDurableAsync(cancellationToken);
    }
}
