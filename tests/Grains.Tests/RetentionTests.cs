using CsCheck;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;

namespace FedRLora.Grains.Tests;

public sealed class RetentionTests
{
    private const string Job = "job";
    private static readonly string[] Documents = [Keys.Plan(Job), Keys.Fingerprint(Job), Keys.Current(Job), Keys.IndexOf(Job),
        Keys.Memory(Job), Keys.Export(Job, "s0", "c0") + "adapter_config.json", "jobs/job/rounds/notes.txt", "jobs/job/other"];

    private static readonly Gen<CheckpointSpec> Specs =
        from last in Gen.Int[0, 6]
        from every in Gen.Int[0, 5]
        select new CheckpointSpec { KeepLast = last == 0 ? null : last, KeepEvery = every == 0 ? null : every };

    // Each client trains in some rounds and keeps its head in the others.
    private static readonly Gen<CommittedRounds> Runs =
        from spec in Specs
        from clients in Gen.Int[1, 3]
        from trained in Gen.Bool.Array[0, 36]
        from finished in Gen.Bool
        select Run(spec, clients, trained, finished);

    [Fact]
    public void Nothing_that_a_kept_rounds_manifest_names_is_ever_removed() => Runs.Sample(run =>
    {
        var last = run.Rounds.Count - 1;
        var removed = Retention.Removable(run, Everything(run)).ToHashSet(StringComparer.Ordinal);
        foreach (var (manifest, _) in run.Rounds)
        {
            var isEvery = run.Checkpoints.KeepEvery is { } every && manifest.Round % every == 0;
            var isLast = manifest.Round >= last - 1;
            if (isEvery || isLast || run.Checkpoints.KeepLast is not { } count || manifest.Round > last - count)
                Assert.DoesNotContain(Retention.SharedOf(Job, manifest), blob => removed.Contains(blob.Key));
            if (isEvery || isLast)
                Assert.DoesNotContain(Retention.OwnedOf(Job, manifest, client => run.SiteOf[client]), blob => removed.Contains(blob.Key));
        }
    });

    [Fact]
    public void Documents_manifests_and_timings_stay_and_so_does_the_open_round_of_a_run_that_goes_on() => Runs.Sample(run =>
    {
        var open = run.Rounds.Count;
        string[] kept = [.. Documents, .. run.Rounds.SelectMany(
            static link => new[] { Keys.Manifest(Job, link.Manifest.Round, link.Sha256), Keys.Timing(Job, link.Manifest.Round) })];
        if (!run.Finished) kept = [.. kept, Keys.Shared(Job, open, "a"), Keys.Update(Job, open, 1, "c0"), Keys.Head(Job, "s0", "c0", open)];

        Assert.Empty(Retention.Removable(run, Everything(run)).Intersect(kept));
    });

    [Fact]
    public void Updates_of_committed_rounds_and_heads_of_no_kept_round_go() => Runs.Sample(run =>
    {
        var last = run.Rounds.Count - 1;
        var removed = Retention.Removable(run, Everything(run)).ToHashSet(StringComparer.Ordinal);
        for (var round = 0; round <= last; round++) Assert.Contains(Keys.Update(Job, round, 1, "c0"), removed);
        var named = run.Rounds.Where(link => Retention.KeepsHeads(run.Checkpoints, link.Manifest.Round, last))
            .Select(static link => link.Manifest.Clients[0].HeadRound).ToHashSet();
        Assert.All(Enumerable.Range(1, last),
            round => Assert.Equal(!named.Contains(round), removed.Contains(Keys.Head(Job, "s0", "c0", round))));
    });

    [Fact]
    public void The_rounds_let_go_one_by_one_are_those_that_are_not_kept() => Gen.Select(Specs, Gen.Int[0, 40]).Sample((spec, last) =>
        Assert.Equal(
            Enumerable.Range(0, last + 1).Where(round => !Retention.KeepsShared(spec, round, last)),
            Enumerable.Range(0, last + 1).Select(round => Retention.LeftBy(spec, round)).OfType<int>()));

    /// <summary>What a site forgets while a round trains, knowing of its client's older heads nothing but that they are there.</summary>
    [Fact]
    public void A_site_never_forgets_a_head_that_a_kept_rounds_manifest_names() => Runs.Sample(run =>
    {
        var heads = new SortedSet<int>();
        for (var round = 1; round < run.Rounds.Count; round++)
        {
            heads.Add(round); // trained, committed or not
            var needed = round < 2 ? 0 : run.Rounds[round - 2].Manifest.Clients[0].HeadRound;
            heads.RemoveWhere(head => head < needed && !Retention.KeepsHead(run.Checkpoints, head, needed));
            foreach (var manifest in run.Rounds.Take(round).Select(static link => link.Manifest).Where(
                manifest => Retention.KeepsHeads(run.Checkpoints, manifest.Round, round - 1) && manifest.Clients[0].Head is not null))
                Assert.Contains(manifest.Clients[0].HeadRound, heads);
        }
    });

