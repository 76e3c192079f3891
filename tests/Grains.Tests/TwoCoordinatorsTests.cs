using System.Collections.Immutable;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Coordination;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests;

/// <summary>
/// Two coordinators of one job at once, as after a partition:
/// whatever the order of their store operations, the pointer names what is there.
/// </summary>
public sealed class TwoCoordinatorsTests(ITestOutputHelper output)
{
    private const string Job = "job";
    private static readonly string Yaml = TestFederation.Plan(clients: 3, rounds: 2, strategy: "  quorum: 0.5");
    private static readonly IndexedPlan Plan = new(PlanReader.Require(Yaml, "plan.yaml"));

    /// <summary>Every order of everything from the read of the pointer on.</summary>
    [Theory]
    [InlineData("of one cohort", 1f, 1f)]
    [InlineData("of two cohorts", 1f, 2f)]
    public async Task Two_that_commit_a_round_leave_a_pointer_to_what_is_there(string what, float first, float second)
    {
        var (every, orders) = (new EveryChoice(), 0);
        do
        {
            var turns = new TurnTaking();
            var zero = await CommitAsync(turns.Store, 0, null, 0);
            var digests = new string?[2];
            await turns.RunAsync(
                [.. new[] { first, second }.Select((value, id) =>
                    (Func<IBlobStore, Task>)(async store => digests[id] = await WinAsync(() => CommitAsync(store, 1, zero, value))))],
                every.Choose, () => AssertPointed(turns));
            AssertOneWon(turns, digests, same: first == second);
            orders++;
        }
        while (every.Next());
        output.WriteLine($"{orders} orders {what}");
    }

    /// <summary>The same for the first round, whose pointer is written where none is.</summary>
    [Fact]
    public async Task Two_that_begin_a_job_with_different_starts_leave_a_pointer_to_what_is_there()
    {
        var (every, orders) = (new EveryChoice(), 0);
        do
        {
            var (turns, digests) = (new TurnTaking(), new string?[2]);
            await turns.RunAsync(
                [.. new[] { 1f, 2f }.Select((value, id) =>
                    (Func<IBlobStore, Task>)(async store => digests[id] = await WinAsync(() => CommitAsync(store, 0, null, value))))],
                every.Choose, () => AssertPointed(turns));
            AssertOneWon(turns, digests, same: false);
            orders++;
        }
        while (every.Next());
        output.WriteLine($"{orders} orders");
    }

    /// <summary>
    /// The coordinator's own steps, from opening the job to letting the updates go; a seeded sample, since all would be millions.
    /// </summary>
    [Theory]
    [InlineData(new[] { "c00000", "c00001", "c00002" }, new[] { "c00000", "c00001", "c00002" })]
    [InlineData(new[] { "c00000", "c00001", "c00002" }, new[] { "c00000", "c00001" })]
    public async Task Two_whole_coordinators_leave_a_pointer_to_what_is_there(string[] first, string[] second)
    {
        var random = new Random(1);
        const int Orders = 1000;
        var operations = 0;
        for (var order = 0; order < Orders; order++)
        {
            var turns = new TurnTaking();
            var reports = await PrepareAsync(turns.Store);
            var digests = new string?[2];
            await turns.RunAsync(
                [.. new[] { first, second }.Select((closed, id) =>
                    (Func<IBlobStore, Task>)(async store => digests[id] = await WinAsync(() => CoordinateAsync(store, reports, closed))))],
                random.Next, () => { operations++; AssertPointed(turns); });
            AssertOneWon(turns, digests, same: first.Length == second.Length);
        }

        output.WriteLine($"{Orders} orders of {operations / Orders} operations");
    }

    private static async Task<string> CommitAsync(IBlobStore store, int round, string? previous, float value)
    {
        var log = new CommitLog(store, Job);
        if (await log.ReadAsync(default) is { } current && current.Round >= round) throw new CommitConflictException("Came too late.");
        var state = new AdapterState([new("A", new NamedArray([1], [value]))]);
        var shared = await store.WriteStateAsync(sha256 => Keys.Shared(Job, round, sha256), state, default);
        var optimizer = round == 0 ? null : await store.WriteStateAsync(sha256 => Keys.ServerOptimizer(Job, round, sha256), state, default);
        return await log.CommitAsync(new RoundManifest
        {
            Round = round, PlanSha256 = "plan", Previous = previous, Shared = shared.Digest(), ServerOptimizer = optimizer?.Digest(),
            Clients = [],
        }, default);
    }

