using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests.PowerCuts;

/// <summary>
/// Every step that a run of five rounds takes on its disks is written down; then the power is cut after each of them, on paper, and
/// what the disks would hold is laid out, checked and gone on from. The job and its site have a disk each, so that either can lose
/// its power alone. All states are checked; a seeded sample of them is gone on from, with FEDRLORA_SOAK set every one.
/// </summary>
public sealed class PowerCutTests(ITestOutputHelper output) : IDisposable
{
    private const string Job = "job";
    private const int Rounds = 5;
    private const int Sampled = 24;
    private static readonly string[] Disks = ["job", "site"];
    private static readonly string Plan = TestFederation.Plan(clients: 3, rounds: Rounds,
        more: "training: {groupSize: 2}\ncheckpoints: {keepLast: 2}");
    private readonly string _root = Directory.CreateTempSubdirectory("fedrlora-power-").FullName;
    private int _laidOut;

    private static bool Soak => Environment.GetEnvironmentVariable("FEDRLORA_SOAK") is { Length: > 0 };

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task A_power_cut_after_any_step_loses_nothing_that_was_committed()
    {
        var watch = Stopwatch.StartNew();
        var (steps, expected) = await RecordAsync();
        var cuts = Cuts(steps).ToArray();
        var wrong = new List<string>();
        foreach (var cut in cuts)
        {
            if (await ProblemAsync(cut) is { } problem) wrong.Add($"{cut}: {problem}");
        }

        var states = cuts.DistinctBy(static cut => (cut.Digest, cut.Seen >= -1)).ToArray();
        if (!Soak) new Random(1).Shuffle(states);
        foreach (var cut in Soak ? states : states.Take(Sampled))
        {
            if (await GoOnAsync(cut, expected) is { } problem) wrong.Add($"{cut}, going on: {problem}");
        }

        output.WriteLine($"{steps.Count} steps, {cuts.Length} cuts checked, {(Soak ? states.Length : Math.Min(Sampled, states.Length))} of "
            + $"{states.Length} different states gone on from, {watch.Elapsed.TotalSeconds:0.0} s");
        Assert.True(wrong.Count == 0, $"{wrong.Count}:\n{string.Join('\n', wrong.Take(20))}");
    }

    [Fact]
    public async Task Without_any_single_flush_some_power_cut_loses_something()
    {
        var watch = Stopwatch.StartNew();
        var (steps, expected) = await RecordAsync();
        var flushes = Enumerable.Range(0, steps.Count).Where(index => steps[index].Step is DiskStep.Flush or DiskStep.FlushFile).ToArray();
        var unneeded = new List<string>();
        foreach (var flush in flushes)
        {
            var (name, loss) = (Name(steps, flush), await LossWithoutAsync(steps, flush, expected));
            output.WriteLine($"{name}: {loss ?? "not needed"}");
            if (loss is null) unneeded.Add(name);
        }

        output.WriteLine($"{flushes.Length} flushes, {watch.Elapsed.TotalSeconds:0.0} s");
        Assert.NotEmpty(flushes);
        Assert.True(unneeded.Count == 0, $"Not needed:\n{string.Join('\n', unneeded)}");
    }

    // What is lost first where one flush does nothing; null where nothing is.
    private async Task<string?> LossWithoutAsync(IReadOnlyList<(string Disk, DiskStep Step)> steps, int flush, string expected)
    {
        var without = steps.Where((_, index) => index != flush).ToArray();
        var cuts = Cuts(without).Where(cut => cut.After >= flush).ToArray();
        foreach (var cut in cuts)
        {
            if (await ProblemAsync(cut) is { } problem) return $"{cut}: {problem}";
        }

        foreach (var cut in cuts.DistinctBy(static cut => cut.Digest))
        {
            if (await GoOnAsync(cut, expected) is { } problem) return $"{cut}, going on: {problem}";
        }

        return null;
    }

    private static string Name(IReadOnlyList<(string Disk, DiskStep Step)> steps, int flush)
    {
        var what = steps[flush].Step is DiskStep.FlushFile file ? "the file that becomes "
            + $"{steps.Skip(flush).Select(static step => step.Step).OfType<DiskStep.Rename>().First(rename => rename.From == file.Path).To}"
            : "everything";
        return $"step {flush}, disk {steps[flush].Disk}, {what}";
    }

