using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Report;
using FedRLora.Grains.Sites;
using FedRLora.Silo;
using FedRLora.Training.Tests;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>A run on a silo by its name, beside <c>simulate</c> of the same plan, with the real trainer.</summary>
public sealed class SiteRunTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task Rounds_of_both_arms_scores_adapters_and_errors_are_those_of_simulate()
    {
        var inTime = new CancellationTokenSource(TimeSpan.FromMinutes(3)).Token;
        var plan = _tiny.WritePlan();
        await File.AppendAllTextAsync(plan, "evaluation: {localOnly: true, metric: perplexity}\n", inTime);
        var folder = Path.Combine(_tiny.Root, "run");
        var simulated = await CommandLine.RunAsync("simulate", plan, "--out", folder);
        Assert.True(simulated.Code == 0, simulated.Error);
        using var host = Silo();
        await host.StartAsync(inTime);
        var (grains, sites) = (host.Services.GetRequiredService<IGrainFactory>(), host.Services.GetRequiredService<SiteRuns>());
        await grains.GetGrain<IRunControlGrain>("tiny").SubmitAsync(await File.ReadAllTextAsync(plan, inTime), inTime);
        foreach (var run in new[] { "tiny", "tiny.local-only" })
        {
            while (await grains.GetGrain<IRunControlGrain>(run).GetProgressAsync(-1, inTime) is not { Status: not JobStatus.Running })
                await Task.Delay(50, inTime);
        }

        var results = await RunResults.LoadAsync(new RunCalls(ControlServices.Of(host.Services)), sites, "tiny", inTime);
        var (_, scored) = await sites.EvaluateAsync("tiny", cancellationToken: inTime);

        Assert.Equal(Committed(folder, "tiny"), results.Rounds[^1].ManifestSha256);
        Assert.Equal(Committed(folder, "tiny.local-only"), results.LocalOnly![^1].ManifestSha256);
        Assert.All(results.VersusLocal!.Values, static one => Assert.NotNull(one.StandardError));
        Assert.Equal(2, results.VersusLocal.Count);
        var recorded = results.Rounds[^1].Manifest.Clients.Select(static client => client.Score);
        Assert.Equal(recorded, scored.Select(static one => one.Now.Score));
        foreach (var client in new[] { "one", "two" })
        {
            var pieces = await sites.ExportAsync("tiny", client, new FormAsked(), inTime).ToListAsync(inTime);
            foreach (var name in new[] { "adapter_model.safetensors", "adapter_config.json" })
            {
                var written = await File.ReadAllBytesAsync(Path.Combine(folder, "adapters", client, name), inTime);
                byte[] sent = [.. pieces.Where(piece => piece.File == name).SelectMany(static piece => piece.Content)];
                Assert.Equal(Unplaced(written), Unplaced(sent));
            }
        }

        await host.StopAsync(inTime);
    }

    // The base is named by its path in the run's folder, and on silos as the plan names it.
    private string Unplaced(byte[] file) => Convert.ToHexString(file)
        .Replace(Convert.ToHexString(System.Text.Encoding.UTF8.GetBytes(Path.Combine(_tiny.Root, "model"))),
            Convert.ToHexString("model"u8), StringComparison.Ordinal);

    private static string Committed(string folder, string job)
    {
        var current = Path.Combine(folder, "store", Keys.Current(job));
        return CurrentRound.Parse(File.ReadAllBytes(current), current).ManifestSha256;
    }

    private IHost Silo()
    {
        var (port, gateway) = SiloPorts.Free();
        return SiloHost.Create(
            new SiloOptions
            {
                Name = "only", Sites = ["local"], Root = _tiny.Root, Store = Path.Combine(_tiny.Root, "cluster"),
                SiteStore = Path.Combine(_tiny.Root, "at-local"), SiloPort = port, GatewayPort = gateway,
            },
            static builder => builder.Logging.ClearProviders());
    }
}