    private static async Task<string?> WinAsync(Func<Task<string>> commit)
    {
        try
        {
            return await commit();
        }
        catch (CommitConflictException)
        {
            return null;
        }
    }

    private static OpenJob Open(IBlobStore store)
    {
        var trainer = new FakeTrainer();
        return new OpenJob(Job, Plan, new BlobRef(Keys.Plan(Job), RoundManifest.Digest(Encoding.UTF8.GetBytes(Yaml)), Yaml.Length), store,
            new SiloCache(new OneStore(store)), trainer, trainer.Engine);
    }

    private static async Task<ImmutableDictionary<string, KeptReport>> PrepareAsync(IBlobStore store)
    {
        var job = Open(store);
        await store.WriteBytesAsync(Keys.Plan(Job), Encoding.UTF8.GetBytes(Yaml), WriteCondition.Any, default);
        await job.ReadCommittedAsync(null, default);
        await CommitAsync(job, RoundState.Initial with { Attempt = 1 }, []);
        var reports = ImmutableDictionary.CreateBuilder<string, KeptReport>();
        foreach (var (client, i) in Plan.Plan.Clients.Select(static (client, i) => (client.Id, i)))
        {
            var update = await store.WriteStateAsync(Keys.Update(Job, 1, 1, client),
                new AdapterState([new("A", new NamedArray([4], [i, 1, 2, 3]))]), new Dictionary<string, string>(), default);
            reports[client] = new KeptReport
            {
                Update = update.Digest(), Head = new BlobDigest("head", 1), Optimizer = new BlobDigest("optimizer", 1), Samples = 1,
                Steps = 1,
            };
        }

        return reports.ToImmutable();
    }

    private static async Task<string> CoordinateAsync(IBlobStore store, ImmutableDictionary<string, KeptReport> reports, string[] closed)
    {
        var job = Open(store);
        await job.ReadCommittedAsync(null, default);
        if (job.Committed!.Round > 0) throw new CommitConflictException("Came too late.");
        var state = new RoundState
        {
            Committed = 0, CommittedSha256 = job.CommittedSha256, Round = 1, Attempt = 1,
            Cohort = [.. reports.Keys.Order(StringComparer.Ordinal)], Reports = reports,
        };
        var digest = await CommitAsync(job, state, closed);
        var cleaner = new UpdateCleaner(store, job, NullLogger<CoordinatorGrain>.Instance, default);
        await cleaner.CleanAsync(state);
        await cleaner.Cleaning;
        return digest;
    }

    private static async Task<string> CommitAsync(OpenJob job, RoundState state, string[] closed)
    {
        if (await job.AggregateAsync(state, closed, default) is not RoundEvent.Aggregated aggregated)
            throw new CommitConflictException("The other let the updates go.");
        var digest = await job.CommitAsync(
            state with { Closed = closed, Candidate = aggregated.Candidate, Phase = Phase.Committing }, default);
        await job.Log.RecordTimingAsync(state.Round, 1, null, default);
        return digest;
    }

    private static CurrentRound? AssertPointed(TurnTaking turns)
    {
        if (turns.Blob(Keys.Current(Job)) is not { } pointer) return null;
        var current = CurrentRound.Parse(pointer, "current.json");
        var manifest = RoundManifest.Parse(
            AssertThere(turns, Keys.Manifest(Job, current.Round, current.ManifestSha256), current.ManifestSha256), "manifest");
        AssertThere(turns, manifest.SharedOf(Job).Key, manifest.Shared.Sha256);
        AssertThere(turns, manifest.ServerOptimizerOf(Job)?.Key, manifest.ServerOptimizer?.Sha256);
        return current;
    }

    private static byte[] AssertThere(TurnTaking turns, string? key, string? sha256)
    {
        if (key is null) return [];
        var bytes = turns.Blob(key);
        Assert.True(bytes is not null, $"{key} is missing");
        Assert.Equal(sha256, RoundManifest.Digest(bytes));
        return bytes;
    }

    private static void AssertOneWon(TurnTaking turns, string?[] digests, bool same)
    {
        var won = digests.OfType<string>().ToArray();
        Assert.True(won.Length == 1 || (same && won.Length == 2), $"{won.Length} won");
        Assert.Equal([AssertPointed(turns)!.ManifestSha256], won.Distinct());
    }

    private sealed record OneStore(IBlobStore Job) : IBlobStores
    {
        public IBlobStore Site => Job;
    }
}
