using System.Text.RegularExpressions;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>The page of programs as people start them.</summary>
[Collection(BrowserTests.Name)]
public sealed partial class RunningPageTests(Browser browser, ITestOutputHelper log) : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [BrowserFact]
    public async Task Rounds_of_simulate_appear_as_they_are_committed_and_the_page_pauses_and_cancels_it()
    {
        var plan = Federation.TinyPlan.Write(
            _tiny, 100_000, Federation.TinyPlan.Client("first", "one") + "\n" + Federation.TinyPlan.Client("second", "two"));
        await using var simulate = RunningProgram.Start(_tiny.Root, "simulate", plan, "--dashboard", "--out", "tiny");
        await simulate.UntilAsync(() => Dashboard().IsMatch(simulate.Output), "the dashboard's address");

        var said = await (await browser.BeginAsync(
            "follow", new { entrance = Dashboard().Match(simulate.Output).Groups[1].Value, run = "tiny" })).DoneAsync();

        foreach (var line in said) log.WriteLine(line);
        Assert.NotEqual(0, await simulate.ExitAsync()); // it was cancelled
    }

    [BrowserSoak]
    public async Task A_page_whose_silo_is_killed_says_so_and_goes_on_when_it_is_back()
    {
        var ports = FreePorts.Take(9);
        await using var hub = Silo(0, "hub");
        await EntranceAsync(hub);
        await using var south = Silo(1, "south");
        var north = Silo(2, "north");
        var plan = Federation.TinyPlan.Write(
            _tiny, 2,
            Federation.TinyPlan.Client("first", "one", "hub") + "\n" + Federation.TinyPlan.Client("second", "two", "south"));
        string[] to = ["--server", $"http://127.0.0.1:{ports[2]}"];
        var (silo, other) = (await EntranceAsync(north), await EntranceAsync(south));
        await RunningProgram.RunAsync(_tiny.Root, ["submit", plan, .. to]);
        await hub.UntilAsync(() => Federation.TinyPlan.Committed(_tiny, "tiny")?.Round >= 2, "two rounds");

        var page = await browser.BeginAsync("killed", new { silo, other, run = "tiny" });
        await page.SaysAsync("shown");
        north.Kill();
        await page.SaysAsync("cut");
        await RunningProgram.RunAsync(_tiny.Root, ["extend", "tiny", "--rounds", "4", .. to]);
        await hub.UntilAsync(() => Federation.TinyPlan.Committed(_tiny, "tiny")?.Round >= 4, "two more rounds");
        await north.DisposeAsync();
        await using var again = Silo(2, "north");
        await page.TellAsync($"4 {await EntranceAsync(again)}");

        await page.DoneAsync();

        RunningProgram Silo(int number, string site) => RunningProgram.Start(_tiny.Root,
        [
            "silo", "--site", site, "--name", site, "--store", "cluster", "--orleans-dashboard", "--port", $"{ports[3 * number]}",
            "--gateway", $"{ports[(3 * number) + 1]}", "--control", $"{ports[(3 * number) + 2]}",
            .. number == 0 ? Array.Empty<string>() : ["--join", $"{ports[0]}"],
        ]);
    }

    private static async Task<string> EntranceAsync(RunningProgram silo)
    {
        await silo.UntilAsync(() => Entrance().IsMatch(silo.Output), "the silo's address for a browser");
        return Entrance().Match(silo.Output).Groups[1].Value;
    }

    [GeneratedRegex(@"(http\S+/enter\?\S+)")]
    private static partial Regex Entrance();

    [GeneratedRegex(@"^dashboard: (\S+)", RegexOptions.Multiline)]
    private static partial Regex Dashboard();
}
