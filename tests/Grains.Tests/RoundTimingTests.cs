using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

/// <summary>When and how rounds came to their commit: written down beside the manifest, never guessed, in no digest.</summary>
public sealed class RoundTimingTests : IDisposable
{
    private const string Job = "job";
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-timing-").FullName;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_round_says_its_parts_who_closed_it_and_how_long_each_client_took()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync(Job, TestFederation.Plan(clients: 3, rounds: 2), InTime);

        var rounds = (await federation.FinishAsync(Job, InTime)).NewRounds;
        Assert.Equal((1, null, null), (rounds[0].Timing!.Attempts, rounds[0].Timing!.ClosedBy, rounds[0].Timing!.DecidedBy));
        Assert.Empty(rounds[0].Timing!.ClientSeconds);
        Assert.Equal(["aggregate", "commit", "evaluate"], rounds[0].Timing!.Parts.Keys.Order(StringComparer.Ordinal));
        Assert.All(rounds.Skip(1), static round =>
        {
            var timing = round.Timing!;
            Assert.Equal((1, "all"), (timing.Attempts, timing.ClosedBy));
            Assert.Contains(timing.DecidedBy, timing.ClientSeconds.Keys);
            Assert.Equal(["c00000", "c00001", "c00002"], timing.ClientSeconds.Keys.Order(StringComparer.Ordinal));
            Assert.Superset(
                new HashSet<string>(["select", "train", "wait", "aggregate", "evaluate", "commit"]), timing.Parts.Keys.ToHashSet());
            Assert.Equal(timing.ClientSeconds.Values.Order().ElementAt(1), timing.Parts["train"]);
            Assert.InRange(timing.Parts.Values.Sum(), 0, round.Seconds);
        });
        var committed = rounds.Select(static round => round.Timing!.CommittedAt).ToList();
        Assert.Equal(committed.Order(), committed);
    }

    [Fact]
    public async Task What_is_written_down_is_read_to_the_last_digit_from_the_store_and_from_a_line()
    {
        await using var federation = await TestFederation.StartAsync(folder: _folder);
        await federation.RunAsync(Job, TestFederation.Plan(clients: 3, rounds: 1), InTime);
        var told = (await federation.FinishAsync(Job, InTime)).NewRounds[^1];

        var stored = await ReadAsync(federation.Store, round: 1);
        var line = RoundLine.Parse(Encoding.UTF8.GetString(RoundLine.Of(stored)), "line");

        Assert.All(new[] { stored, line }, other =>
        {
            Assert.Equal((told.Seconds, told.ManifestSha256), (other.Seconds, other.ManifestSha256));
            Assert.Equal(Text(told.Timing), Text(other.Timing));
        });
        var row = Assert.Single(MetricsText.Csv([RoundView.Of(told, PlanReader.Require(TestFederation.Plan(clients: 3), "plan"))])
            .Split("\r\n"), static row => row.StartsWith("1,c00001,", StringComparison.Ordinal));
        Assert.EndsWith(FormattableString.Invariant($",{told.Timing!.ClientSeconds["c00001"]}"), row, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_round_that_a_deadline_closed_says_so_and_the_silent_have_no_seconds()
    {
        var trainer = new FakeTrainer();
        trainer.BeforeTraining = static (group, token) => group.Round == 1 && group.Members.Any(static one => one.Client.Id == "c00003")
            ? Task.Delay(Timeout.Infinite, token) : Task.CompletedTask;
        await using var federation = await TestFederation.StartAsync(trainer: trainer);
        await federation.RunAsync(Job, TestFederation.Plan(
            clients: 4, rounds: 1, more: "training: {groupSize: 1}", strategy: "  quorum: 0.5\n  deadline: 2s"), InTime);

        var round = (await federation.FinishAsync(Job, InTime)).NewRounds[^1];
        Assert.Equal(("deadline", null), (round.Timing!.ClosedBy, round.Timing.DecidedBy));
        Assert.Equal(["c00000", "c00001", "c00002"], round.Timing.ClientSeconds.Keys.Order(StringComparer.Ordinal));
        Assert.True(round.Timing.Parts["wait"] > round.Timing.Parts["train"]);
        var aggregate = RoundAggregate.Of(RoundView.Of(round, PlanReader.Require(TestFederation.Plan(clients: 4), "plan")));
        Assert.Equal((3, 1), (aggregate.ClientSeconds.N, aggregate.ClientSeconds.LeftOut));
        Assert.Equal(("local", 3, 1), (aggregate.Sites.Single().Site, aggregate.Sites.Single().Trained, aggregate.Sites.Single().Late));
        Assert.Equal(aggregate.UpdateBytes, aggregate.Sites.Single().SentBytes);
    }

    [Fact]
    public async Task In_buffered_rounds_a_client_s_seconds_count_from_the_round_that_it_was_assigned_in()
    {
        var trainer = new FakeTrainer();
        var slow = new TaskCompletionSource();
        trainer.BeforeTraining = (group, token) => group.Members.Single().Client.Id != "c00003" ? Task.CompletedTask
            : group.Round == 1 ? slow.Task.WaitAsync(token) : Task.CompletedTask;
        await using var federation = await TestFederation.StartAsync(trainer: trainer);
        var plan = TestFederation.Plan(clients: 4, rounds: 12, more: "training: {groupSize: 1}",
            strategy: "  trigger: {rule: buffered, bufferSize: 2}");
        await federation.Coordinator(Job).SubmitAsync(plan, InTime);
        while ((await federation.Coordinator(Job).GetProgressAsync(0, InTime))!.NewRounds.Count < 2) await Task.Yield();
        slow.SetResult();

        var rounds = (await federation.FinishAsync(Job, InTime)).NewRounds;
        Assert.All(rounds.Skip(1), static round => Assert.Equal(
            round.Manifest.Clients.Where(static client => client.Outcome == ClientOutcome.Trained).Select(static client => client.Id),
            round.Timing!.ClientSeconds.Keys.Order(StringComparer.Ordinal)));
        var carried = rounds.First(static round => round.Timing!.ClientSeconds.ContainsKey("c00003"));
        var before = rounds.Where(round => round.Manifest.Round > 0 && round.Manifest.Round < carried.Manifest.Round).ToList();
        Assert.True(before.Count >= 2);
        Assert.True(carried.Timing!.ClientSeconds["c00003"] > before.Skip(1).Sum(static round => round.Seconds));
    }

    [Fact]
    public async Task A_process_that_dies_between_a_commit_and_its_timing_leaves_null_and_nothing_else_behind()
    {
        var plan = TestFederation.Plan(clients: 2, rounds: 3);
        using var directory = new DirectoryBlobStore(_folder);
        var store = new FaultInjectingStore(directory) { CrashIn = ($"write {Keys.Timing(Job, 1)}", 1, CrashMode.Before) };
        await using (var dying = await TestFederation.StartAsync(folder: _folder, store: store))
        {
            await dying.Coordinator(Job).SubmitAsync(plan, InTime);
            await store.Crashed.WaitAsync(InTime);
            foreach (var silo in dying.Cluster.Silos.ToArray()) await dying.Cluster.KillSiloAsync(silo);
        }

        await using var federation = await TestFederation.StartAsync(folder: _folder, store: directory);
        var rounds = (await federation.FinishAsync(Job, InTime)).NewRounds;

        Assert.Equal([0, 1, 2, 3], rounds.Select(static round => round.Manifest.Round));
        Assert.Equal([true, false, true, true], rounds.Select(static round => round.Timing is not null));
        var view = RoundView.Of(rounds[1], PlanReader.Require(plan, "plan"));
        var line = JsonDocument.Parse(MetricsText.JsonLine(view)).RootElement;
        foreach (var told in new[] { line, line.GetProperty("summary") })
            Assert.False(told.TryGetProperty("seconds", out _) || told.TryGetProperty("timing", out _));
        Assert.Equal((0, 2), (RoundAggregate.Of(view).ClientSeconds.N, RoundAggregate.Of(view).ClientSeconds.LeftOut));
        Assert.All(MetricsText.Csv([view]).Split("\r\n").Skip(1).Where(static row => row.Length > 0),
            static row => Assert.EndsWith(",", row, StringComparison.Ordinal));
        Assert.DoesNotContain("\"seconds\"", Encoding.UTF8.GetString(RoundLine.Of(rounds[1])), StringComparison.Ordinal);
        Assert.Equal(0, RoundLine.Parse(Encoding.UTF8.GetString(RoundLine.Of(rounds[1])), "line").Seconds);
    }

    [Fact]
    public async Task The_document_of_an_older_version_says_its_seconds_and_nothing_else()
    {
        await using var federation = await TestFederation.StartAsync(folder: _folder);
        await federation.RunAsync(Job, TestFederation.Plan(clients: 1, rounds: 1), InTime);
        await federation.Store.WriteDocumentAsync(
            Keys.Timing(Job, 1), SealedJson.Seal("{\n  \"seconds\": 1.5\n}"u8), InTime);

        var read = await ReadAsync(federation.Store, round: 1);

        Assert.Equal((1.5, null), (read.Seconds, read.Timing));
    }

    private static async Task<RoundSummary> ReadAsync(IBlobStore store, int round)
    {
        var log = new CommitLog(store, Job);
        var current = await log.ReadAsync(InTime);
        var (manifest, sha256) = (await log.ManifestsAsync(round, round, current!, InTime)).Single();
        return await log.SummaryAsync(manifest, sha256, InTime);
    }

    private static string Text(RoundTiming? timing) => JsonSerializer.Serialize(timing is null ? null : timing with
    {
        Parts = new SortedDictionary<string, double>(timing.Parts.ToDictionary()),
        ClientSeconds = new SortedDictionary<string, double>(timing.ClientSeconds.ToDictionary()),
    });
}
