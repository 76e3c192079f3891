using System.Text.Json;
using FedRLora.Client.Local;
using FedRLora.EndToEnd.Tests.Wall;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

public sealed class SweepAndCompareTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly string _plan;

    public SweepAndCompareTests() => _plan = _tiny.WritePlan(strategy: "rounds: 1");

    public void Dispose() => _tiny.Dispose();

    private string Folder(string name) => Path.Combine(_tiny.Root, name);

    [Fact]
    public async Task A_sweep_runs_every_value_goes_on_where_it_was_and_its_runs_are_listed_and_compared()
    {
        string[] sweep =
        [
            "sweep", _plan, "--set", "training.steps=1", "--over", "training.learningRate=1e-3,5e-2", "--out", Folder("sweep"),
        ];
        var first = await CommandLine.RunAsync(sweep);
        var (slow, fast) = (Folder("sweep/learningRate-1e-3"), Folder("sweep/learningRate-5e-2"));
        var digest = await DigestAsync(slow);
        Directory.Delete(fast, recursive: true);

        var second = await CommandLine.RunAsync("sweep", "--resume", Folder("sweep"));
        var third = await CommandLine.RunAsync(sweep);

        Assert.Equal((0, "", 0, "", 0, ""), (first.Code, first.Error, second.Code, second.Error, third.Code, third.Error));
        Assert.Contains("run 1 of 2: learningRate-1e-3, in ", first.Output, StringComparison.Ordinal);
        Assert.Contains("run 1 of 2: learningRate-1e-3 is finished", second.Output, StringComparison.Ordinal);
        Assert.Contains("run 2 of 2: learningRate-5e-2, in ", second.Output, StringComparison.Ordinal);
        Assert.Contains("run 2 of 2: learningRate-5e-2 is finished", third.Output, StringComparison.Ordinal);
        Assert.Contains("2 runs were compared", third.Output, StringComparison.Ordinal);
        Assert.Equal(digest, await DigestAsync(slow));
        Assert.Contains("learningRate: 5e-2", await File.ReadAllTextAsync(Path.Combine(fast, "plan.yaml")), StringComparison.Ordinal);
        Assert.Equal(3, (await File.ReadAllLinesAsync(Folder("sweep/sweep.csv"))).Length);

        await ListAsync(slow);
        await CompareAsync(slow, fast);
    }

    [Fact]
    public async Task A_sweep_on_silos_reads_what_is_finished_and_leaves_another_plan_of_the_same_name_alone()
    {
        await using var silo = await WallSilo.StartAsync();
        string[] sweep = ["sweep", _plan, "--over", "training.learningRate=1e-3,5e-2", .. silo.Target];

        var first = await CommandLine.RunAsync(sweep);
        var second = await CommandLine.RunAsync(sweep);
        var other = await CommandLine.RunAsync([.. sweep, "--set", "training.steps=7"]);

        Assert.Equal((0, "", 0, ""), (first.Code, first.Error, second.Code, second.Error));
        Assert.Contains("2 runs were compared", second.Output, StringComparison.Ordinal);
        Assert.Equal(1, other.Code);
        Assert.Contains(
            "another plan runs there under this name; give the sweep another one with --run.", other.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData]
    [InlineData("--server", "http://127.0.0.1:9")]
    public async Task Values_that_mean_the_same_are_refused_before_anything_begins(params string[] more)
    {
        var sweep = await CommandLine.RunAsync(["sweep", _plan, "--over", "training.steps=2,02", .. more]);

        Assert.Equal(2, sweep.Code);
        Assert.Equal("steps-2 and steps-02 are one and the same plan; leave out what is given twice", sweep.Error.Trim());
    }

    [Fact]
    public async Task Arms_are_run_with_every_seed_and_told_over_seeds()
    {
        string[] sweep =
        [
            "sweep", _plan, "--arm", "local={sharing: none}", "--arm", "few={training.steps: 1, adapter.rank: 2}", "--seeds", "1,2",
            "--out", Folder("arms"),
        ];
        var first = await CommandLine.RunAsync(sweep);
        var alone = await CommandLine.RunAsync(
            "simulate", _plan, "--set", "sharing=none", "--set", "seed=2", "--out", Folder("alone"), "--no-local-only");
        var again = await CommandLine.RunAsync("sweep", "--resume", Folder("arms"));
        var more = await CommandLine.RunAsync([.. sweep[..^4], "--seeds", "2,1,3", "--out", Folder("arms")]);
        var fewer = await CommandLine.RunAsync([.. sweep[..^4], "--seeds", "1", "--out", Folder("arms")]);
        var twice = await CommandLine.RunAsync([.. sweep[..4], "--over", "sharing=method,none", "--out", Folder("twice")]);

        Assert.Equal((0, 2), (more.Code, fewer.Code));
        Assert.Equal(4, more.Output.Split('\n').Count(static line => line.EndsWith(" is finished", StringComparison.Ordinal)));
        Assert.Contains("holds a sweep of another plan or other values", fewer.Error, StringComparison.Ordinal);
        Assert.Equal((0, "", 0, "", 0), (first.Code, first.Error, again.Code, again.Error, alone.Code));
        Assert.Contains("over seeds", again.Output, StringComparison.Ordinal);
        // The trainer that the runs share changes nothing of them.
        Assert.Equal(await DigestAsync(Folder("alone")), await DigestAsync(Folder("arms/local_seed-2")));
        var record = JsonDocument.Parse(await File.ReadAllTextAsync(Folder("arms/sweep.json"))).RootElement;
        Assert.Equal(["local", "few"], record.GetProperty("arms").EnumerateArray()
            .Select(static arm => arm.GetProperty("name").GetString()));
        Assert.Equal(2, record.GetProperty("groups").GetArrayLength());
        Assert.StartsWith("run,arm,seed,", await File.ReadAllTextAsync(Folder("arms/sweep.csv")), StringComparison.Ordinal);
        var picture = System.Xml.Linq.XDocument.Load(Folder("arms/sweep.svg")).Descendants().ToList();
        Assert.Equal(6, picture.Count(static element => element.Name.LocalName == "circle")); // two arms with three seeds
        Assert.Equal(["few", "local"], picture.Where(static element => element.Name.LocalName == "text").Select(static text => text.Value)
            .Where(static text => text is "few" or "local").Order(StringComparer.Ordinal));
        Assert.Equal(2, twice.Code);
        Assert.Contains("both set sharing", twice.Error, StringComparison.Ordinal);
    }

    private async Task ListAsync(string run)
    {
        Directory.CreateDirectory(Folder("sweep/foreign"));
        Directory.CreateDirectory(Folder("sweep/half/store"));
        await File.WriteAllTextAsync(Folder("sweep/half/plan.yaml"), "name: half\n");

        var table = await CommandLine.RunAsync("runs", _tiny.Root);
        var json = await CommandLine.RunAsync("runs", "--json", run);
        bool held;
        using (RunDirectory.OpenToRun(run))
            held = (await CommandLine.RunAsync("runs", run)).Output.Contains(" running ", StringComparison.Ordinal);

        Assert.Equal(0, table.Code);
        Assert.Equal(2, table.Output.Split('\n').Count(static line => line.Contains(" finished ", StringComparison.Ordinal)));
        Assert.Contains(table.ErrorLines, static line => line.Contains("half/run.json is missing", StringComparison.Ordinal));
        var line = JsonDocument.Parse(json.Output).RootElement;
        Assert.Equal((1, "finished", 1, 1), (line.GetProperty("schema").GetInt32(), line.GetProperty("status").GetString(),
            line.GetProperty("committed").GetInt32(), line.GetProperty("rounds").GetInt32()));
        Assert.True(held);
    }

    private async Task CompareAsync(string one, string other)
    {
        var text = await CommandLine.RunAsync("compare", one, other);
        var json = await CommandLine.RunAsync("compare", one, other, "--json");
        var same = await CommandLine.RunAsync("compare", one, Path.Combine(one, "."));
        var mixed = await CommandLine.RunAsync("compare", one, "somewhere");

        Assert.Equal((0, ""), (text.Code, text.Error));
        Assert.Contains("training.learningRate  1e-3  5e-2", text.Output, StringComparison.Ordinal);
        var compared = JsonDocument.Parse(json.Output).RootElement;
        Assert.Equal(await DigestAsync(one), compared.GetProperty("runs")[0].GetProperty("sha256").GetString());
        Assert.Equal(1, compared.GetProperty("runs")[1].GetProperty("statesPartIn").GetInt32());
        Assert.All(compared.GetProperty("clients").EnumerateArray(),
            static client => Assert.True(client.GetProperty("scores")[1].GetProperty("isPaired").GetBoolean()));
        Assert.Equal((2, 2), (same.Code, mixed.Code));
        Assert.Contains("is named 2 times", Assert.Single(same.ErrorLines), StringComparison.Ordinal);
        Assert.Contains("compared with each other alone", Assert.Single(mixed.ErrorLines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Everything_that_is_wrong_with_any_run_of_a_sweep_is_said_before_the_first_begins()
    {
        var refused = await CommandLine.RunAsync(
            "sweep", _plan, "--over", "training.steps=1,ten", "--over", "adapter.rank=4,x", "--out", Folder("sweep"));

        Assert.Equal(2, refused.Code);
        Assert.Equal(2, refused.ErrorLines.Count);
        Assert.StartsWith("--over adapter.rank=x: adapter.rank: ", refused.ErrorLines[0], StringComparison.Ordinal);
        Assert.StartsWith("--over training.steps=ten: training.steps: ", refused.ErrorLines[1], StringComparison.Ordinal);
        Assert.False(Directory.Exists(Folder("sweep")));
    }

    [Fact]
    public async Task A_run_that_fails_does_not_keep_the_others_of_a_sweep_from_running()
    {
        var swept = await CommandLine.RunAsync("sweep", _plan, "--over", "model=nowhere,model", "--out", Folder("sweep"));

        Assert.Equal(1, swept.Code);
        Assert.StartsWith("model-nowhere: ", swept.ErrorLines[0], StringComparison.Ordinal);
        Assert.Contains("model-nowhere: not begun", swept.Output, StringComparison.Ordinal);
        Assert.Equal(["finished"], Statuses());

        IEnumerable<string?> Statuses() => JsonDocument.Parse(File.ReadAllText(Folder("sweep/sweep.json"))).RootElement.GetProperty("runs")
            .EnumerateArray().Where(static run => run.TryGetProperty("status", out _))
            .Select(static run => run.GetProperty("status").GetString());
    }

    [Fact]
    public async Task Folders_and_silos_are_not_listed_at_once()
    {
        var both = await CommandLine.RunAsync("runs", _tiny.Root, "--server", "http://127.0.0.1:1");

        Assert.Equal(2, both.Code);
        Assert.Contains("folders are listed without it", Assert.Single(both.ErrorLines), StringComparison.Ordinal);
    }

    private static async Task<string?> DigestAsync(string run) => (await FolderRun.ReadAsync(run, CancellationToken.None)).Sha256;
}
