using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Sites;

/// <summary>Three sites that speak over mutual TLS, each in a network namespace of its own, on a network that fails them.</summary>
public sealed class CutSitesTests(ITestOutputHelper log) : IDisposable
{
    private static readonly int Rounds = NamespaceSoakAttribute.Soaks ? 8 : 4;
    private static readonly string[] Sites = ["east", "north", "south"];
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [NamespaceFact]
    public async Task A_run_over_three_sites_is_that_of_one_machine_whether_a_site_is_cut_off_for_six_seconds_or_not()
    {
        var plan = Plan();
        await RunningProgram.RunAsync(_tiny.Root, "simulate", plan);
        await using var sites = await StartAsync();

        if (NamespaceSoakAttribute.Soaks) Assert.Equal(CommittedAlone(), await RunAsync(sites, plan, "calm"));
        var cut = await RunAsync(sites, plan, "cut", async () => await CutAsync(sites, "south", TimeSpan.FromSeconds(6)));

        Assert.Equal(CommittedAlone(), cut);
        Assert.All(Sites, site => Assert.False(sites.SiloOf(site).HasExited, sites.Output));
    }

    [NamespaceSoak]
    public async Task A_site_that_is_cut_off_for_25_seconds_is_waited_for()
    {
        var plan = Plan();
        await using var sites = await StartAsync();

        var calm = await RunAsync(sites, plan, "calm");
        var cut = await RunAsync(sites, plan, "cut", async () => await CutAndRestartAsync(sites, "south", TimeSpan.FromSeconds(25)));

        Assert.Equal(calm, cut);
    }

    [NamespaceSoak]
    public async Task With_continue_the_rounds_go_on_without_it()
    {
        var plan = Plan(", siteLoss: continue, quorum: 0.5", "goes-on");
        await using var sites = await StartAsync();

        await RunAsync(sites, plan, "cut", async () => await CutAndRestartAsync(sites, "south", TimeSpan.FromSeconds(25)));
    }

    [NamespaceSoak]
    public async Task Eighty_milliseconds_and_one_lost_frame_in_a_hundred_change_no_bit()
    {
        var plan = Plan();
        await using var sites = await StartAsync();
        var calm = await RunAsync(sites, plan, "calm");

        (sites.Wire.Delay, sites.Wire.Loss) = (TimeSpan.FromMilliseconds(80), 0.01);
        var slow = await RunAsync(sites, plan, "slow");

        log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{sites.Wire.Lost} frames were lost"));
        Assert.Equal(calm, slow);
        Assert.True(sites.Wire.Lost > 0);
        Assert.All(Sites, site => Assert.False(sites.SiloOf(site).HasExited, sites.Output));
    }