    private async Task<(IReadOnlyList<(string Disk, DiskStep Step)> Steps, string Digest)> RecordAsync()
    {
        var trace = new DiskTrace();
        using var job = Recorded("job");
        using var site = Recorded("site");
        var trainer = new FakeTrainer { BeforeTraining = (group, _) => { trace.See(group.Round - 1); return Task.CompletedTask; } };
        var accepted = new TaskCompletionSource();
        await using var federation = await TestFederation.StartAsync(folder: _root, trainer: trainer, store: job, siteStore: site,
            around: fake => new AcceptedFirst(fake, accepted.Task));
        await federation.Coordinator(Job).SubmitAsync(Plan, InTime);
        trace.See(-1);
        accepted.SetResult();
        var over = await federation.FinishAsync(Job, InTime);
        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        trace.See(Rounds);
        return (trace.Steps, over.NewRounds[^1].ManifestSha256);

        DirectoryBlobStore Recorded(string name) =>
            new(Path.Combine(_root, $"recorded-{name}"), StoreMode.Private, Durability.Full,
                (root, mode) => new RecordingDisk(LocalDisk.Open(root, mode), root, name, trace));
    }

    // After each step the disks that lose power, with no change of names since the last flush, all, and some first part of them.
    private static IEnumerable<Cut> Cuts(IReadOnlyList<(string Disk, DiskStep Step)> steps)
    {
        var states = Disks.ToDictionary(static disk => disk, static _ => new DiskState());
        var (seen, random) = (-2, new Random(1));
        for (var after = 0; after < steps.Count; after++)
        {
            var (disk, step) = steps[after];
            if (step is DiskStep.Seen now) seen = Math.Max(seen, now.Round);
            else states[disk].Take(step);
            foreach (var lost in new[] { Disks, ["job"], ["site"] })
            {
                var most = lost.Max(name => states[name].Unflushed);
                foreach (var part in new[] { 0.0, 1.0, random.NextDouble() }.Take(most > 1 ? 3 : most + 1))
                {
                    var held = Disks.ToDictionary(static name => name,
                        name => lost.Contains(name) ? states[name].Cut((int)(part * states[name].Unflushed)) : states[name].Whole());
                    yield return new Cut(after, lost, part, seen, held);
                }
            }
        }
    }

    private static Task<string?> ProblemAsync(Cut cut) =>
        ProblemAsync(new HeldStore(cut.Held["job"]), new HeldStore(cut.Held["site"]), cut.Seen);

