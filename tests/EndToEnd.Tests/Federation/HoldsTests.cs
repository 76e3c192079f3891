using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using FedRLora.Silo;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Why a round does not go on, as silos, <c>submit</c>, <c>runs</c> and <c>watch</c> say it, and how soon.</summary>
public sealed class HoldsTests(ITestOutputHelper log)
{
    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(5);
    private static readonly string[] Two = [TinyPlan.Client("north-1", "one", "north"), TinyPlan.Client("south-1", "two", "south")];

    [Fact]
    public async Task A_site_that_no_silo_serves_is_said_at_submission_and_as_long_as_it_is_waited_for()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, 2, string.Join('\n', Two));
        await using var north = await FirstSilo.StartAsync(tiny, "north");

        var submit = await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--server", north.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", north.Url);
        const string Held = "no silo serves site south (start one with --site south)";
        await watch.UntilAsync(() => watch.Output.Contains(Held, StringComparison.Ordinal), "the reason");
        var runs = await RunsAsync(north.Url);
        await using var south = north.Join("south");
        await watch.ExitAsync();

        log.WriteLine(submit + runs + watch.Output);
        Assert.Contains($"tiny waits: {Held}; 1 client of the plan belongs there", submit, StringComparison.Ordinal);
        Assert.Contains($"{Held}; 1 client is waited for there", runs, StringComparison.Ordinal);
        Assert.Matches($@"(?m)^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ round 0 waits: {Regex.Escape(Held)}; 1 client is waited for there$",
            watch.Output);
        Assert.Matches(@"(?m)^\S+Z round 0 goes on$", watch.Output);
        Assert.Matches(@"(?m)^round 2/2  loss", watch.Output);
    }

    [Fact]
    public async Task A_killed_site_is_said_within_seconds_and_the_log_says_it_once()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, 500, string.Join('\n', Two));
        await using var north = await FirstSilo.StartAsync(tiny, "north");
        await using var south = north.Join("south", "--name", "south-a");
        await south.UntilAsync(() => south.Output.Contains("serves", StringComparison.Ordinal), "the other silo");
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--server", north.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", north.Url);
        await watch.UntilAsync(() => watch.Output.Contains("round   1/500", StringComparison.Ordinal), "round 1");

        var asked = Stopwatch.GetTimestamp();
        await RunsAsync(north.Url);
        var calm = Stopwatch.GetElapsedTime(asked); // what the question takes by itself: a busy machine is slow to ask
        south.Kill();
        var killed = Stopwatch.GetTimestamp();
        var told = watch.UntilAsync(() => watch.Output.Contains("site south has", StringComparison.Ordinal), "the reason in watch")
            .ContinueWith(_ => Stopwatch.GetElapsedTime(killed), TaskScheduler.Default);
        var runs = await UntilRunsAsync(north.Url, static row => row.Contains("site south has", StringComparison.Ordinal));
        var (inRuns, inWatch) = (Stopwatch.GetElapsedTime(killed), await told);
        await north.Program.UntilAsync(() => Stopwatch.GetElapsedTime(killed) > TimeSpan.FromSeconds(12), "twelve seconds of waiting");
        await using var replaced = north.Join("south", "--name", "south-b");
        await watch.UntilAsync(() => watch.Output.Contains("goes on", StringComparison.Ordinal), "the end of the wait");

        log.WriteLine(Invariant($"after the kill: watch {inWatch.TotalSeconds:F1} s, runs {inRuns.TotalSeconds:F1} s; ")
            + Invariant($"before it runs took {calm.TotalSeconds:F1} s"));
        log.WriteLine(
            runs + string.Join('\n', watch.Output.Split('\n').Where(static line => !line.StartsWith("round ", StringComparison.Ordinal))));
        log.WriteLine(
            string.Join('\n', north.Program.Output.Split('\n').Where(static line => line.Contains("warn", StringComparison.Ordinal))));
        Assert.True(inWatch < Soon + (2 * calm) && inRuns < Soon + (2 * calm),
            Invariant($"watch {inWatch.TotalSeconds:F1} s, runs {inRuns.TotalSeconds:F1} s"));
        Assert.Matches(
            @"site south has (had no silo for \d[\d.]* s|no silo any more) \(the last was south-a\); 1 client is waited for there", runs);
        Assert.Single(Lines(watch.Output, "site south has"));
        Assert.Single(Lines(north.Program.Output, "site south cannot be reached"));
        Assert.All(Lines(north.Program.Output, "warn: "), static line => Assert.Matches(@"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warn: ", line));
    }

    [Fact]
    public async Task A_client_without_its_data_is_named_with_the_file_and_nobody_else_is_blamed()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, 2, string.Join('\n', [TinyPlan.Client("well", "one"), TinyPlan.Client("ill", "gone")]));
        await using var silo = await FirstSilo.StartAsync(tiny, "local");

        var strict = await FailAsync(tiny, silo, plan, "strict");
        await File.WriteAllTextAsync(plan,
            (await File.ReadAllTextAsync(plan)).Replace("rounds: 2", "rounds: 2, quorum: 0.5", StringComparison.Ordinal));
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--run", "lenient", "--server", silo.Url);
        var lenient = await RunningProgram.RunAsync(tiny.Root, "watch", "lenient", "--server", silo.Url);
        var runs = await RunsAsync(silo.Url);

        log.WriteLine(strict + lenient + runs);
        Assert.Matches(
            @"strict failed in round 1: Round 1 had [01] usable of 2 updates in try 3 of 3, the quorum is 2[^\n]*\. "
                + @"ill: [^\n]*gone\.train\.jsonl",
            strict);
        Assert.Matches(@"round 2/2  [^\n]*failed: ill \([^\n]*gone\.train\.jsonl", lenient);
        Assert.Matches(@"strict  [^\n]*ill: [^\n]*gone\.train\.jsonl", runs);
        Assert.All([strict, lenient, runs], static text => Assert.DoesNotMatch("silent|late: |well: ", text));
    }

    [Fact]
    public async Task A_paused_run_says_since_when_and_how_it_goes_on()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, 500, TinyPlan.Client("only", "one"));
        await using var silo = await FirstSilo.StartAsync(tiny, "local");
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--server", silo.Url);

        var pause = await RunningProgram.RunAsync(tiny.Root, "pause", "tiny", "--server", silo.Url);
        var runs = await UntilRunsAsync(silo.Url, static row => row.Contains("paused for", StringComparison.Ordinal));
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", silo.Url);
        await watch.ExitAsync();

        log.WriteLine(pause + runs + watch.Output);
        Assert.Matches(@"tiny  +tiny  +paused  +\d+/500 +paused for \d[\d.]* s by an operator, until it is resumed", runs);
        Assert.Contains($"Continue it with: fedrlora resume tiny --server {silo.Url}", watch.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_missed_quorum_says_who_was_silent_while_the_next_try_lasts()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, 2, string.Join('\n', [TinyPlan.Client("quick", "one"), TinyPlan.Client("mute", "two")]),
            "faults: [{kind: silent, clients: [mute]}]");
        await File.WriteAllTextAsync(plan,
            (await File.ReadAllTextAsync(plan)).Replace("rounds: 2", "rounds: 2, deadline: 4s", StringComparison.Ordinal));
        await using var silo = await FirstSilo.StartAsync(tiny, "local");
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--server", silo.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", silo.Url);

        var runs = await UntilRunsAsync(silo.Url,
            static row => row.Contains("the quorum is 2; try 2 of 3 is at work", StringComparison.Ordinal));
        await watch.ExitAsync();

        log.WriteLine(runs + watch.Output);
        Assert.Contains("the try before had 1 usable of 2 updates, the quorum is 2; try 2 of 3 is at work (silent at the deadline before: "
            + "mute); the deadline is in", runs, StringComparison.Ordinal);
        Assert.Contains("round 1 waits: the try before had 1 usable of 2 updates, the quorum is 2; "
            + "try 2 of 3 is at work (silent at the deadline before: mute)", watch.Output, StringComparison.Ordinal);
        Assert.Contains("tiny failed in round 1: Round 1 had 1 usable of 2 updates in try 3 of 3, the quorum is 2; 1 silent.", watch.Output,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_over_its_time_budget_is_named_where_the_quorum_needs_it()
    {
        using var tiny = new TinyFederation();
        var clients = new[] { "brisk", "quick", "slow", "tardy" }.Select(static (id, i) => TinyPlan.Client(id, i % 2 == 0 ? "one" : "two"));
        var plan = TinyPlan.Write(tiny, 3, string.Join('\n', clients),
            "faults: [{kind: delay, clients: [slow, tardy], delay: 9s, rounds: {from: 3}}]");
        await File.WriteAllTextAsync(plan, (await File.ReadAllTextAsync(plan))
            .Replace("rounds: 3}", "rounds: 3, quorum: 0.75, timeBudget: {factor: 2, atLeast: 1s}}", StringComparison.Ordinal));
        await using var silo = await FirstSilo.StartAsync(tiny, "local");
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--server", silo.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", silo.Url);

        var runs = await UntilRunsAsync(silo.Url, static row => row.Contains("time budget", StringComparison.Ordinal));
        var code = await watch.ExitAsync();

        log.WriteLine(runs + watch.Output);
        Assert.Equal(0, code);
        Assert.Matches(@"(slow|tardy) is over its time budget of \d[\d.]* s after \d[\d.]* s, and the quorum of 3 needs it", runs);
        Assert.Matches(@"(?m)^\S+Z round 3 waits: (slow|tardy) is over its time budget", watch.Output);
        Assert.DoesNotMatch("(brisk|quick) is over", watch.Output);
    }

    [Fact]
    public async Task Interrupting_watch_says_that_the_run_goes_on_and_a_hub_that_is_gone_is_one_line()
    {
        using var tiny = new TinyFederation();
        var plan = TinyPlan.Write(tiny, 5_000, TinyPlan.Client("only", "one", "north"));
        await using var hub = await FirstSilo.StartAsync(tiny, "hub");
        await using var north = hub.Join("north");
        await north.UntilAsync(() => north.Output.Contains("serves", StringComparison.Ordinal), "the other silo");
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--server", hub.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", hub.Url);
        await using var other = RunningProgram.Start(tiny.Root, "watch", "tiny", "--server", hub.Url);
        await watch.UntilAsync(
            () => watch.Output.Contains("round", StringComparison.Ordinal) && other.Output.Contains("round", StringComparison.Ordinal),
            "a round");

        watch.Interrupt();
        var interrupted = await watch.ExitAsync();
        hub.Program.Kill();
        var killed = Stopwatch.GetTimestamp();
        await other.UntilAsync(() => other.Output.Contains("no silo answers", StringComparison.Ordinal), "the loss of the hub");
        var told = Stopwatch.GetElapsedTime(killed);
        var runs = await CommandLine.RunAsync("runs", "--server", hub.Url);
        await north.UntilAsync(() => Stopwatch.GetElapsedTime(killed) > TimeSpan.FromSeconds(20), "twenty seconds without the hub");
        other.Interrupt();
        await other.ExitAsync();

        log.WriteLine(Invariant($"watch after {told.TotalSeconds:F1} s"));
        log.WriteLine(runs.Error
            + string.Join('\n', other.Output.Split('\n').Where(static line => !line.StartsWith("round ", StringComparison.Ordinal))));
        log.WriteLine(string.Join('\n', north.Output.Split('\n').Where(static line => !line.Contains("info: ", StringComparison.Ordinal))));
        Assert.Equal(130, interrupted);
        Assert.EndsWith($"\nStopped watching; run tiny goes on. Follow it again with: fedrlora watch tiny --server {hub.Url}",
            watch.Output.TrimEnd(), StringComparison.Ordinal);
        Assert.DoesNotContain("committed is kept", watch.Output, StringComparison.Ordinal);
        Assert.Equal((3, 1), (runs.Code, runs.ErrorLines.Count));
        Assert.Single(Lines(other.Output, "no silo answers"));
        var warnings = Lines(north.Output, "warn: ")
            .Select(static line => line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..]).ToArray();
        Assert.Equal(warnings.Distinct(), warnings);
        Assert.Empty(Lines(north.Output, "fail: "));
        Assert.Contains("Stopped watching; run tiny goes on", other.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Watch_shows_tasks_in_the_order_of_the_plan_the_outcome_and_the_record_that_simulate_keeps()
    {
        using var tiny = new TinyFederation();
        string[] clients = ["  - {id: a, task: zebra, data: {train: one.train.jsonl, test: one.test.jsonl}}",
            "  - {id: b, task: ant, data: {train: two.train.jsonl, test: two.test.jsonl}}",
            "  - {id: c, task: zebra, data: {train: two.train.jsonl, test: one.test.jsonl}}"];
        var plan = TinyPlan.Write(tiny, 2, string.Join('\n', clients));
        var simulated = await RunningProgram.RunAsync(tiny.Root, "simulate", plan, "--out", "alone");
        await using var silo = await FirstSilo.StartAsync(tiny, "local");
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--run", "far", "--server", silo.Url);

        var lines = await RunningProgram.RunAsync(tiny.Root, "watch", "far", "--server", silo.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", "far", "--json", "--server", silo.Url);
        await watch.ExitAsync();

        Assert.Matches(@"round 0/2  zebra \S+  ant \S+  mean", lines);
        Assert.Matches(@"By task \(accuracy\)\n\n.*\n.*\nzebra +2 .*\nant +1 ", lines);
        Assert.Equal(Outcome(simulated), Outcome(lines));
        var watched = Records(watch.StandardOutput);
        Assert.Equal(Records(await File.ReadAllTextAsync(Path.Combine(tiny.Root, "alone", "metrics.jsonl"))), watched.SkipLast(1));
        Assert.Contains("\"end\":{\"run\":\"far\",\"status\":\"finished\"", watched[^1], StringComparison.Ordinal);
    }

    // From the table of clients to the notes below that of tasks.
    private static string Outcome(string output) =>
        output[output.IndexOf("Outcome (", StringComparison.Ordinal)..output.IndexOf("\n\n", output.IndexOf("\nby task:",
            StringComparison.Ordinal), StringComparison.Ordinal)];

    // All but how long it took.
    private static IReadOnlyList<string> Records(string lines) =>
        [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Select(static line => Untimed(JsonNode.Parse(line)!).ToJsonString())];

    private static JsonNode Untimed(JsonNode node)
    {
        if (node is JsonObject described)
            foreach (var key in new[] { "seconds", "clientSeconds", "timing" }) described.Remove(key);
        var parts = node is JsonObject named ? named.Select(static one => one.Value) : node is JsonArray list ? list : [];
        foreach (var part in parts.OfType<JsonNode>().ToList()) Untimed(part);
        return node;
    }

    private static async Task<string> FailAsync(TinyFederation tiny, FirstSilo silo, string plan, string run)
    {
        await RunningProgram.RunAsync(tiny.Root, "submit", plan, "--run", run, "--server", silo.Url);
        await using var watch = RunningProgram.Start(tiny.Root, "watch", run, "--server", silo.Url);
        Assert.Equal(1, await watch.ExitAsync());
        return watch.Output;
    }

    private static string[] Lines(string output, string with) =>
        [.. output.Split('\n').Where(line => line.Contains(with, StringComparison.Ordinal))];

    private static async Task<string> RunsAsync(string url)
    {
        var runs = await CommandLine.RunAsync("runs", "--server", url);
        Assert.True(runs.Code == 0, runs.Error);
        return runs.Output;
    }

    private static async Task<string> UntilRunsAsync(string url, Func<string, bool> holds)
    {
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            var runs = await RunsAsync(url);
            if (holds(runs)) return runs;
            Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromMinutes(1), $"runs says:\n{runs}");
        }
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    /// <summary>The silo that the others join.</summary>
    private sealed class FirstSilo : IAsyncDisposable
    {
        private readonly TinyFederation _tiny;
        private readonly SiloPlace _place = new();

        private FirstSilo(TinyFederation tiny, string site)
        {
            _tiny = tiny;
            Program = Start(site, _place.Own);
        }

        public string Url => _place.Url;

        public RunningProgram Program { get; }

        public static async Task<FirstSilo> StartAsync(TinyFederation tiny, string site)
        {
            var silo = new FirstSilo(tiny, site);
            await silo.Program.UntilAsync(() => silo.Program.Output.Contains("serves", StringComparison.Ordinal), "the first silo");
            return silo;
        }

        public RunningProgram Join(string site, params string[] more) => Start(site, [.. _place.Join, .. more]);

        public ValueTask DisposeAsync() => Program.DisposeAsync();

        private RunningProgram Start(string site, params string[] more) =>
            RunningProgram.Start(_tiny.Root, ["silo", "--site", site, "--store", "cluster", .. more]);
    }
}