    [Fact]
    public async Task A_run_keeps_the_states_that_its_plan_asks_for_and_stays_verifiable()
    {
        var inTime = new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync(Job,
            TestFederation.Plan(clients: 2, rounds: 7, more: "checkpoints: {keepLast: 2, keepEvery: 3}"), inTime);

        Assert.Equal([0, 3, 6, 7], Enumerable.Range(0, 10).Where(round => StoredRounds.HasShared(federation.Folder, Job, round)));
        Assert.Equal([3, 5, 6, 7], await RoundsAsync(federation.Store, static round => Keys.Head(Job, "local", "c00001", round)));
        var report = await new RunVerifier(federation.Store, federation.Store, Job).VerifyAsync(inTime);
        Assert.True(report is { Broken: [], Unchecked: [], Leftovers: [] });

        var collector = new RunCollector(federation.Store, federation.Store, Job);
        await federation.Store.WriteBytesAsync(Keys.Update(Job, 2, 1, "c00000"), "left"u8.ToArray(), WriteCondition.Any, inTime);
        var unneeded = await collector.FindAsync(inTime);
        await collector.RemoveAsync(unneeded, inTime);

        Assert.Equal(4, unneeded.Single(blob => blob.Key == Keys.Update(Job, 2, 1, "c00000")).SizeBytes);
        Assert.Equal([3, 6, 7], await RoundsAsync(federation.Store, static round => Keys.Head(Job, "local", "c00001", round)));
        Assert.Empty(await collector.FindAsync(inTime));
        Assert.True(await new RunVerifier(federation.Store, federation.Store, Job)
            .VerifyAsync(inTime) is { Broken: [], Unchecked: [], Leftovers: [] });
    }

    [Fact]
    public async Task The_open_round_of_an_extended_run_is_left_alone()
    {
        var inTime = new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 2), inTime);
        var reached = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Members[0].Client.Id == "c00000") return; // one update is written
            reached.TrySetResult();
            await Task.Delay(Timeout.Infinite, token);
        };
        await federation.Coordinator(Job).ExtendAsync(TestFederation.Plan(clients: 2, rounds: 3), cancellationToken: inTime);
        await federation.Coordinator(Job).GetProgressAsync(-1, inTime);
        await reached.Task.WaitAsync(inTime);
        while (await federation.Store.OpenAsync(Keys.Update(Job, 3, 1, "c00000"), inTime) is not { } update) await Task.Delay(10, inTime);

        Assert.DoesNotContain(await new RunCollector(federation.Store, federation.Store, Job).FindAsync(inTime),
            static blob => blob.Key.Contains("/3/", StringComparison.Ordinal));
    }

    private static async Task<IEnumerable<int>> RoundsAsync(IBlobStore store, Func<int, string> key)
    {
        var keys = new HashSet<string>();
        await foreach (var found in store.ListAsync("")) keys.Add(found);
        return Enumerable.Range(0, 10).Where(round => keys.Contains(key(round)));
    }

    private static CommittedRounds Run(CheckpointSpec spec, int clients, bool[] trained, bool finished)
    {
        var heads = new int[clients];
        var rounds = new List<(RoundManifest, string)>();
        for (var round = 0; round <= trained.Length / clients; round++)
        {
            for (var client = 0; client < clients && round > 0; client++)
            {
                if (trained[((round - 1) * clients) + client]) heads[client] = round;
            }

            rounds.Add((new RoundManifest
            {
                Round = round, PlanSha256 = "", Shared = new BlobDigest("a", 1), ServerOptimizer = new BlobDigest("b", 1),
                Clients = [.. heads.Select(static (head, i) => new ManifestClient
                {
                    Id = $"c{i}", Outcome = ClientOutcome.Trained, HeadRound = head, Head = head == 0 ? null : new BlobDigest("c", 1),
                    Optimizer = head == 0 ? null : new BlobDigest("d", 1),
                })],
            }, Sha256Of(round)));
        }

        return new CommittedRounds(Job, spec, rounds,
            Enumerable.Range(0, clients).ToDictionary(static i => $"c{i}", static i => $"s{i}"), finished);
    }

    private static string Sha256Of(int round) => $"{round:d64}";

    // Every key that such a run may ever have held, the round after the last included.
    private static IEnumerable<string> Everything(CommittedRounds run)
    {
        foreach (var document in Documents) yield return document;
        for (var round = 0; round <= run.Rounds.Count; round++)
        {
            string[] ofRound = [Keys.Manifest(Job, round, Sha256Of(round)), Keys.Timing(Job, round), Keys.Shared(Job, round, "a"),
                Keys.ServerOptimizer(Job, round, "b")];
            foreach (var key in ofRound) yield return key;
            foreach (var (client, site) in run.SiteOf)
            {
                yield return Keys.Update(Job, round, 1, client);
                yield return Keys.Head(Job, site, client, round);
                yield return Keys.Optimizer(Job, site, client, round);
            }
        }
    }
}
