using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Groups side by side, in the program: the digest of a run knows nothing of lanes.</summary>
public sealed class LanesTests : IDisposable
{
    private const int Clients = 8;
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task A_run_has_the_same_digest_with_one_two_and_four_lanes_and_on_two_devices(int groupSize)
    {
        var plan = Plan(rounds: 2, $"groupSize: {groupSize}");
        await RunningProgram.RunAsync(_tiny.Root, "simulate", plan, "--lanes", "1", "--out", "one");
        foreach (var (run, given) in new[]
        {
            ("two", (string[])["--lanes", "2"]), ("four", ["--lanes", "4"]), ("devices", ["--device", "cpu:0,cpu:1"]),
        })
        {
            await RunningProgram.RunAsync(_tiny.Root, ["simulate", plan, .. given, "--out", run]);
            if (Digest("one") != Digest(run)) Assert.Fail($"{run}: {RunDifferences.Of(StoreOf("one"), StoreOf(run), "tiny", 2)}");
        }
    }

    [Fact]
    public async Task A_run_that_began_with_one_lane_and_was_killed_ends_with_two_as_if_nothing_had_happened()
    {
        var plan = Plan(rounds: 8, "groupSize: 2");
        await RunningProgram.RunAsync(_tiny.Root, "simulate", plan, "--lanes", "1", "--out", "undisturbed");
        await using (var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--lanes", "1", "--out", "run"))
        {
            await program.UntilAsync(() => Committed("run") is >= 2, "round 2");
            program.Kill();
            await program.ExitAsync();
        }

        Assert.InRange(Committed("run")!.Value, 2, 7);
        await RunningProgram.RunAsync(_tiny.Root, "resume", "run", "--lanes", "2");
        Assert.Equal(Digest("undisturbed"), Digest("run"));
    }

    [Fact]
    public async Task Two_runs_at_once_on_a_silo_of_two_lanes_have_the_digests_of_each_alone()
    {
        var plan = Plan(rounds: 6, "groupSize: 2");
        await RunningProgram.RunAsync(_tiny.Root, "simulate", plan, "--lanes", "1", "--out", "alone");
        var place = new SiloPlace();
        await using var silo = RunningProgram.Start(
            _tiny.Root, ["silo", "--site", "local", "--store", "cluster", "--lanes", "2", .. place.Own]);
        await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "the silo");

        // One plan, two runs: they take turns all the same.
        await RunningProgram.RunAsync(_tiny.Root, "submit", plan, "--run", "first", "--server", place.Url);
        await RunningProgram.RunAsync(_tiny.Root, "submit", plan, "--run", "second", "--server", place.Url);
        foreach (var run in (string[])["first", "second"])
        {
            await using var watch = RunningProgram.Start(_tiny.Root, "watch", run, "--server", place.Url);
            Assert.True(await watch.ExitAsync() == 0, watch.Output + silo.Output);
            Assert.Equal(Digest("alone"), TinyPlan.Committed(_tiny, run)!.ManifestSha256);
        }

        var refused = RunningProgram.Start(_tiny.Root, "resume", "first", "--lanes", "2", "--server", place.Url);
        await using (refused)
        {
            Assert.Equal(2, await refused.ExitAsync());
            Assert.Contains("--lanes is for a run in this process", refused.Output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Ctrl_C_while_every_lane_is_in_a_step_ends_with_130_and_the_run_goes_on_from_there()
    {
        var plan = Plan(rounds: 3, "groupSize: 1");
        File.WriteAllText(plan, File.ReadAllText(plan).Replace("steps: 4", "steps: 100", StringComparison.Ordinal));
        await using (var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--lanes", "4", "--out", "run"))
        {
            await program.UntilAsync(
                () => program.Output.Contains("round 1/3", StringComparison.Ordinal) || Committed("run") >= 1, "round 1");
            program.Interrupt();
            Assert.True(await program.ExitAsync() == 130, program.Output);
        }

        Assert.InRange(Committed("run")!.Value, 0, 2);
        await RunningProgram.RunAsync(_tiny.Root, "resume", "run", "--lanes", "2");
        await RunningProgram.RunAsync(_tiny.Root, "verify", "run");
        await RunningProgram.RunAsync(_tiny.Root, "simulate", plan, "--lanes", "1", "--out", "undisturbed");
        Assert.Equal(Digest("undisturbed"), Digest("run"));
    }

    [Fact]
    public async Task Validate_says_how_many_train_together_and_why_and_names_what_ties_bits_to_a_machine()
    {
        var chosen = await CommandLine.RunAsync("validate", Plan(rounds: 1, "groupSize: auto"));
        Assert.Contains(
            "Groups: up to 4 clients of a site train together (auto, from the shapes of model and plan), 2 groups in all.",
            chosen.Output, StringComparison.Ordinal);
        var given = await CommandLine.RunAsync("validate", Plan(rounds: 1, "groupSize: 3"));
        Assert.Contains("Groups: up to 3 clients of a site train together, 3 groups in all.", given.Output, StringComparison.Ordinal);
        var alone = await CommandLine.RunAsync("validate", Plan(rounds: 1, "threads: 0, groupSize: 1"));
        Assert.Contains("Groups: each client by itself, 8 groups in all.", alone.Output, StringComparison.Ordinal);
        Assert.Contains("training.threads: 0 takes all processors", alone.Output, StringComparison.Ordinal);
        var json = await CommandLine.RunAsync("validate", "--json", Plan(rounds: 1, "groupSize: auto"));
        Assert.Contains("\"groupSize\": 4", json.Output, StringComparison.Ordinal);

        Directory.Delete(Path.Combine(_tiny.Root, "model"), recursive: true);
        var elsewhere = await CommandLine.RunAsync("validate", Plan(rounds: 1, "groupSize: auto"));
        Assert.Equal(0, elsewhere.Code);
        Assert.Contains("Groups: chosen when the run begins, from the model's shapes, which cannot be read here", elsewhere.Output,
            StringComparison.Ordinal);
        var wrong = await CommandLine.RunAsync("validate", Plan(rounds: 1, "groupSize: all"));
        Assert.Equal(2, wrong.Code);
        Assert.Contains("\"all\" is not auto or a number from 1 to 1024", wrong.Error, StringComparison.Ordinal);
    }

    private string Plan(int rounds, string training)
    {
        var plan = TinyPlan.Write(
            _tiny, rounds,
            string.Join('\n', Enumerable.Range(0, Clients).Select(static i => TinyPlan.Client($"c{i}", i % 2 == 0 ? "one" : "two"))));
        File.WriteAllText(plan, File.ReadAllText(plan).Replace("threads: 1, groupSize: 1", training, StringComparison.Ordinal));
        return plan;
    }

    private string Digest(string run) => Current(run)!.ManifestSha256;

    private int? Committed(string run) => Current(run)?.Round;

    private string StoreOf(string run) => Path.Combine(_tiny.Root, run, "store");

    private CurrentRound? Current(string run)
    {
        var file = Path.Combine(StoreOf(run), Keys.Current("tiny"));
        return File.Exists(file) ? CurrentRound.Parse(File.ReadAllBytes(file), file) : null;
    }
}
