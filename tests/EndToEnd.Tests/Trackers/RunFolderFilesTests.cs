using System.Text;
using FedRLora.Client;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Trackers;

/// <summary>The files of a run folder while its run goes on, and after.</summary>
public sealed class RunFolderFilesTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Run => Path.Combine(_tiny.Root, "run");

    private string Events => EventRecords.FileIn(Run, "tensorboard", "federated");

    [Fact]
    public async Task Files_have_each_round_as_soon_as_it_is_shown_and_go_on_when_the_run_is_extended()
    {
        using var output = new Watching(() =>
            (File.ReadLines(Path.Combine(Run, "metrics.jsonl")).Count(), EventRecords.Read(Events).Count - 1));
        using var error = new StringWriter();
        string[] args = ["simulate", _tiny.WritePlan(), "--out", Run, "--json"];
        Assert.Equal(0, await Cli.RunAsync(args, Program.Commands, output, error));
        Assert.Equal([(1, 1), (2, 2), (3, 3)], output.Seen);
        string[] paths = [Path.Combine(Run, "metrics.csv"), Path.Combine(Run, "metrics.jsonl"), Events];
        var before = paths.Select(File.ReadAllBytes).ToList();

        Assert.Equal(0, (await CommandLine.RunAsync("extend", Run, "--rounds", "3")).Code);

        foreach (var (path, bytes) in paths.Zip(before)) Assert.Equal(bytes, File.ReadAllBytes(path)[..bytes.Length]);
        Assert.Equal([0, 1, 2, 3], EventRecords.Read(Events).Skip(1).Select(static one => one.Step));
        var folder = Path.Combine(_tiny.Root, "copy");
        Assert.Equal(0, (await CommandLine.RunAsync("metrics", Run, "--format", "tensorboard", "--out", folder)).Code);
        Assert.Equal(File.ReadAllBytes(Events), File.ReadAllBytes(EventRecords.FileIn(folder, "federated")));
    }

    [Fact]
    public async Task Event_files_need_a_folder_of_their_own()
    {
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", _tiny.WritePlan(strategy: "rounds: 1"), "--out", Run)).Code);

        var nowhere = await CommandLine.RunAsync("metrics", Run, "--format", "tensorboard");
        var file = await CommandLine.RunAsync("metrics", Run, "--format", "tensorboard", "--out", Path.Combine(Run, "plan.yaml"));

        Assert.Equal((2, "--out: name a folder; event files are no text for standard output\n"), (nowhere.Code, nowhere.Error));
        Assert.Equal((2, $"--out: {Path.Combine(Run, "plan.yaml")} is a file; name a folder\n"), (file.Code, file.Error));
    }

    // What is true when each line of a round is shown.
    private sealed class Watching(Func<(int, int)> look) : StringWriter
    {
        public List<(int Lines, int Events)> Seen { get; } = [];

        public override Encoding Encoding => Encoding.UTF8;

        public override void WriteLine(string? value)
        {
            if (value?.Contains("\"round\":", StringComparison.Ordinal) == true && value.Contains("sha256", StringComparison.Ordinal))
                Seen.Add(look());
            base.WriteLine(value);
        }
    }
}
