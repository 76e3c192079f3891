using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Run folders that were moved since their run was made.</summary>
public sealed class MovedRunTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Before => Path.Combine(_tiny.Root, "before");

    private string After => Path.Combine(_tiny.Root, "after");

    [Fact]
    public async Task A_run_that_moved_together_with_its_plan_goes_on_where_it_is()
    {
        await MakeRunAsync();
        Directory.Move(Before, After);
        var run = Path.Combine(After, "runs", "t-1");

        Assert.Equal((0, ""), Outcome(await CommandLine.RunAsync("eval", "--run", run)));
        Assert.Equal((0, ""), Outcome(await CommandLine.RunAsync("export", run)));
        Assert.Equal((0, ""), Outcome(await CommandLine.RunAsync("extend", run, "--rounds", "3")));
        Assert.Equal((0, ""), Outcome(await CommandLine.RunAsync("fork", run, "--round", "1", "--set", "training.learningRate=2e-2",
            "--out", Path.Combine(After, "fork"))));
        Assert.Equal((0, ""), Outcome(await CommandLine.RunAsync("verify", run)));
    }

    [Fact]
    public async Task A_run_that_moved_alone_still_finds_its_data()
    {
        await MakeRunAsync();
        Directory.Move(Path.Combine(Before, "runs", "t-1"), After);

        Assert.Equal((0, ""), Outcome(await CommandLine.RunAsync("eval", "--run", After)));
        Assert.Equal((0, ""), Outcome(await CommandLine.RunAsync("extend", After, "--rounds", "3")));
    }

    [Fact]
    public async Task Where_the_plans_folder_is_gone_run_json_is_named_and_nothing_is_changed()
    {
        await MakeRunAsync();
        Directory.CreateDirectory(Path.Combine(_tiny.Root, "deep", "er"));
        Directory.Move(Path.Combine(Before, "runs", "t-1"), After);
        Directory.Move(Before, Path.Combine(_tiny.Root, "deep", "er", "plan"));
        var plan = await File.ReadAllTextAsync(Path.Combine(After, "plan.yaml"));
        string[][] commands = [["eval", "--run", After], ["export", After], ["resume", After], ["extend", After, "--rounds", "3"],
            ["fork", After, "--round", "1"]];

        foreach (var command in commands)
        {
            var result = await CommandLine.RunAsync(command);
            Assert.Equal(
                (2, $"{Path.Combine(After, "run.json")}: root: {Before}, from which the plan's paths start, is not there; "
                    + "write there where that folder is now.\n"),
                (result.Code, result.Error));
        }

        Assert.Equal(plan, await File.ReadAllTextAsync(Path.Combine(After, "plan.yaml")));
    }

    private async Task MakeRunAsync()
    {
        _tiny.WritePlan();
        var entries = Directory.GetFileSystemEntries(_tiny.Root);
        Directory.CreateDirectory(Before);
        foreach (var entry in entries) Directory.Move(entry, Path.Combine(Before, Path.GetFileName(entry)));
        Assert.Equal(0,
            (await CommandLine.RunAsync("simulate", Path.Combine(Before, "plan.yaml"), "--out", Path.Combine(Before, "runs", "t-1"))).Code);
    }

    private static (int Code, string Error) Outcome(CommandResult result) => (result.Code, result.Error);
}
