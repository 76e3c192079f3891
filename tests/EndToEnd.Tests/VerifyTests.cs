using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Grains.Tests;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>verify and gc on a run of two rounds, with its reference run, that a test may damage.</summary>
public sealed class VerifyTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string Run => Path.Combine(_tiny.Root, "run");

    private string Store => Path.Combine(Run, "store");

    [Fact]
    public async Task A_run_verifies_until_one_byte_of_any_blob_is_flipped()
    {
        await SimulateAsync();
        var intact = await CommandLine.RunAsync("verify", Run);
        Assert.Equal((0, ""), (intact.Code, intact.Error));
        var digest = JsonDocument.Parse((await CommandLine.RunAsync("verify", Run, "--json")).Output.Split('\n')[0]).RootElement
            .GetProperty("digest").GetString();
        Assert.Matches($"^tiny: 2 rounds, [0-9]+ blobs, digest {digest}\ntiny.local-only: 2 rounds, [0-9]+ blobs, digest [0-9a-f]{{64}}\n$",
            intact.Output);

        var blobs = Directory.GetFiles(Store, "*", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(Store, file))
            .Where(static key => key[0] != '.').Order(StringComparer.Ordinal).ToArray();
        Assert.True(blobs.Length > 40, $"{blobs.Length} blobs");
        foreach (var blob in blobs)
        {
            var file = Path.Combine(Store, blob);
            var bytes = await File.ReadAllBytesAsync(file);
            var flipped = bytes.ToArray();
            flipped[bytes.Length / 2] ^= 4;
            await File.WriteAllBytesAsync(file, flipped);

            var broken = await CommandLine.RunAsync("verify", Run);

            Assert.Equal(1, broken.Code);
            Assert.Matches($"^tiny(.local-only)?: broken: {blob} (has|names) digest [0-9a-f]{{64}}, .*; ", broken.ErrorLines[0]);
            Assert.DoesNotContain("more blob", broken.Error, StringComparison.Ordinal);
            await File.WriteAllBytesAsync(file, bytes);
        }
    }

    [Fact]
    public async Task A_store_of_silos_is_verified_by_the_id_of_a_run()
    {
        await SimulateAsync();

        var verified = await CommandLine.RunAsync("verify", "--store", Store, "--job", "tiny");

        Assert.Equal((0, ""), (verified.Code, verified.Error));
        Assert.StartsWith("tiny: 2 rounds, ", verified.Output, StringComparison.Ordinal);
        Assert.Equal(2, (await CommandLine.RunAsync("verify", "--store", Store, "--job", "another")).Code);
        Assert.Equal(2, (await CommandLine.RunAsync("verify", "--store", Path.Combine(_tiny.Root, "nowhere"), "--job", "tiny")).Code);
        Assert.False(Directory.Exists(Path.Combine(_tiny.Root, "nowhere")));
        Assert.Equal(2, (await CommandLine.RunAsync("verify", _tiny.Root)).Code);
        Assert.Equal(2, (await CommandLine.RunAsync("verify", Run, "--job", "tiny")).Code);
    }

    [Fact]
    public async Task Gc_removes_leftovers_and_nothing_that_the_run_needs()
    {
        await SimulateAsync("{keepLast: 1}");
        var left = Path.Combine(Store, Keys.Update("tiny", 1, 1, "one"));
        Directory.CreateDirectory(Path.GetDirectoryName(left)!);
        await File.WriteAllBytesAsync(left, new byte[1000]);
        var torn = Path.Combine(Store, ".tmp", "torn");
        await File.WriteAllBytesAsync(torn, new byte[10]);
        Assert.Contains("1 blob not named by any manifest", (await CommandLine.RunAsync("verify", Run)).Output, StringComparison.Ordinal);

        var dry = await CommandLine.RunAsync("gc", Run, "--dry-run");
        Assert.Equal((0, ""), (dry.Code, dry.Error));
        Assert.Contains($"{Keys.Update("tiny", 1, 1, "one")}  1.0 kB\ntiny: would remove 1 blob, 1.0 kB\n", dry.Output,
            StringComparison.Ordinal);
        Assert.True(File.Exists(left));

        using (new FileStream(Path.Combine(Run, ".lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
            Assert.Equal((2, $"{Run} is in use by another process\n"),
                (await CommandLine.RunAsync("gc", Run)) is var refused ? (refused.Code, refused.Error) : default);
        Assert.Contains("tiny: removed 1 blob, 1.0 kB\n", (await CommandLine.RunAsync("gc", Run)).Output, StringComparison.Ordinal);

        Assert.False(File.Exists(left) || File.Exists(torn));
        Assert.False(StoredRounds.HasShared(Store, "tiny", 0)); // let go by the commit of round 2
        Assert.Equal(0, (await CommandLine.RunAsync("verify", Run)).Code);
        Assert.Equal(0, (await CommandLine.RunAsync("eval", "--run", Run)).Code);
        Assert.Contains("tiny: removed 0 blobs, 0 B\n", (await CommandLine.RunAsync("gc", Run)).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Gc_says_from_which_rounds_a_run_can_be_forked_no_more()
    {
        var plan = _tiny.WritePlan(strategy: "rounds: 5");
        File.AppendAllText(plan, "checkpoints: {keepEvery: 2}\n");
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", plan, "--out", Run)).Code);
        const string Said = "tiny: after this the run can be forked from rounds 0, 2 and 4-5, from round 3 no more; "
            + "checkpoints.keepEvery of the plan keeps every n-th\n";
        Assert.Equal(0, (await ForkAsync(3)).Code);

        Assert.Contains(Said, (await CommandLine.RunAsync("gc", Run, "--dry-run")).Output, StringComparison.Ordinal);
        var json = JsonDocument.Parse((await CommandLine.RunAsync("gc", Run, "--dry-run", "--json")).Output).RootElement;
        Assert.Equal("[0,2,4,5] [3]", $"{json.GetProperty("forkable").GetRawText()} {json.GetProperty("forkableNoMore").GetRawText()}");
        Assert.Contains(Said, (await CommandLine.RunAsync("gc", Run)).Output, StringComparison.Ordinal);
        Assert.DoesNotContain("forked", (await CommandLine.RunAsync("gc", Run)).Output, StringComparison.Ordinal);

        foreach (var (round, code) in new[] { (0, 0), (1, 2), (2, 0), (3, 2), (4, 0), (5, 0) })
            Assert.Equal((round, code), (round, (await ForkAsync(round)).Code));

        Task<CommandResult> ForkAsync(int round) => CommandLine.RunAsync("fork", Run, "--round", $"{round}", "--set", "strategy.rounds=1",
            "--out", Path.Combine(_tiny.Root, Guid.NewGuid().ToString("N")));
    }

    [Fact]
    public async Task Gc_touches_nothing_of_a_run_whose_chain_is_broken()
    {
        await SimulateAsync("{keepLast: 1}");
        var manifest = Path.Combine(Store, StoredRounds.Manifest(Store, "tiny", 1));
        await File.WriteAllTextAsync(manifest,
            (await File.ReadAllTextAsync(manifest)).Replace("\"round\": 1", "\"round\": 2", StringComparison.Ordinal));
        var before = Directory.GetFiles(Store, "*", SearchOption.AllDirectories).Length;

        var refused = await CommandLine.RunAsync("gc", Run);

        Assert.Equal(2, refused.Code);
        Assert.StartsWith(StoredRounds.Manifest(Store, "tiny", 1), Assert.Single(refused.ErrorLines), StringComparison.Ordinal);
        Assert.Equal(before, Directory.GetFiles(Store, "*", SearchOption.AllDirectories).Length);
    }

    [Fact]
    public async Task A_run_whose_notes_were_changed_is_not_resumed()
    {
        await SimulateAsync();
        var state = Path.Combine(Store, Keys.Memory("tiny"));
        var bytes = await File.ReadAllBytesAsync(state);
        bytes[20] ^= 1;
        await File.WriteAllBytesAsync(state, bytes);

        var refused = await CommandLine.RunAsync("resume", Run);

        Assert.Equal(2, refused.Code);
        Assert.Matches($"^{Keys.Memory("tiny")} has digest [0-9a-f]{{64}}, expected [0-9a-f]{{64}}; fedrlora repair removes it, "
            + "and the open round begins again.$", Assert.Single(refused.ErrorLines));
    }

    private async Task SimulateAsync(string? checkpoints = null)
    {
        var plan = _tiny.WritePlan();
        File.AppendAllText(plan, "evaluation: {localOnly: true}\n" + (checkpoints is null ? "" : $"checkpoints: {checkpoints}\n"));
        Assert.Equal(0, (await CommandLine.RunAsync("simulate", plan, "--out", Run)).Code);
    }
}
