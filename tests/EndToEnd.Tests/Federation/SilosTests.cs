using System.Text.RegularExpressions;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Silo;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Silos as processes on loopback, followed from another process.</summary>
public sealed partial class SilosTests(ITestOutputHelper log)
{
    private const int Rounds = 40;

    [Fact]
    public async Task A_run_over_three_silos_and_two_sites_survives_the_kill_of_one()
    {
        using var tiny = new TinyFederation();
        string[] clients = ["north-1", "north-2", "north-3", "north-4", "south-1", "south-2"];
        var plan = TinyPlan.Write(tiny, Rounds,
            string.Join('\n', clients.Select(static (id, i) => TinyPlan.Client(id, i % 2 == 0 ? "one" : "two", id[..5]))));
        await RunningProgram.RunAsync(tiny.Root, "simulate", plan, "--out", "undisturbed");
        var expected = Current(Path.Combine(tiny.Root, "undisturbed", "store"), "tiny").ManifestSha256;

        var place = new SiloPlace();
        await using var south = Silo(tiny, "south", place.Own);
        await south.UntilAsync(() => south.Output.Contains("serves", StringComparison.Ordinal), "the first silo");
        await using var northOne = Silo(tiny, "north", "--join", $"{place.Silo}", "--name", "north-a");
        await using var northTwo = Silo(tiny, "north", "--join", $"{place.Silo}", "--name", "north-b");
        await northOne.UntilAsync(() => northOne.Output.Contains("serves", StringComparison.Ordinal)
            && northTwo.Output.Contains("serves", StringComparison.Ordinal), "the other silos");
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--server", place.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", place.Url);
        var store = Path.Combine(tiny.Root, "cluster");
        await south.UntilAsync(
            () => File.Exists(Path.Combine(store, Keys.Current("tiny"))) && Current(store, "tiny").Round >= 2, "round 2");
        var victim = Ran(northOne).Count > 0 ? northOne : northTwo;
        Assert.True(Current(store, "tiny").Round < Rounds, "the run was over before the kill");
        victim.Kill();

        Assert.True(await watch.ExitAsync() == 0, watch.Output + south.Output + northOne.Output + northTwo.Output);
        var runs = await RunningProgram.RunAsync(tiny.Root, "runs", "--server", place.Url);

        log.WriteLine(watch.Output + runs);
        log.WriteLine($"south ran {string.Join(", ", Ran(south))}; north-a {string.Join(", ", Ran(northOne))}; "
            + $"north-b {string.Join(", ", Ran(northTwo))}");
        Assert.Contains("finished", runs, StringComparison.Ordinal);
        Assert.Equal(expected, Current(store, "tiny").ManifestSha256);
        Assert.All(Ran(south), static client => Assert.StartsWith("south", client, StringComparison.Ordinal));
        Assert.All(Ran(northOne).Concat(Ran(northTwo)), static client => Assert.StartsWith("north", client, StringComparison.Ordinal));
        Assert.Equal(clients, Ran(south).Concat(Ran(northOne)).Concat(Ran(northTwo)).Distinct().Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_cancelled_run_keeps_what_is_committed_and_resumes()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, 500, TinyPlan.Client("only", "one"));
        var place = new SiloPlace();
        await using var silo = Silo(tiny, "local", place.Own);
        await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "the silo");
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--server", place.Url);
        await silo.UntilAsync(() => silo.Output.Contains("round 1 committed", StringComparison.Ordinal), "round 1");

        await RunningProgram.RunAsync(tiny.Root, "cancel", "tiny", "--server", place.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", place.Url);

        Assert.Equal(1, await watch.ExitAsync());
        Assert.Contains("was cancelled", watch.Output, StringComparison.Ordinal);
        var kept = Current(Path.Combine(tiny.Root, "cluster"), "tiny").Round;
        Assert.True(kept >= 1);

        await RunningProgram.RunAsync(tiny.Root, "resume", "tiny", "--server", place.Url);
        await silo.UntilAsync(() => Current(Path.Combine(tiny.Root, "cluster"), "tiny").Round > kept + 1, "rounds after the resume");
    }

    [Fact]
    public async Task A_plan_with_mistakes_is_refused_at_submission_with_its_lines()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, 2, TinyPlan.Client("only", "one"), more: "model: elsewhere");
        await using var submit = RunningProgram.Start(tiny.Root, "submit", plan, "--server", new SiloPlace().Url);

        Assert.Equal(2, await submit.ExitAsync());
        Assert.Contains("tiny.yaml:", submit.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_a_silo_a_command_says_so_and_ends_with_3()
    {
        using var tiny = new TinyFederation();
        await using var runs = RunningProgram.Start(tiny.Root, "runs", "--server", new SiloPlace().Url);

        Assert.Equal(3, await runs.ExitAsync());
        Assert.Contains("no silo answers", runs.Output, StringComparison.Ordinal);
    }

    private static RunningProgram Silo(TinyFederation tiny, string site, params string[] more) =>
        RunningProgram.Start(tiny.Root, ["silo", "--site", site, "--store", "cluster", "--resend-after", "1", .. more]);

    // Event 301 of the client grain's log: which client began work on which silo.
    private static IReadOnlyList<string> Ran(RunningProgram silo) =>
        [.. Began().Matches(silo.Output).Select(static match => match.Groups[1].Value).Distinct().Order(StringComparer.Ordinal)];

    private static CurrentRound Current(string store, string job) =>
        CurrentRound.Parse(File.ReadAllBytes(Path.Combine(store, Keys.Current(job))), store);

    [GeneratedRegex(@"client (\S+) on silo")]
    private static partial Regex Began();
}