    [NamespaceSoak]
    public async Task A_run_that_is_cancelled_while_a_site_is_cut_off_stays_so_when_the_site_is_back()
    {
        var plan = Plan();
        await using var sites = await StartAsync();
        await SubmitAsync(sites, plan, "ended");
        await UntilRoundAsync("ended", 1);
        sites.Cut("south", isCut: true);
        var started = Stopwatch.GetTimestamp();

        var (code, output) = await sites.RunAsync("north", "cancel", "ended");
        Assert.True(code == 0, output);
        var (_, listed) = await sites.RunAsync("north", "runs");
        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"cancelled and shown so after {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s of a cut"));
        Assert.Contains("cancelled", listed, StringComparison.OrdinalIgnoreCase);
        var committed = CommittedOf("ended");

        await Task.Delay(TimeSpan.FromSeconds(60) - Stopwatch.GetElapsedTime(started));
        sites.Cut("south", isCut: false);
        await UntilEndedOrServingAsync(sites, "south");
        await Task.Delay(TimeSpan.FromSeconds(10));

        Assert.Equal(committed, CommittedOf("ended"));
        (_, listed) = await sites.RunAsync("north", "runs");
        Assert.Contains("cancelled", listed, StringComparison.OrdinalIgnoreCase);
    }

    [NamespaceSoak]
    public async Task A_site_is_restarted_and_then_all_at_once_with_rows_left_in_the_table()
    {
        var plan = Plan();
        await using var sites = await StartAsync();
        var calm = await RunAsync(sites, plan, "calm");

        var restarted = await RunAsync(sites, plan, "restarted", async () =>
        {
            sites.SiloOf("south").Kill();
            await sites.SiloOf("south").ExitAsync();
            await sites.StartSiloAsync("south");
        });
        Assert.Equal(calm, restarted);

        await SubmitAsync(sites, plan, "dead");
        await UntilRoundAsync("dead", 2);
        foreach (var site in Sites) sites.SiloOf(site).Kill();
        foreach (var site in Sites) await sites.SiloOf(site).ExitAsync();
        var started = Stopwatch.GetTimestamp();
        await Task.WhenAll(Sites.Select(sites.StartSiloAsync));
        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"all serve again {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s after they were killed at once"));
        await WatchAsync(sites, "dead");
        Assert.Equal(calm, CommittedOf("dead"));
    }

    private string Plan(string strategy = "", string name = "tiny")
    {
        var plan = Federation.TinyPlan.Write(_tiny, Rounds, string.Join('\n', Sites.SelectMany(static site => new[]
        {
            Federation.TinyPlan.Client($"{site}-1", "one", site), Federation.TinyPlan.Client($"{site}-2", "two", site),
        })), strategy: strategy, name: name);
        var steps = NamespaceSoakAttribute.Soaks ? 60 : 20;
        File.WriteAllText(plan, File.ReadAllText(plan).Replace("steps: 4,", $"steps: {steps},", StringComparison.Ordinal));
        return plan;
    }

    private async Task<SiteNamespaces> StartAsync()
    {
        var started = Stopwatch.GetTimestamp();
        var sites = await SiteNamespaces.StartAsync(_tiny.Root, Sites);
        try
        {
            await Task.WhenAll(Sites.Select(sites.StartSiloAsync));
        }
        catch
        {
            log.WriteLine(sites.Output);
            await sites.DisposeAsync();
            throw;
        }

        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"three sites serve after {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s"));
        return sites;
    }

    private async Task<string> RunAsync(SiteNamespaces sites, string plan, string run, Func<Task>? disturb = null)
    {
        var started = Stopwatch.GetTimestamp();
        await SubmitAsync(sites, plan, run);
        try
        {
            if (disturb is not null)
            {
                await UntilRoundAsync(run, 1);
                await disturb();
            }

            await WatchAsync(sites, run);
        }
        finally
        {
            log.WriteLine(sites.Output);
        }

        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{run}: {Rounds} rounds in {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s, {CommittedOf(run)}"));
        return CommittedOf(run);
    }

    private static async Task SubmitAsync(SiteNamespaces sites, string plan, string run)
    {
        var (code, output) = await sites.RunAsync("north", "submit", plan, "--run", run);
        Assert.True(code == 0, output);
    }

    private static async Task WatchAsync(SiteNamespaces sites, string run)
    {
        var (code, output) = await sites.RunAsync("north", "watch", run);
        Assert.True(code == 0, $"{output}\n{sites.Output}");
    }

    private async Task CutAsync(SiteNamespaces sites, string site, TimeSpan time)
    {
        sites.Cut(site, isCut: true);
        await Task.Delay(time);
        sites.Cut(site, isCut: false);
        log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{site} was cut off for {time.TotalSeconds:F0} s"));
    }

    // As a supervisor would: a silo that was given up meanwhile ends by itself.
    private async Task CutAndRestartAsync(SiteNamespaces sites, string site, TimeSpan time)
    {
        await CutAsync(sites, site, time);
        await UntilEndedOrServingAsync(sites, site);
    }

    private async Task UntilEndedOrServingAsync(SiteNamespaces sites, string site)
    {
        var started = Stopwatch.GetTimestamp();
        while (!sites.SiloOf(site).HasExited && Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(30)) await Task.Delay(100);
        if (!sites.SiloOf(site).HasExited) return;
        var (code, after) = (await sites.SiloOf(site).ExitAsync(), Stopwatch.GetElapsedTime(started).TotalSeconds);
        Assert.True(code == 3, sites.Output);
        Assert.Contains($"silo {site}-0 ends: the others have given it up", sites.SiloOf(site).Output, StringComparison.Ordinal);
        log.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"the silo of {site} ended with {code}, {after:F1} s after the link was back"));
        await sites.StartSiloAsync(site);
    }

    private async Task UntilRoundAsync(string run, int round)
    {
        var started = Stopwatch.GetTimestamp();
        while ((Federation.TinyPlan.Committed(_tiny, run)?.Round ?? 0) < round)
        {
            Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromMinutes(2), $"{run} does not reach round {round}");
            await Task.Delay(20);
        }
    }

    private string CommittedAlone() => DigestIn(Directory.EnumerateFiles(
        Path.Combine(_tiny.Root, "runs"), Path.GetFileName(Keys.Current("")), SearchOption.AllDirectories).Single());

    private string CommittedOf(string run) => DigestIn(Path.Combine(_tiny.Root, "cluster", Keys.Current(run)));

    private static string DigestIn(string file) => CurrentRound.Parse(File.ReadAllBytes(file), file).ManifestSha256;
}
