using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions.Messages;
using FedRLora.Grains.Tests;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Base, tokenizer and rows that are exchanged under a run of two rounds in a folder.</summary>
public sealed class InputChangeTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Folder(string name) => Path.Combine(_tiny.Root, name);

    public static TheoryData<string, string> Files => new()
    {
        { "model/config.json", "config.json of model is not the one that run tiny was made with (sha256 " },
        { "model/tokenizer.json", "tokenizer.json of model is not the one that run tiny was made with (sha256 " },
        { "model/model.safetensors", "model.safetensors of model is not the one that run tiny was made with (sha256 " },
        { "one.train.jsonl", "one.train.jsonl: the training rows of client one are not those that run tiny was made with" },
        { "two.test.jsonl", "two.test.jsonl: the test rows of client two are not those that run tiny was made with" },
    };

    [Theory]
    [MemberData(nameof(Files))]
    public async Task Extend_and_fork_refuse_another_file_and_leave_everything_as_it_is(string file, string said)
    {
        var run = await SimulateAsync();
        var before = Content(run);
        Change(file);

        foreach (var args in new[] { new[] { "extend", run, "--rounds", "3" }, ["fork", run, "--round", "2", "--out", Folder("fork")] })
        {
            var refused = await CommandLine.RunAsync(args);

            Assert.Equal((2, ""), (refused.Code, refused.Output));
            Assert.StartsWith(said, Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
            Assert.Contains("--allow-data-change", refused.Error, StringComparison.Ordinal);
            Assert.Equal(before, Content(run));
            Assert.False(Directory.Exists(Folder("fork")));
        }

        var fork = await CommandLine.RunAsync("fork", run, "--round", "2", "--out", Folder("fork"), "--allow-data-change");
        var extended = await CommandLine.RunAsync("extend", run, "--rounds", "3", "--allow-data-change");
        Assert.True((fork.Code, extended.Code) == (0, 0), fork.Error + extended.Error);
        AssertChanged(file, Manifest(run, 2), Manifest(run, 3));
        AssertChanged(file, Manifest(run, 2), Manifest(Folder("fork"), 0));
        foreach (var folder in new[] { run, Folder("fork") })
        {
            var verified = await CommandLine.RunAsync("verify", folder, "--json");
            Assert.True(verified.Code == 0, verified.Output);
            var change = Assert.Single(JsonDocument.Parse(verified.Output).RootElement.GetProperty("changes").EnumerateArray()).GetString();
            Assert.StartsWith(folder == run ? "from round 3 on: other " : "from round 0 on: other ", change, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("model")]
    [InlineData("one.train.jsonl")]
    [InlineData("two.test.jsonl")]
    public async Task What_is_missing_is_to_be_put_back_and_not_to_be_allowed(string missing)
    {
        var run = await SimulateAsync();
        var before = Content(run);
        Directory.Move(Folder(missing), Folder("elsewhere"));

        foreach (var args in new[] { new[] { "extend", run, "--rounds", "3" }, ["fork", run, "--round", "2", "--out", Folder("fork")] })
        {
            var refused = await CommandLine.RunAsync(args);

            Assert.Equal((2, ""), (refused.Code, refused.Output));
            Assert.EndsWith(". Put back what it was.", Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
            Assert.Equal(before, Content(run));
            Assert.False(Directory.Exists(Folder("fork")));
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public async Task Resume_refuses_another_file_before_any_work(string file, string said)
    {
        var run = await StoppedAsync();
        var before = Content(run);
        Change(file);

        var refused = await CommandLine.RunAsync("resume", run, "--allow-engine-change");

        Assert.Equal((2, ""), (refused.Code, refused.Output));
        Assert.StartsWith(said, Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
        Assert.Equal(before, Content(run));
        var allowed = await CommandLine.RunAsync("resume", run, "--allow-data-change");
        Assert.True(allowed.Code == 0, allowed.Error);
        Assert.StartsWith($"tiny: goes on with what changed: {said}", allowed.ErrorLines[0], StringComparison.Ordinal);
        AssertChanged(file, Manifest(run, 2), Manifest(run, 3));
        Assert.Equal(3, Manifest(run, 3).Round);
    }

    [Fact]
    public async Task Lost_digests_of_rows_are_not_taken_for_a_client_that_never_worked()
    {
        var run = await StoppedAsync();
        var key = "sites/local/jobs/tiny/clients/one/rows.json";
        File.Delete(Path.Combine(run, "store", key));
        Change("one.train.jsonl");
        var before = Content(run);

        foreach (var args in new[]
        {
            new[] { "resume", run }, ["extend", run, "--rounds", "4"], ["fork", run, "--round", "2", "--out", Folder("fork")],
        })
        {
            var refused = await CommandLine.RunAsync(args);

            Assert.Equal((2, ""), (refused.Code, refused.Output));
            Assert.StartsWith(
                $"{key} is missing, so it cannot be told whether the rows of client one are those that run tiny was made with",
                Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
            Assert.Equal(before, Content(run));
        }

        var allowed = await CommandLine.RunAsync("resume", run, "--allow-data-change");
        Assert.True(allowed.Code == 0, allowed.Error);
        AssertChanged("one.train.jsonl", Manifest(run, 2), Manifest(run, 3));
        Assert.Equal(0, (await CommandLine.RunAsync("verify", run)).Code);
    }

    [Fact]
    public async Task What_is_the_same_content_at_another_time_or_place_is_no_change()
    {
        var run = await StoppedAsync();
        foreach (var file in Directory.GetFiles(Folder("model")))
        {
            File.Copy(file, file + ".copy");
            File.Move(file + ".copy", file, overwrite: true); // another inode, time and ctime
        }

        File.AppendAllText(Folder("model/README.md"), "of no interest");
        Directory.Move(Folder("model"), Folder("moved"));
        Directory.CreateSymbolicLink(Folder("model"), Folder("moved"));

        var resumed = await CommandLine.RunAsync("resume", run);

        Assert.Equal((0, ""), (resumed.Code, resumed.Error));
        var fork = await CommandLine.RunAsync("fork", run, "--round", "3", "--set", "model=moved", "--out", Folder("fork"));
        Assert.Equal((0, ""), (fork.Code, fork.Error));
        Assert.Equal(Manifest(run, 3).Base, Manifest(Folder("fork"), 0).Base);
    }

    [Fact]
    public async Task A_base_that_does_not_take_what_was_trained_is_refused_also_where_change_is_allowed()
    {
        var run = await SimulateAsync();
        var config = JsonNode.Parse(File.ReadAllText(Folder("model/config.json")))!.AsObject();
        var before = Content(run);
        Assert.True(config["num_hidden_layers"]!.GetValue<int>() > 1);
        config["num_hidden_layers"] = 1;
        File.WriteAllText(Folder("model/config.json"), config.ToJsonString());

        foreach (var args in new[] { new[] { "extend", run, "--rounds", "3" }, ["fork", run, "--round", "2", "--out", Folder("fork")] })
        {
            var refused = await CommandLine.RunAsync([.. args, "--allow-data-change"]);
            Assert.True(refused.Code == 2, refused.Output + refused.Error);
            Assert.Equal(before, Content(run));
            Assert.False(Directory.Exists(Folder("fork")));
        }
    }

    [Fact]
    public async Task Export_refuses_another_base_and_takes_another_tokenizer()
    {
        var run = await SimulateAsync();
        Change("model/tokenizer.json");
        Assert.Equal(0, (await CommandLine.RunAsync("export", run, "--out", Folder("adapters"))).Code);
        Change("model/model.safetensors");

        var refused = await CommandLine.RunAsync("export", run, "--out", Folder("others"));

        Assert.Equal(2, refused.Code);
        Assert.StartsWith("model.safetensors of model is not the one that run tiny was made with", Assert.Single(refused.ErrorLines),
            StringComparison.Ordinal);
        Assert.False(Directory.Exists(Folder("others")));
    }

    [Fact]
    public async Task Eval_of_a_run_names_what_changed()
    {
        var run = await SimulateAsync();
        Change("two.test.jsonl");

        var scored = await CommandLine.RunAsync("eval", "--run", run);

        Assert.StartsWith($"{run}: two.test.jsonl: the test rows of client two", scored.ErrorLines[0], StringComparison.Ordinal);
    }

    private async Task<string> SimulateAsync()
    {
        var result = await CommandLine.RunAsync("simulate", _tiny.WritePlan(), "--no-local-only", "--out", Folder("run"));
        Assert.Equal((0, ""), (result.Code, result.Error));
        return Folder("run");
    }

    // As a run of three rounds that was killed after the second.
    private async Task<string> StoppedAsync()
    {
        var run = await SimulateAsync();
        var extended = await CommandLine.RunAsync("extend", run, "--rounds", "3");
        Assert.True(extended.Code == 0, extended.Error);
        var store = Path.Combine(run, "store");
        Directory.Delete(Path.Combine(store, "jobs/tiny/rounds/3"), recursive: true);
        Directory.Delete(Path.Combine(store, "grains"), recursive: true);
        var current = new CurrentRound { Round = 2, ManifestSha256 = RoundManifest.Digest(Manifest(run, 2).ToBytes()) };
        await File.WriteAllBytesAsync(Path.Combine(store, "jobs/tiny/current.json"), current.ToBytes());
        await File.WriteAllTextAsync(Path.Combine(store, "index/tiny"), "running");
        return run;
    }

    private void Change(string file)
    {
        var path = Folder(file);
        if (file.EndsWith(".jsonl", StringComparison.Ordinal)) File.WriteAllLines(path, File.ReadAllLines(path).Reverse());
        else if (file.EndsWith(".json", StringComparison.Ordinal)) File.AppendAllText(path, "\n");
        else
        {
            var bytes = File.ReadAllBytes(path);
            bytes[^2] ^= 1;
            File.WriteAllBytes(path, bytes);
        }
    }

    private static void AssertChanged(string file, RoundManifest before, RoundManifest after)
    {
        var isRow = file.EndsWith(".jsonl", StringComparison.Ordinal);
        Assert.Equal(isRow, before.Base == after.Base);
        Assert.Equal(isRow ? [file.Split('.')[0]] : [], after.Clients.Where(static client => client.Rows == "changed")
            .Select(static client => client.Id));
    }

    private static string Content(string run) =>
        string.Join('\n', Directory.GetFiles(run, "*", SearchOption.AllDirectories).Where(static file => Path.GetFileName(file)[0] != '.')
        .Order(StringComparer.Ordinal).Select(static file => $"{file} {RoundManifest.Digest(File.ReadAllBytes(file))}"));

    private static RoundManifest Manifest(string run, int round)
    {
        var store = Path.Combine(run, "store");
        var path = Path.Combine(store, StoredRounds.Manifest(store, "tiny", round));
        return RoundManifest.Parse(File.ReadAllBytes(path), path);
    }
}
