using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Grains.Tests;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>A finished run of three rounds, made once; every test damages a copy.</summary>
public sealed class DamagedRuns : IAsyncLifetime
{
    internal TinyFederation Tiny { get; } = new();

    private int _copies;

    /// <summary>What resume prints of the undisturbed run.</summary>
    public string Digest { get; private set; } = "";

    private string Original => Path.Combine(Tiny.Root, "original");

    public async Task InitializeAsync()
    {
        var made = await CommandLine.RunAsync("simulate", Tiny.WritePlan(strategy: "rounds: 3"), "--out", Original);
        Assert.Equal((0, ""), (made.Code, made.Error));
        Digest = made.Output.Split('\n').Single(static line => line.StartsWith("digest: ", StringComparison.Ordinal));
    }

    public Task DisposeAsync()
    {
        Tiny.Dispose();
        return Task.CompletedTask;
    }

    /// <summary>A copy of the run in a folder of its own.</summary>
    public string Copy()
    {
        var copy = Path.Combine(Tiny.Root, $"run-{Interlocked.Increment(ref _copies)}");
        foreach (var file in Directory.GetFiles(Original, "*", SearchOption.AllDirectories))
        {
            var target = Path.Combine(copy, Path.GetRelativePath(Original, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }

        return copy;
    }
}

public sealed class RepairTests(DamagedRuns runs) : IClassFixture<DamagedRuns>
{
    /// <summary>What is damaged, the file that the refusal names, and the round that the repaired run is on.</summary>
    public static TheoryData<string, string, int> Damages => new()
    {
        { "pointer missing", "current.json", 3 },
        { "pointer empty", "current.json", 3 },
        { "pointer truncated", "current.json", 3 },
        { "pointer of another version", "current.json", 3 },
        { "pointer to nothing", "rounds/3/manifest-", 3 },
        { "pointer far ahead", "rounds/2000000000/manifest-", 3 },
        { "pointer and last manifest missing", "current.json", 2 },
        { "last manifest missing", "rounds/3/manifest-", 2 },
        { "last manifest truncated", "rounds/3/manifest-", 2 },
        { "last manifest empty", "rounds/3/manifest-", 2 },
        { "middle manifest missing", "rounds/1/manifest-", 0 },
        { "first manifest truncated", "rounds/0/manifest-", -1 },
        { "shared missing", "rounds/3/shared-", 2 },
        { "shared truncated", "rounds/3/shared-", 2 },
        { "head missing", "clients/one/3/head.safetensors", 2 },
        { "optimizer missing", "clients/two/3/optimizer.safetensors", 2 },
        { "fingerprint missing", "fingerprint.json", 3 },
        { "fingerprint truncated", "fingerprint.json", 3 },
        { "fingerprint of another version", "fingerprint.json", 3 },
        { "notes truncated", "grains/job/tiny.json", 3 },
        { "inputs missing", "jobs/tiny/inputs.json", 3 },
        { "inputs truncated", "jobs/tiny/inputs.json", 3 },
        { "timing truncated", "rounds/2/timing.json", 3 },
        { "stored plan missing", "jobs/tiny/plan.yaml", 3 },
        { "stored plan truncated", "jobs/tiny/plan.yaml", 3 },
        { "plan missing", "plan.yaml", 3 },
        { "plan truncated", "plan.yaml", 3 },
        { "plan edited", "plan.yaml", 3 },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task A_damaged_run_is_refused_by_name_then_repaired_and_ends_as_the_undisturbed_one(string damage, string file, int round)
    {
        var run = runs.Copy();
        Damage(run, damage);
        var before = Snapshot(run);

        foreach (var command in new[] { new[] { "resume", run }, ["extend", run, "--rounds", "4"] })
        {
            var refused = await CommandLine.RunAsync(command);
            var line = Assert.Single(refused.ErrorLines);
            Assert.True(refused.Code == 2 && refused.Output == "", $"{refused.Code}: {refused.Output}{refused.Error}");
            Assert.Contains(file, line, StringComparison.Ordinal);
            Assert.Contains(damage == "timing truncated" ? "delete it" : "repair", line, StringComparison.Ordinal);
            Assert.Equal(before, Snapshot(run));
        }

        var dry = await CommandLine.RunAsync("repair", run, "--dry-run");
        Assert.Equal(before, Snapshot(run));
        var repaired = await CommandLine.RunAsync("repair", run);
        if (round < 0)
        {
            Assert.Equal((1, 1), (dry.Code, repaired.Code));
            Assert.Contains("no round holds; nothing is changed", repaired.Error, StringComparison.Ordinal);
            Assert.Equal(before, Snapshot(run));
            return;
        }

        Assert.Equal((0, "", 0, ""), (dry.Code, dry.Error, repaired.Code, repaired.Error));
        Assert.Contains(damage == "pointer to nothing" ? "current.json named round 3" : file.Split('/')[^1], repaired.Output,
            StringComparison.Ordinal);
        Assert.Equal("tiny: nothing to repair\n", (await CommandLine.RunAsync("repair", run)).Output);
        var verified = await CommandLine.RunAsync("verify", run);
        Assert.Equal((0, ""), (verified.Code, verified.Error));
        Assert.StartsWith(round == 1 ? "tiny: 1 round," : $"tiny: {round} rounds,", verified.Output, StringComparison.Ordinal);
        var resumed = await CommandLine.RunAsync("resume", run);
        Assert.Equal((0, ""), (resumed.Code, resumed.Error));
        Assert.Contains(runs.Digest, resumed.Output.Split('\n'));
        Assert.Equal(0, (await CommandLine.RunAsync("verify", run)).Code);
    }

    [Theory]
    [InlineData("export")]
    [InlineData("gc")]
    [InlineData("fork", "--round", "1", "--out", "OUT")]
    [InlineData("eval", "--run")]
    public async Task Whatever_looks_at_a_run_whose_pointer_is_lost_refuses_it(string command, params string[] more)
    {
        var run = runs.Copy();
        Damage(run, "pointer missing");
        var before = Snapshot(run);
        string[] args = more is ["--run"]
            ? [command, "--run", run]
            : [command, run, .. more.Select(word => word == "OUT" ? run + ".fork" : word)];

        var refused = await CommandLine.RunAsync(args);

        Assert.Equal(2, refused.Code);
        Assert.Matches("^jobs/tiny/current.json is missing, but .* shows that rounds were committed; .*fedrlora repair",
            Assert.Single(refused.ErrorLines));
        Assert.Equal(before, Snapshot(run));
        Assert.False(Directory.Exists(run + ".fork"));
    }

    [Fact]
    public async Task There_is_nothing_to_repair_in_an_intact_run()
    {
        var run = runs.Copy();
        var before = Snapshot(run);

        var repaired = await CommandLine.RunAsync("repair", run);

        Assert.Equal((0, "tiny: nothing to repair\n", ""), (repaired.Code, repaired.Output, repaired.Error));
        Assert.Equal(before, Snapshot(run));
    }

    [Fact]
    public async Task Repair_says_which_heads_were_collected()
    {
        var run = runs.Copy();
        Assert.Equal(0, (await CommandLine.RunAsync("gc", run)).Code);
        File.Delete(Path.Combine(run, "store", StoredRounds.Manifest(Path.Combine(run, "store"), "tiny", 3)));
        File.Delete(Path.Combine(run, "store", StoredRounds.Shared(Path.Combine(run, "store"), "tiny", 2)));

        var repaired = await CommandLine.RunAsync("repair", run);

        Assert.Equal(0, repaired.Code); // round 0 has no heads
        Assert.Matches("tiny: round 3 is dropped: jobs/tiny/rounds/3/manifest-[0-9a-f]{64}.json is missing\n", repaired.Output);
        Assert.Matches("tiny: round 2 is dropped: jobs/tiny/rounds/2/shared-[0-9a-f]{64}.safetensors is missing\n", repaired.Output);
        Assert.Contains("tiny: round 1 is dropped: sites/local/jobs/tiny/clients/one/1/head.safetensors is missing: "
            + "heads of client one were collected; the plan's checkpoints.keepEvery keeps those of every n-th round\n",
            repaired.Output, StringComparison.Ordinal);
        Assert.Contains($"Go on with: fedrlora resume {run}\n", repaired.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("shared-")]
    [InlineData("manifest-")]
    [InlineData("")]
    public async Task A_run_that_goes_back_misses_no_state_that_its_plan_let_go(string lost)
    {
        using var tiny = new TinyFederation();
        var plan = tiny.WritePlan(strategy: "rounds: 4");
        await File.AppendAllTextAsync(plan, "checkpoints: {keepLast: 2}\n");
        var run = Path.Combine(tiny.Root, "run");
        var whole = await CommandLine.RunAsync("simulate", plan, "--out", run);
        Assert.Equal((0, ""), (whole.Code, whole.Error));
        foreach (var file in Directory.GetFiles(Path.Combine(run, "store/jobs/tiny/rounds/4"), $"{lost}*")) File.Delete(file);

        var repaired = await CommandLine.RunAsync("repair", run);

        Assert.Equal((0, ""), (repaired.Code, repaired.Error));
        Assert.Contains("it is put on round 3", repaired.Output, StringComparison.Ordinal);
        Assert.Equal(0, (await CommandLine.RunAsync("verify", run)).Code);
        var resumed = await CommandLine.RunAsync("resume", run);
        Assert.Equal((0, ""), (resumed.Code, resumed.Error));
        Assert.Contains(whole.Output.Split('\n').Single(static line => line.StartsWith("digest: ", StringComparison.Ordinal)),
            resumed.Output, StringComparison.Ordinal);
        Assert.Equal(0, (await CommandLine.RunAsync("verify", run)).Code);
    }

    [Fact]
    public async Task A_store_of_silos_is_repaired_by_the_id_of_a_run()
    {
        var run = runs.Copy();
        Damage(run, "last manifest missing");

        var repaired = await CommandLine.RunAsync("repair", "--store", Path.Combine(run, "store"), "--job", "tiny");

        Assert.Equal((0, ""), (repaired.Code, repaired.Error));
        Assert.Contains("it is put on round 2", repaired.Output, StringComparison.Ordinal);
        Assert.Equal(2, (await CommandLine.RunAsync("repair", "--store", Path.Combine(run, "store"), "--job", "another")).Code);
        Assert.Equal(2, (await CommandLine.RunAsync("repair", run, "--job", "tiny")).Code);
    }

    [Fact]
    public async Task A_run_in_use_is_not_repaired()
    {
        var run = runs.Copy();
        Damage(run, "pointer missing");
        using var held = new FileStream(Path.Combine(run, ".lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);

        Assert.Equal((2, $"{run} is in use by another process\n"),
            (await CommandLine.RunAsync("repair", run)) is var refused ? (refused.Code, refused.Error) : default);
    }

    [Theory]
    [InlineData("no store", "store is missing")]
    [InlineData("no job", "store/jobs/tiny")]
    [InlineData("no job nor notes", "store/jobs/tiny")]
    [InlineData("no rounds", "current.json")]
    [InlineData("no record", "run.json is missing")]
    [InlineData("empty record", "run.json")]
    [InlineData("half a record", "run.json")]
    [InlineData("record of another run", "plan.yaml is the plan of tiny")]
    public async Task Half_a_run_folder_is_never_begun_again(string damage, string named)
    {
        var run = runs.Copy();
        var (store, record) = (Path.Combine(run, "store"), Path.Combine(run, "run.json"));
        switch (damage)
        {
            case "no store": Directory.Delete(store, recursive: true); break;
            case "no job": Directory.Delete(Path.Combine(store, "jobs", "tiny"), recursive: true); break;
            case "no job nor notes":
                Directory.Delete(Path.Combine(store, "jobs", "tiny"), recursive: true);
                Directory.Delete(Path.Combine(store, "grains"), recursive: true);
                break;
            case "no rounds":
                Directory.Delete(Path.Combine(store, "jobs", "tiny", "rounds"), recursive: true);
                File.Delete(Path.Combine(store, Keys.Current("tiny")));
                break;
            case "no record": File.Delete(record); break;
            case "empty record": File.WriteAllText(record, ""); break;
            case "half a record": File.WriteAllText(record, "{\"root\": \"/\""); break;
            default: File.WriteAllText(record, File.ReadAllText(record).Replace("\"tiny\"", "\"other\"", StringComparison.Ordinal)); break;
        }

        var before = Snapshot(run);

        var refused = await CommandLine.RunAsync("resume", run);

        Assert.Equal((2, ""), (refused.Code, refused.Output));
        Assert.Contains(damage.StartsWith("no job", StringComparison.Ordinal) ? "tiny" : named, Assert.Single(refused.ErrorLines),
            StringComparison.Ordinal);
        Assert.Equal(before, Snapshot(run));
    }

    [Theory]
    [InlineData("manifest missing", "origin/manifest.json is missing")]
    [InlineData("manifest truncated", "origin/manifest.json")]
    [InlineData("all missing", "origin/manifest.json is missing")]
    public async Task A_fork_that_was_not_copied_whole_is_no_run_without_an_origin(string damage, string named)
    {
        var fork = runs.Copy() + ".fork";
        Assert.Equal(0,
            (await CommandLine.RunAsync("fork", runs.Copy(), "--round", "3", "--set", "strategy.rounds=1", "--out", fork)).Code);
        var store = Path.Combine(fork, "store");
        var origin = Path.Combine(store, Keys.OriginManifest("tiny"));
        // as it was before its first round
        foreach (var folder in new[] { "jobs/tiny/rounds", "grains", "index" })
            Directory.Delete(Path.Combine(store, folder), recursive: true);
        foreach (var file in new[] { Keys.Current("tiny"), Keys.Plan("tiny"), Keys.Fingerprint("tiny") })
            File.Delete(Path.Combine(store, file));
        foreach (var result in new[] { "metrics.csv", "metrics.jsonl", "report.html" }) File.Delete(Path.Combine(fork, result));
        if (damage == "manifest missing") File.Delete(origin);
        else if (damage == "manifest truncated") File.WriteAllBytes(origin, File.ReadAllBytes(origin)[..100]);
        else Directory.Delete(Path.GetDirectoryName(origin)!, recursive: true);

        var refused = await CommandLine.RunAsync("resume", fork);

        Assert.Equal(2, refused.Code);
        Assert.Contains(named, Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(store, "jobs/tiny/rounds")));
    }

    [Fact]
    public async Task A_lost_entry_in_the_list_of_runs_comes_back()
    {
        var run = runs.Copy();
        File.Delete(Path.Combine(run, "store", Keys.IndexOf("tiny")));
        Assert.Contains("index/tiny", (await CommandLine.RunAsync("verify", run)).Error, StringComparison.Ordinal);

        Assert.Contains("index/tiny", (await CommandLine.RunAsync("repair", run)).Output, StringComparison.Ordinal);

        Assert.Equal(0, (await CommandLine.RunAsync("verify", run)).Code);
    }

    private static void Damage(string run, string damage)
    {
        var store = Path.Combine(run, "store");
        string Stored(string key) => Path.Combine(store, key);
        var pointer = Stored(Keys.Current("tiny"));
        switch (damage)
        {
            case "pointer missing": File.Delete(pointer); break;
            case "pointer empty": File.WriteAllText(pointer, ""); break;
            case "pointer truncated": Truncate(pointer); break;
            case "pointer of another version": File.WriteAllBytes(pointer, SealedJson.Seal("{\n  \"version\": 2\n}"u8)); break;
            case "pointer to nothing": WritePointer(pointer, 3); break;
            case "pointer far ahead": WritePointer(pointer, 2_000_000_000); break;
            case "pointer and last manifest missing":
                File.Delete(pointer);
                File.Delete(Stored(StoredRounds.Manifest(store, "tiny", 3)));
                break;
            case "last manifest missing": File.Delete(Stored(StoredRounds.Manifest(store, "tiny", 3))); break;
            case "last manifest truncated": Truncate(Stored(StoredRounds.Manifest(store, "tiny", 3))); break;
            case "last manifest empty": File.WriteAllText(Stored(StoredRounds.Manifest(store, "tiny", 3)), ""); break;
            case "middle manifest missing": File.Delete(Stored(StoredRounds.Manifest(store, "tiny", 1))); break;
            case "first manifest truncated": Truncate(Stored(StoredRounds.Manifest(store, "tiny", 0))); break;
            case "shared missing": File.Delete(Stored(StoredRounds.Shared(store, "tiny", 3))); break;
            case "shared truncated": Truncate(Stored(StoredRounds.Shared(store, "tiny", 3))); break;
            case "head missing": File.Delete(Stored(Keys.Head("tiny", "local", "one", 3))); break;
            case "optimizer missing": File.Delete(Stored(Keys.Optimizer("tiny", "local", "two", 3))); break;
            case "fingerprint missing": File.Delete(Stored(Keys.Fingerprint("tiny"))); break;
            case "fingerprint truncated": Truncate(Stored(Keys.Fingerprint("tiny"))); break;
            case "fingerprint of another version":
                File.WriteAllBytes(Stored(Keys.Fingerprint("tiny")), SealedJson.Seal("{\n  \"version\": 2\n}"u8));
                break;
            case "notes truncated": Truncate(Stored(Keys.Memory("tiny"))); break;
            case "inputs missing": File.Delete(Stored(Keys.Inputs("tiny"))); break;
            case "inputs truncated": Truncate(Stored(Keys.Inputs("tiny"))); break;
            case "timing truncated": Truncate(Stored(Keys.Timing("tiny", 2))); break;
            case "stored plan missing": File.Delete(Stored(Keys.Plan("tiny"))); break;
            case "stored plan truncated": Truncate(Stored(Keys.Plan("tiny"))); break;
            case "plan missing": File.Delete(Path.Combine(run, "plan.yaml")); break;
            case "plan truncated": Truncate(Path.Combine(run, "plan.yaml")); break;
            case "plan edited":
                File.WriteAllText(Path.Combine(run, "plan.yaml"),
                    File.ReadAllText(Path.Combine(run, "plan.yaml")).Replace("steps: ", "steps: 1", StringComparison.Ordinal));
                break;
            default: throw new ArgumentOutOfRangeException(nameof(damage), damage, null);
        }
    }

    [Fact]
    public async Task A_run_that_goes_back_behind_its_extension_is_told_that_its_digest_will_be_another_one()
    {
        var run = runs.Copy();
        Assert.Equal(0, (await CommandLine.RunAsync("extend", run, "--rounds", "4")).Code);
        var store = Path.Combine(run, "store");
        File.Delete(Path.Combine(store, StoredRounds.Manifest(store, "tiny", 3)));

        var repaired = await CommandLine.RunAsync("repair", run);

        Assert.Equal(0, repaired.Code);
        Assert.Contains("round 3 was made before the run was extended to 4 rounds", repaired.Output, StringComparison.Ordinal);
        Assert.Equal(0, (await CommandLine.RunAsync("resume", run)).Code);
        Assert.Equal(0, (await CommandLine.RunAsync("verify", run)).Code);
    }

    private static void WritePointer(string pointer, int round) =>
        File.WriteAllBytes(pointer,
            SealedJson.Seal(Encoding.UTF8.GetBytes($"{{\n  \"round\": {round},\n  \"manifestSha256\": \"{new string('0', 64)}\"\n}}")));

    private static void Truncate(string file)
    {
        var bytes = File.ReadAllBytes(file);
        File.WriteAllBytes(file, bytes[..(bytes.Length / 2)]);
    }

    private static IReadOnlyList<string> Snapshot(string run) => [.. Directory.GetFiles(run, "*", SearchOption.AllDirectories)
        .Where(file => !Path.GetRelativePath(run, file).Split('/').Any(static part => part[0] == '.'))
        .Select(file => $"{file} {Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file)))}").Order(StringComparer.Ordinal)];
}