    // Lays out what the disks hold and goes on from it.
    private async Task<string?> GoOnAsync(Cut cut, string expected)
    {
        var folder = Path.Combine(_root, $"cut-{_laidOut++}");
        foreach (var (disk, files) in cut.Held)
        {
            var root = Directory.CreateDirectory(Path.Combine(folder, disk)).FullName;
            foreach (var (path, bytes) in files)
            {
                Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(root, path))!);
                await File.WriteAllBytesAsync(Path.Combine(root, path), bytes);
            }
        }

        try
        {
            using var job = new DirectoryBlobStore(Path.Combine(folder, "job"));
            using var site = new DirectoryBlobStore(Path.Combine(folder, "site"));
            return await GoOnAsync(job, site, cut.Seen, expected);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<string?> ProblemAsync(IBlobStore job, IBlobStore site, int seen)
    {
        if (seen < -1) return null; // whoever was not answered submits again
        try
        {
            if (await job.ReadBytesAsync(Keys.IndexOf(Job), InTime) is not { Length: > 0 }) return "the run is in no list";
            if (await new RunVerifier(job, site, Job).VerifyAsync(InTime) is not { } report) return "the run is gone";
            // A job that is not over writes its adapters again.
            if (report.Broken.FirstOrDefault(
                finding => seen == Rounds || !finding.Key.Contains("/export/", StringComparison.Ordinal)) is { } finding)
                return $"broken: {finding}";
            return report.LastRound < seen ? $"round {seen} was seen, round {report.LastRound} is committed" : null;
        }
        catch (Exception e) when (e is BadInputException or CorruptBlobException)
        {
            return $"broken: {e.Message}";
        }
    }

    private async Task<string?> GoOnAsync(DirectoryBlobStore job, DirectoryBlobStore site, int seen, string expected)
    {
        try
        {
            await using (var federation = await TestFederation.StartAsync(folder: _root, store: job, siteStore: site))
            {
                var coordinator = federation.Coordinator(Job);
                if (await coordinator.GetProgressAsync(int.MaxValue - 1, InTime) is null)
                {
                    if (seen >= -1) return "the run is gone";
                    await coordinator.SubmitAsync(Plan, InTime); // as its user would
                }

                var over = await federation.FinishAsync(Job, InTime);
                if (over.Status != JobStatus.Finished) return $"{over.Status}: {over.Reason}";
                if (over.NewRounds[^1].ManifestSha256 is var digest && digest != expected) return $"digest {digest}, expected {expected}";
            }

            return await ProblemAsync(job, site, Rounds);
        }
        catch (Exception e) when (e is BadInputException or CorruptBlobException or OperationCanceledException
            || e.InnerException is CorruptBlobException)
        {
            return $"{e.GetType().Name}: {e.Message.Split('\n')[0]}";
        }
    }

    /// <summary>Round 0 begins when the world has seen that the job was accepted, so that the steps of a run come in one order.</summary>
    private sealed class AcceptedFirst(ITrainer inner, Task accepted) : ITrainer
    {
        private int _asked;

        public Task<EngineFingerprint> FingerprintAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
            inner.FingerprintAsync(plan, cancellationToken);

        public Task<int> GroupSizeAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
            inner.GroupSizeAsync(plan, cancellationToken);

        // Asked first to see whether the plan can be run, then for round 0.
        public Task<AdapterState> InitialOfTaskAsync(
            FederationPlan plan, string task, CancellationToken cancellationToken = default) =>
            inner.InitialOfTaskAsync(plan, task, cancellationToken);

        public async Task<AdapterState> InitialSharedAsync(FederationPlan plan, CancellationToken cancellationToken = default)
        {
            if (Interlocked.Increment(ref _asked) > 1) await accepted.WaitAsync(cancellationToken);
            return await inner.InitialSharedAsync(plan, cancellationToken);
        }

        public Task<IReadOnlyList<TrainingResult>> TrainAsync(TrainingGroup group, CancellationToken cancellationToken = default) =>
            inner.TrainAsync(group, cancellationToken);

        public Task<IReadOnlyList<EvaluationResult>> EvaluateAsync(TrainingGroup group, CancellationToken cancellationToken = default) =>
            inner.EvaluateAsync(group, cancellationToken);
    }

    /// <summary>A power cut, and what each disk holds after it.</summary>
    private sealed class Cut(int after, string[] lost, double part, int seen, Dictionary<string, IReadOnlyDictionary<string, byte[]>> held)
    {
        private readonly Lazy<string> _digest = new(() => DigestOf(held));

        /// <summary>The step after which the power is cut.</summary>
        public int After => after;

        /// <summary>The last round that the world has seen committed; -1: the job was accepted; -2: nothing.</summary>
        public int Seen => seen;

        public Dictionary<string, IReadOnlyDictionary<string, byte[]>> Held => held;

        /// <summary>The same for the same state.</summary>
        public string Digest => _digest.Value;

        public override string ToString() => $"after step {after}, {string.Join(" and ", lost)}, {part:P0} of the names kept";

        private static string DigestOf(Dictionary<string, IReadOnlyDictionary<string, byte[]>> held)
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            foreach (var (disk, files) in held)
            {
                foreach (var (path, bytes) in files.OrderBy(static file => file.Key, StringComparer.Ordinal))
                {
                    if (path.StartsWith(".tmp", StringComparison.Ordinal)) continue; // nobody looks there
                    hash.AppendData(Encoding.UTF8.GetBytes($"{disk} {path} {bytes.Length}\n"));
                    hash.AppendData(bytes);
                }
            }

            return Convert.ToHexStringLower(hash.GetHashAndReset());
        }
    }
}
