using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Report;
using FedRLora.Grains.Sites;
using FedRLora.Silo.Storage;
using Microsoft.Extensions.DependencyInjection;

namespace FedRLora.Grains.Tests.Control;

/// <summary>What a report of a run on silos is made of, read without a right on any site's store.</summary>
public sealed class RunResultsTests : IDisposable
{
    private static readonly string[] Sites = ["north", "south"];
    private readonly string _root = Directory.CreateTempSubdirectory("fedrlora-results-").FullName;

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task A_run_with_its_reference_is_whole_also_where_a_message_holds_one_round_and_sites_have_stores_of_their_own()
    {
        await using var federation = await StartAsync();
        await federation.RunAsync("job", Plan(), InTime);
        await federation.FinishAsync("job.local-only", InTime);
        var reference = await federation.Coordinator("job.local-only").GetProgressAsync(1, InTime);

        var results = await LoadAsync(federation);

        Assert.Equal([0, 1, 2], results.Rounds.Select(static round => round.Manifest.Round));
        Assert.Equal(Assert.Single(reference!.NewRounds).ManifestSha256, results.LocalOnly![^1].ManifestSha256);
        Assert.Equal(["c00000", "c00001"], results.VersusLocal!.Keys.Order(StringComparer.Ordinal));
        Assert.All(results.VersusLocal.Values, static one => Assert.Equal((1, 0), (one.OnlyThis, one.OnlyReference)));
        Assert.Empty(results.Missing);
    }

    [Fact]
    public async Task A_site_that_cannot_compare_is_named_and_the_rest_is_there()
    {
        await using var federation = await StartAsync();
        await federation.RunAsync("job", Plan(), InTime);
        await federation.FinishAsync("job.local-only", InTime);
        await federation.Cluster.StopSiloAsync(federation.Cluster.Silos.Single(silo => federation.SiteOf[silo.Name] == "south"));

        var results = await LoadAsync(federation);

        Assert.Equal((3, 3), (results.Rounds.Count, results.LocalOnly!.Count));
        Assert.Equal("c00000", Assert.Single(results.VersusLocal!).Key);
        Assert.StartsWith("site south: ", Assert.Single(results.Missing), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_reference_that_was_left_out_and_one_that_is_another_run_are_said()
    {
        await using var federation = await StartAsync();
        var other = LocalOnlyRun.PlanOf(Plan(), "plan.yaml").Replace("seed: 7", "seed: 8", StringComparison.Ordinal);
        await federation.Coordinator("other.local-only").SubmitAsync(other, InTime);
        foreach (var run in new[] { "job", "other" })
        {
            await federation.Coordinator(run).SubmitAsync(Plan(), localOnly: false, InTime);
            await federation.FinishAsync(run, InTime);
        }

        var (without, with) = (await LoadAsync(federation), await LoadAsync(federation, "other"));

        Assert.Equal(["job.local-only: the run was begun without its local-only reference"], without.Missing);
        Assert.Equal(["other.local-only: another run than the local-only reference of other"], with.Missing);
        Assert.Null(without.LocalOnly ?? with.LocalOnly);
    }

    private Task<TestFederation> StartAsync() => TestFederation.StartAsync(
        Sites, new FakeTrainer
        {
            // One row more right than with nothing shared.
            Rows = static group => [new(1, 1), new(group.Plan.Sharing == Sharing.Method ? 1 : 0, 1)],
        },
        folder: Path.Combine(_root, "jobs"), siteStoreOf: site => new DirectoryBlobStore(Path.Combine(_root, site)),
        mostClientsInMessage: 2);

    private static string Plan() => TestFederation.Plan(
        clients: 2, rounds: 2, more: "evaluation: {localOnly: true}", site: static i => Sites[i % 2]);

    private static Task<RunResults> LoadAsync(TestFederation federation, string run = "job")
    {
        var silo = federation.Cluster.Silos.First(silo => federation.SiteOf[silo.Name] == "north").ServiceProvider;
        var sites = silo.GetRequiredService<SiteRuns>();
        var runs = new RunCalls(ControlServices.Of(silo));
        return RunResults.LoadAsync(runs, sites, run, InTime);
    }
}
