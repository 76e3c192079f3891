using FedRLora.Client.Commands;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary><c>--may-send</c> for runs in this process, and how its words are read from a command line.</summary>
public sealed class MaySendTests
{
    private const string TaskHeads = "fedsa-lora, scopeB: task";

    private static string Out(TinyFederation tiny) => Path.Combine(tiny.Root, "out");

    [Theory]
    [InlineData(TaskHeads, "B (scope task)", "job")]
    [InlineData("lora", "B (scope job)", "nothing-but", "A")]
    [InlineData("lora", "B (scope job)", "nothing-but A")]
    [InlineData("fedsa-lora", "A (scope job)", "nothing")]
    [InlineData("fedsa-lora", "A (scope job)", "local=nothing-but", "B,", "magnitude")]
    public async Task Simulate_refuses_a_plan_that_sends_more_and_leaves_no_folder(string method, string what, params string[] word)
    {
        using var tiny = new TinyFederation();
        var plan = tiny.WritePlan(method);

        var refused = await CommandLine.RunAsync(["simulate", "--may-send", .. word, plan, "--out", Out(tiny)]);

        Assert.Equal(2, refused.Code);
        Assert.StartsWith($"Site local refuses the plan, which would send updates of {what}:", refused.Error, StringComparison.Ordinal);
        Assert.Single(refused.ErrorLines);
        Assert.False(Directory.Exists(Out(tiny)));
    }

    [Fact]
    public async Task A_plan_within_the_word_runs_and_neither_resume_nor_extend_nor_fork_go_past_a_narrower_one()
    {
        using var tiny = new TinyFederation();
        var (plan, folder) = (tiny.WritePlan("fedsa-lora"), Out(tiny));
        var run = await CommandLine.RunAsync("simulate", plan, "--out", folder, "--may-send", "job", "--no-local-only");
        Assert.True(run.Code == 0, run.Error);
        var report = await File.ReadAllTextAsync(Path.Combine(folder, "report.html"));
        Assert.Contains("A: all clients; B: nobody", report, StringComparison.Ordinal);
        Assert.Matches(@"what training changed in A \(scope job\): [0-9.]+ k?B a client and round, and as much comes back", report);
        var before = Directory.GetFiles(folder, "*", SearchOption.AllDirectories);

        string[][] commands =
        [
            ["resume", folder], ["extend", folder, "--rounds", "3"], ["fork", folder, "--round", "1", "--out", folder + "-fork"],
        ];
        foreach (var command in commands)
        {
            var refused = await CommandLine.RunAsync([.. command, "--may-send", "nothing"]);

            Assert.Equal(2, refused.Code);
            Assert.StartsWith("Site local refuses the plan", refused.Error, StringComparison.Ordinal);
        }

        Assert.Equal(before, Directory.GetFiles(folder, "*", SearchOption.AllDirectories));
        Assert.False(Directory.Exists(folder + "-fork"));
    }

    [Theory]
    [InlineData("fedsa-lora-task-heads", "task")]
    [InlineData("r-lora-federated-task-heads", "nothing-but A,B")]
    public async Task Heads_by_task_run_where_the_word_lets_them_leave(string method, string word)
    {
        using var tiny = new TinyFederation();
        var run = await CommandLine.RunAsync("simulate", tiny.WritePlan(method), "--out", Out(tiny), "--may-send", word);

        Assert.True(run.Code == 0, run.Error);
        Assert.Contains("A: all clients; B: clients of its task", await File.ReadAllTextAsync(Path.Combine(Out(tiny), "report.html")),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_plan_that_shares_nothing_runs_at_a_site_that_lets_nothing_leave()
    {
        using var tiny = new TinyFederation();
        var run = await CommandLine.RunAsync("simulate",
            tiny.WritePlan("lora", strategy: "rounds: 1}\nsharing: none\nevaluation: {localOnly: false"), "--out", Out(tiny),
            "--may-send", "nothing");

        Assert.True(run.Code == 0, run.Error);
    }

    [Theory]
    [InlineData("--may-send: there is no tensor 'magnitud' (did you mean magnitude?)", "nothing-but", "A,magnitud")]
    [InlineData("--may-send: nothing-but needs names of tensors", "nothing-but")]
    [InlineData("--may-send: 'jobs' says nothing about what may leave a site (did you mean job?)", "jobs")]
    [InlineData("--may-send: north is no site here; the sites of the plan are local.", "north=job")]
    public async Task A_word_that_is_none_is_refused_before_anything_starts(string expected, params string[] word)
    {
        using var tiny = new TinyFederation();
        var refused = await CommandLine.RunAsync(["simulate", tiny.WritePlan(), "--out", Out(tiny), "--may-send", .. word]);

        Assert.Equal(2, refused.Code);
        Assert.StartsWith(expected, refused.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Out(tiny)));
    }

    [Fact]
    public async Task A_silo_refuses_a_word_for_a_site_that_it_does_not_serve()
    {
        var refused = await CommandLine.RunAsync("silo", "--site", "north", "--may-send", "nort=job");

        Assert.Equal((2, "--may-send: nort is no site here; the silo serves north."), (refused.Code, refused.Error.TrimEnd()));
    }

    [Theory]
    [InlineData("resume", "x")]
    [InlineData("extend", "x", "--rounds", "3")]
    [InlineData("fork", "x", "--round", "1", "--run", "y")]
    public async Task A_run_on_silos_takes_no_word_from_whoever_resumes_it(params string[] command)
    {
        var refused = await CommandLine.RunAsync([.. command, "--server", "http://127.0.0.1:1", "--may-send", "job"]);

        Assert.Equal(2, refused.Code);
        Assert.StartsWith("--may-send is for a run in this process", refused.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--may-send|nothing-but|A,B|plan", "--may-send|nothing-but A,B|plan")]
    [InlineData("--may-send|nothing-but|A,|B|plan", "--may-send|nothing-but A, B|plan")]
    [InlineData("--may-send|nothing-but|A|,|B|plan", "--may-send|nothing-but A , B|plan")]
    [InlineData("--may-send=nothing-but|A|plan", "--may-send=nothing-but A|plan")]
    [InlineData("--may-send|north=nothing-but|A|--may-send|job", "--may-send|north=nothing-but A|--may-send|job")]
    [InlineData("--may-send|nothing-but A|plan", "--may-send|nothing-but A|plan")]
    [InlineData("--may-send|job|plan", "--may-send|job|plan")]
    [InlineData("--may-send|nothing-but|--json", "--may-send|nothing-but|--json")]
    [InlineData("--out|nothing-but|plan", "--out|nothing-but|plan")]
    [InlineData("--|--may-send|nothing-but|A", "--|--may-send|nothing-but|A")]
    public void Names_behind_nothing_but_belong_to_it(string given, string expected) =>
        Assert.Equal(expected.Split('|'), MaySend.Joined(given.Split('|')));
}
