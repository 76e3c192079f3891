using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Sending;
using FedRLora.Silo.Storage;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Configuration;
using Orleans.Runtime.Hosting;
using Orleans.TestingHost;

namespace FedRLora.Grains.Tests;

/// <summary>A cluster of in-process silos on one directory store, with a fake trainer.</summary>
internal sealed class TestFederation : IAsyncDisposable
{
    private readonly bool _ownsFolder;

    private TestFederation(
        string folder, bool ownsFolder, FakeTrainer trainer, FakeInputs inputs, InProcessTestCluster cluster, IBlobStore store,
        IReadOnlyDictionary<string, string> siteOf)
    {
        (Folder, _ownsFolder, Trainer, Inputs, Cluster, Store, SiteOf) = (folder, ownsFolder, trainer, inputs, cluster, store, siteOf);
    }

    public string Folder { get; }

    public FakeTrainer Trainer { get; }

    /// <summary>Base and rows of all silos that have none of their own.</summary>
    public FakeInputs Inputs { get; }

    public InProcessTestCluster Cluster { get; }

    public IBlobStore Store { get; }

    /// <summary>The site of a silo by its name.</summary>
    public IReadOnlyDictionary<string, string> SiteOf { get; }

    /// <summary>
    /// Silo i serves <paramref name="sites"/>[i]; its trainer is <paramref name="around"/> the fake one, its base and rows are those of its
    /// site where <paramref name="inputsOf"/> has some. All are started with the words <paramref name="maySend"/>. A call from one grain to
    /// another comes when <paramref name="link"/> has let it pass by their keys, and fails as that does.
    /// </summary>
    public static async Task<TestFederation> StartAsync(
        string[]? sites = null, FakeTrainer? trainer = null, string? folder = null, TimeSpan? resendAfter = null, IBlobStore? store = null,
        Func<FakeTrainer, ITrainer>? around = null, TimeSpan? reviveEvery = null, FakeInputs? inputs = null,
        Func<string, FakeInputs?>? inputsOf = null, IBlobStore? siteStore = null, SendingLimits? maySend = null,
        Func<string, IBlobStore>? jobStoreOf = null, Action<string, object?>? heard = null,
        bool beginsReferences = true, int mostClientsInMessage = 50_000, Func<string, IBlobStore>? siteStoreOf = null,
        int clientSeries = 0, TimeSpan? leaseFor = null, Func<string, string, Task>? link = null)
    {
        sites ??= ["*"];
        trainer ??= new FakeTrainer();
        inputs ??= new FakeInputs();
        var root = folder ?? Directory.CreateTempSubdirectory("fedrlora-").FullName;
        store ??= new DirectoryBlobStore(root);
        var builder = new InProcessTestClusterBuilder((short)sites.Length);
        var (next, siteOf) = (-1, new ConcurrentDictionary<string, string>());
        builder.ConfigureSilo((options, silo) =>
        {
            var site = siteOf.GetOrAdd(options.SiloName, _ => sites[Interlocked.Increment(ref next) % sites.Length]);
            silo.Services.AddSingleton(around?.Invoke(trainer) ?? trainer).AddSingleton<IAdapterExporter>(trainer)
                .AddSingleton<IPrompter>(trainer)
                .AddSingleton<IBlobStores>(
                    new TestStores(jobStoreOf?.Invoke(site) ?? store, siteStoreOf?.Invoke(site) ?? siteStore ?? store));
            silo.Services.AddSingleton<IRunInputs>(inputsOf?.Invoke(site) ?? inputs);
            silo.Services.AddGrainStorage(FederationSiloBuilderExtensions.StorageName,
                static (services, _) => new BlobGrainStorage(services.GetRequiredService<IBlobStores>().Job));
            if (link is not null)
            {
                silo.AddIncomingGrainCallFilter(async call =>
                {
                    if (call.SourceId is { } from) await link(from.Key.ToString()!, call.TargetId.Key.ToString()!);
                    await call.Invoke();
                });
            }

            if (heard is not null)
            {
                silo.AddIncomingGrainCallFilter(call =>
                {
                    for (var i = 0; i < call.Request.GetArgumentCount(); i++) heard(site, call.Request.GetArgument(i));
                    return call.Invoke();
                });
            }

            silo.Configure<ClusterMembershipOptions>(static membership =>
            {
                membership.ProbeTimeout = TimeSpan.FromMilliseconds(500);
                membership.NumMissedProbesLimit = 1;
                membership.NumVotesForDeathDeclaration = 1;
            });
            silo.AddFederation(new SiloIdentity(options.SiloName, [site]) { MaySend = maySend ?? SendingLimits.None }, new GrainSettings
            {
                ResendAfter = resendAfter ?? TimeSpan.FromMilliseconds(500),
                ReviveEvery = reviveEvery ?? TimeSpan.FromSeconds(15),
                BeginsReferences = beginsReferences,
                MostClientsInMessage = mostClientsInMessage,
                ClientSeries = clientSeries,
                LeaseFor = leaseFor ?? new GrainSettings().LeaseFor,
            });
        });
        var cluster = builder.Build();
        await cluster.DeployAsync();
        return new TestFederation(root, folder is null, trainer, inputs, cluster, store, siteOf);
    }

    public IRunControlGrain Coordinator(string job) => Cluster.Client.GetGrain<IRunControlGrain>(job);

    public IRunReportingGrain Reporting(string job) => Cluster.Client.GetGrain<IRunReportingGrain>(job);

    /// <summary>Waits until a job is no longer running.</summary>
    public async Task<JobProgress> FinishAsync(string job, CancellationToken cancellationToken)
    {
        while (true)
        {
            if (await Coordinator(job).GetProgressAsync(-1, cancellationToken) is { Status: not JobStatus.Running } over) return over;
            await Task.Delay(20, cancellationToken);
        }
    }

    /// <summary>Submits, waits for the end, and returns the digest of the run.</summary>
    public async Task<string> RunAsync(string job, string yaml, CancellationToken cancellationToken)
    {
        await Coordinator(job).SubmitAsync(yaml, cancellationToken);
        var over = await FinishAsync(job, cancellationToken);
        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        return over.NewRounds[^1].ManifestSha256;
    }

    /// <summary>Clients of a task share a head.</summary>
    public const string TaskHeads = "{method: fedsa-lora, scopeB: task}";

    public static string Plan(
        int clients = 4, int rounds = 3, string more = "", string strategy = "", Func<int, string>? site = null,
        string adapter = "fedsa-lora")
    {
        var yaml = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"name: test\nseed: 7\nmodel: {{path: none}}\n"
            + $"adapter: {adapter}\n{more}\nstrategy:\n  rounds: {rounds}\n{strategy}\nclients:\n"));
        for (var i = 0; i < clients; i++)
            yaml.Append(CultureInfo.InvariantCulture,
                $"  - {{id: c{i:D5}, task: t{i % 2}, site: {site?.Invoke(i) ?? "local"}, data: {{train: a.jsonl, test: b.jsonl}}}}\n");
        return yaml.ToString();
    }

    public async ValueTask DisposeAsync()
    {
        await Cluster.DisposeAsync();
        if (_ownsFolder) Directory.Delete(Folder, recursive: true);
    }

    private sealed record TestStores(IBlobStore Job, IBlobStore Site) : IBlobStores;
}
