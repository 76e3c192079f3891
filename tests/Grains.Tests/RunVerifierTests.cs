using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Jobs;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests;

/// <summary>A finished run of three rounds at two sites, made once; every test looks at a copy of its own.</summary>
public sealed class FinishedRun : IAsyncLifetime
{
    public const string Job = "job";

    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-finished-").FullName;

    /// <summary>The digest of the run.</summary>
    public string Digest { get; private set; } = "";

    public async Task InitializeAsync()
    {
        await using var federation = await TestFederation.StartAsync(folder: _folder);
        Digest = await federation.RunAsync(Job, TestFederation.Plan(clients: 4, rounds: 3, site: static i => i < 2 ? "north" : "south"),
            new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token);
    }

    public Task DisposeAsync()
    {
        Directory.Delete(_folder, recursive: true);
        return Task.CompletedTask;
    }

    internal string CopyTo(string folder)
    {
        foreach (var file in Directory.EnumerateFiles(_folder, "*", SearchOption.AllDirectories)
            .Where(file => !Path.GetRelativePath(_folder, file).StartsWith('.')))
        {
            var copy = Path.Combine(folder, Path.GetRelativePath(_folder, file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }

        return folder;
    }
}

public sealed class RunVerifierTests : IClassFixture<FinishedRun>, IDisposable
{
    private const string Job = FinishedRun.Job;
    private readonly ITestOutputHelper _output;
    private readonly FinishedRun _run;
    private readonly string _folder;
    private readonly DirectoryBlobStore _store;

    public RunVerifierTests(FinishedRun run, ITestOutputHelper output)
    {
        (_run, _output) = (run, output);
        _folder = run.CopyTo(Directory.CreateTempSubdirectory("fedrlora-verify-").FullName);
        _store = new DirectoryBlobStore(_folder);
    }

    public void Dispose()
    {
        _store.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    [Fact]
    public async Task Every_blob_of_an_undisturbed_run_is_accounted_for()
    {
        var keys = await KeysAsync();

        var report = await VerifyAsync();

        Assert.Equal((3, _run.Digest, keys.Count), (report.LastRound, report.Digest, report.Intact));
        Assert.Empty(report.Broken);
        Assert.Empty(report.Unchecked.Concat(report.Leftovers).Concat(report.OtherSites));
    }

    /// <summary>First, middle and last byte of each blob; with FEDRLORA_SOAK set every seventh byte too.</summary>
    [Fact]
    public async Task One_flipped_byte_in_any_blob_is_found_and_nothing_else_is_blamed()
    {
        var soak = Environment.GetEnvironmentVariable("FEDRLORA_SOAK") is { Length: > 0 };
        var (blobs, flips, random) = (0, 0, new Random(7));
        foreach (var key in await KeysAsync())
        {
            var path = Path.Combine(_folder, key);
            var bytes = await File.ReadAllBytesAsync(path);
            IEnumerable<int> places = [0, bytes.Length / 2, bytes.Length - 1];
            if (soak) places = places.Concat(Enumerable.Range(0, bytes.Length).Where(static i => i % 7 == 0));
            foreach (var place in places.Distinct())
            {
                var flipped = bytes.ToArray();
                flipped[place] ^= (byte)(1 << random.Next(8));
                await File.WriteAllBytesAsync(path, flipped);

                var report = await VerifyAsync();

                var found = Assert.Single(report.Broken);
                Assert.True(found.Key == key && found.Expected is not null && found.Found is not null, $"{key}, byte {place}: {found}");
                Assert.Empty(report.Leftovers);
                flips++;
            }

            await File.WriteAllBytesAsync(path, bytes);
            blobs++;
        }

        _output.WriteLine($"{flips} flipped bytes in {blobs} blobs");
    }

    [Fact]
    public async Task One_flipped_byte_in_any_blob_of_an_extended_fork_is_found_too()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-fork-").FullName;
        await using (var federation = await TestFederation.StartAsync(folder: folder))
        {
            static string Plan(int rounds) => TestFederation.Plan(clients: 3, rounds: rounds, site: static i => i < 2 ? "north" : "south");
            await federation.RunAsync("source", Plan(2), InTime);
            await federation.Coordinator(Job).ForkAsync("source", 2, Plan(1), cancellationToken: InTime);
            await federation.FinishAsync(Job, InTime);
            await federation.Coordinator(Job).ExtendAsync(Plan(2), cancellationToken: InTime);
            Assert.Equal(JobStatus.Finished, (await federation.FinishAsync(Job, InTime)).Status);
        }

        using var store = new DirectoryBlobStore(folder);
        var verifier = new RunVerifier(store, store, Job);
        var clean = (await verifier.VerifyAsync(InTime))!;
        Assert.Empty(clean.Broken.Select(static one => one.Key).Concat(clean.Unchecked).Concat(clean.Leftovers));
        var keys = Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Select(path => Path.GetRelativePath(folder, path))
            .Where(static key => key[0] != '.' && key.Split('/').Any(static part => part is Job or Job + ".json")
                && !key.Contains("source", StringComparison.Ordinal)).ToList();
        Assert.Equal(clean.Intact, keys.Count);
        foreach (var path in keys.Select(key => Path.Combine(folder, key)))
        {
            var bytes = await File.ReadAllBytesAsync(path);
            bytes[bytes.Length / 2] ^= 4;
            await File.WriteAllBytesAsync(path, bytes);
            var found = Assert.Single((await verifier.VerifyAsync(InTime))!.Broken);
            Assert.Equal(Path.GetRelativePath(folder, path), found.Key);
            bytes[bytes.Length / 2] ^= 4;
            await File.WriteAllBytesAsync(path, bytes);
        }

        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData("fingerprint.json")]
    [InlineData("current.json")]
    [InlineData("plan.yaml")]
    [InlineData("manifest 3")]
    [InlineData("manifest 2")]
    [InlineData("manifest 0")]
    [InlineData("rounds/3/timing.json")]
    [InlineData("notes")]
    public async Task The_program_itself_refuses_a_changed_document_by_name(string document)
    {
        var key = document == "notes" ? Keys.Memory(Job)
            : document.StartsWith("manifest ", StringComparison.Ordinal) ? Manifest(document[^1] - '0')
            : Keys.Job(Job) + document;
        await FlipAsync(key, document == "plan.yaml" ? 7 : 12); // a letter of the plan's name: still a plan
        await using var federation = await TestFederation.StartAsync(folder: _folder);

        var refused = await Record.ExceptionAsync(() => federation.Coordinator(Job).GetProgressAsync(-1, InTime));

        var all = new List<Exception>();
        for (var e = refused; e is not null; e = e.InnerException) all.Add(e);
        var corrupt = Assert.Single(all.OfType<CorruptBlobException>());
        Assert.StartsWith(key, corrupt.Message, StringComparison.Ordinal);
        Assert.Equal(2, corrupt.Message.Split(' ', ',', '.', ':', ';').Count(static word => word.Length == 64));
    }

    [Theory]
    [InlineData("current.json")]
    [InlineData("notes")]
    public async Task A_run_that_is_refused_keeps_nobody_from_the_others(string document)
    {
        var key = document == "notes" ? Keys.Memory(Job) : Keys.Job(Job) + document;
        await FlipAsync(key, 12);
        await using var federation = await TestFederation.StartAsync(folder: _folder);
        await federation.RunAsync("later", TestFederation.Plan(clients: 1, rounds: 1), InTime);
        await _store.WriteBytesAsync(Keys.IndexOf(Job), JobsGrain.Running.ToArray(), WriteCondition.Any, InTime);
        var jobs = federation.Cluster.Client.GetGrain<IJobsGrain>(Keys.Jobs);

        await jobs.ReviveAsync(InTime);
        var listed = await jobs.ListAsync(InTime);

        Assert.Equal([(Job, JobStatus.Failed), ("later", JobStatus.Finished)], listed.Select(static job => (job.JobId, job.Status)));
        Assert.StartsWith(key, listed[0].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_oldest_broken_link_comes_first()
    {
        await FlipAsync(Shared(0), 3);
        await FlipAsync(Manifest(2), 3);
        await FlipAsync(Keys.Fingerprint(Job), 3);

        Assert.Equal([Keys.Fingerprint(Job), Manifest(2), Shared(0)], (await VerifyAsync()).Broken.Select(static finding => finding.Key));
    }

    [Fact]
    public async Task A_missing_manifest_is_named_with_the_digest_it_had()
    {
        var key = Manifest(1);
        var digest = RoundManifest.Digest(await File.ReadAllBytesAsync(Path.Combine(_folder, key)));
        File.Delete(Path.Combine(_folder, key));

        var report = await VerifyAsync();

        var found = Assert.Single(report.Broken);
        Assert.Equal((key, digest, null), (found.Key, found.Expected, found.Found));
        Assert.Contains(Manifest(0), report.Unchecked); // nothing vouches for it now
    }

    [Fact]
    public async Task A_head_that_the_last_manifest_names_must_be_there_and_an_older_one_need_not()
    {
        File.Delete(Path.Combine(_folder, Keys.Head(Job, "north", "c00001", 2)));
        Assert.Empty((await VerifyAsync()).Broken);

        File.Delete(Path.Combine(_folder, Keys.Head(Job, "north", "c00001", 3)));
        Assert.Equal(Keys.Head(Job, "north", "c00001", 3), Assert.Single((await VerifyAsync()).Broken).Key);
    }

    [Fact]
    public async Task What_no_manifest_names_is_a_leftover_and_no_failure()
    {
        string[] left = [Keys.Update(Job, 2, 1, "c00000"), Keys.Shared(Job, 4, new string('0', 64)), Keys.Head(Job, "south", "c00003", 4)];
        foreach (var key in left) await _store.WriteBytesAsync(key, "left"u8.ToArray(), WriteCondition.Any, default);

        var report = await VerifyAsync();

        Assert.Empty(report.Broken);
        Assert.Equal(left.Order(StringComparer.Ordinal), report.Leftovers);
    }

    [Fact]
    public async Task A_sites_own_store_is_checked_and_the_other_sites_are_named()
    {
        var site = Directory.CreateDirectory(Path.Combine(_folder, ".north")).FullName;
        Directory.CreateDirectory(Path.Combine(site, "sites"));
        Directory.Move(Path.Combine(_folder, "sites", "north"), Path.Combine(site, "sites", "north"));
        using var north = new DirectoryBlobStore(site);

        var report = await new RunVerifier(_store, north, Job).VerifyAsync(InTime);

        Assert.Empty(report!.Broken);
        Assert.Equal(["south"], report.OtherSites);
        File.Delete(Path.Combine(site, Keys.Head(Job, "north", "c00000", 3)));
        Assert.Equal(Keys.Head(Job, "north", "c00000", 3),
            Assert.Single((await new RunVerifier(_store, north, Job).VerifyAsync(InTime))!.Broken).Key);
    }

    [Fact]
    public async Task There_is_no_report_of_a_run_that_is_not_there() =>
        Assert.Null(await new RunVerifier(_store, _store, "another").VerifyAsync(InTime));

    private string Manifest(int round) => StoredRounds.Manifest(_folder, Job, round);

    private string Shared(int round) => StoredRounds.Shared(_folder, Job, round);

    private async Task<RunReport> VerifyAsync() =>
        await new RunVerifier(_store, _store, Job).VerifyAsync(InTime) ?? throw new InvalidOperationException("There is no run.");

    private async Task FlipAsync(string key, int place)
    {
        var bytes = await File.ReadAllBytesAsync(Path.Combine(_folder, key));
        bytes[place] ^= 1;
        await File.WriteAllBytesAsync(Path.Combine(_folder, key), bytes);
    }

    private async Task<List<string>> KeysAsync()
    {
        var keys = new List<string>();
        await foreach (var key in _store.ListAsync("", InTime)) keys.Add(key);
        return keys;
    }
}
