using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Events;
using FedRLora.ControlPlane.Views;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests.Control;

/// <summary>A run of a thousand clients, each of a task of its own: what of it is kept and sent does not grow with their product.</summary>
public sealed class LargeRunTests(ITestOutputHelper output)
{
    private const int Clients = 1_000, Rounds = 200;

    [Fact]
    public async Task A_snapshot_is_small_however_many_tasks_there_are_and_a_grid_is_at_hand()
    {
        var before = GC.GetTotalMemory(forceFullCollection: true);
        await using var feed = new RunFeed(
            "large", new LongRun(), static _ => Task.FromResult<string?>(Plan()), TimeProvider.System,
            new() { FirstAnswer = TimeSpan.FromMinutes(5), Grace = TimeSpan.FromMinutes(5) });

        var watch = Stopwatch.StartNew();
        var view = await feed.ViewAsync(default);
        var took = watch.Elapsed;
        var bytes = JsonSerializer.SerializeToUtf8Bytes(view, Json.Lines).Length;
        watch.Restart();
        var grid = (await feed.ColumnsAsync(default)).Grid("large", GridValue.Loss, after: -1);
        var ofGrid = JsonSerializer.SerializeToUtf8Bytes(grid, Json.Lines).Length;
        var shown = watch.Elapsed;
        watch.Restart();
        var task = (await feed.ColumnsAsync(default)).Task("t00007", after: -1)!;
        var kept = GC.GetTotalMemory(forceFullCollection: true) - before;

        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"followed in {took.TotalSeconds:0.0} s, the process {kept / 1e6:+0.0;-0.0} MB; snapshot {bytes / 1e6:0.00} MB; "
            + $"grid {ofGrid / 1e6:0.00} MB in {shown.TotalMilliseconds:0} ms; a task in {watch.ElapsedMilliseconds} ms"));
        Assert.Equal((Rounds + 1, Clients), (view.Rounds.Count, view.Rounds[^1].Tasks!.Count));
        Assert.All(view.Rounds.SkipLast(1), static round => Assert.True(round is { Tasks: null, Kept: null }));
        Assert.InRange(bytes, 1, 1 << 20);
        Assert.Equal((Rounds + 1) * Clients * sizeof(float), grid.Values.Length);
        Assert.Equal((Rounds + 1, 7.5), (task.Rounds.Count, task.Rounds[^1].Loss.Mean));
    }

    private static string Plan()
    {
        var yaml = new StringBuilder($"name: large\nseed: 7\nmodel: {{path: none}}\nstrategy:\n  rounds: {Rounds}\nclients:\n");
        for (var client = 0; client < Clients; client++)
            yaml.Append(CultureInfo.InvariantCulture,
                $"  - {{id: c{client:D5}, task: t{client:D5}, site: s{client % 4}, data: {{train: a.jsonl, test: b.jsonl}}}}\n");
        return yaml.ToString();
    }

    // Tells all rounds as a coordinator does that a listener knows nothing of, message by message.
    private sealed class LongRun : IRunFollowingGrain
    {
        private static readonly string Tag = RunPosition.TagOf("large");

        public async Task<RunNews?> FollowAsync(RunPosition? after, TimeSpan patience, CancellationToken cancellationToken = default)
        {
            var first = (after?.Round ?? -1) + 1;
            if (first > Rounds)
            {
                await Task.Delay(Timeout.Infinite, cancellationToken);
                return null;
            }

            var last = Math.Min(Rounds, first + 49);
            List<RunEvent> events = [.. Enumerable.Range(first, last - first + 1).Select(static round =>
                new RunEvent { At = new(Tag, round, "a", 0), Round = Round(round) })];
            if (last == Rounds)
            {
                events.Add(new()
                {
                    At = new(Tag, last, "a", 1),
                    State = new()
                    {
                        JobId = "large", Name = "large", Status = JobStatus.Finished, Rounds = Rounds, Round = Rounds, Attempt = 1,
                        Phase = "idle", Reported = 0, Cohort = 0, NewRounds = [],
                    },
                });
            }

            return new() { Events = events, IsRestated = true, HasMore = last < Rounds };
        }

        public Task<IReadOnlyList<SiteAssignment>> CommittedAsync(CancellationToken cancellationToken = default) =>
            throw new NotSupportedException();

        private static RoundSummary Round(int round) => new()
        {
            ManifestSha256 = Sha256(round),
            Seconds = 12,
            Timing = new()
            {
                Attempts = 1, CommittedAt = DateTimeOffset.UnixEpoch.AddSeconds(round),
                ClientSeconds = Enumerable.Range(0, Clients).ToDictionary(
                    static client => $"c{client:D5}", static client => client / 100d, StringComparer.Ordinal),
            },
            Manifest = new()
            {
                Round = round, PlanSha256 = "plan", Previous = round == 0 ? null : Sha256(round - 1), Shared = new("shared", 1),
                Clients =
                [
                    .. Enumerable.Range(0, Clients).Select(static client => new ManifestClient
                    {
                        Id = $"c{client:D5}", Outcome = ClientOutcome.Trained, Weight = 1d / Clients, Update = new("update", 4_096),
                        Numbers = new() { Samples = 100, Steps = 10, MeanLoss = client + 0.5, ProductNorm = 1 },
                        Score = new() { Metric = "accuracy", Value = 0.5, Loss = 1, Rows = 40, StandardError = 0.01 },
                    }),
                ],
                Tasks =
                [
                    .. Enumerable.Range(0, Clients).Select(static task => new ManifestTask
                    {
                        Task = $"t{task:D5}", Round = 0, Version = 0, Shared = new("shared", 1), Kept = "None of its clients has trained.",
                    }),
                ],
            },
        };

        private static string Sha256(int round) => round.ToString("x64", CultureInfo.InvariantCulture);
    }
}
