using FedRLora.Abstractions.Messages;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Runs over bases that are not float32: a GGUF file as it is stored, and a folder in four bits.</summary>
public sealed class StoredRunTests : IDisposable
{
    private static readonly string[] Sites = ["north", "south"];
    private readonly TinyFederation _tiny = new();

    public static TheoryData<string> Bases => ["{path: base.gguf}", "{path: base.gguf, storage: int8}", "{path: model, storage: nf4}"];

    public void Dispose() => _tiny.Dispose();

    [Theory, MemberData(nameof(Bases))]
    public async Task Silos_commit_what_simulate_does_and_what_a_killed_and_resumed_run_does(string model)
    {
        var converted = await CommandLine.RunAsync(
            "convert", Path.Combine(Repository.Root, "samples", "model"), Path.Combine(_tiny.Root, "base.gguf"), "--type", "q8_0");
        Assert.True(converted.Code == 0, converted.Output + converted.Error);
        var plan = Plan(model);
        var place = new SiloPlace();
        await using var hub = Silo("hub", place.Own);
        await hub.UntilAsync(() => hub.Output.Contains("serves", StringComparison.Ordinal), "the hub");
        await using var north = Silo("north", "--join", $"{place.Silo}");
        await using var south = Silo("south", "--join", $"{place.Silo}");
        await hub.UntilAsync(() => (north.Output + south.Output).Split("serves").Length == 3, "the sites");

        await DoneAsync("submit", plan, "--server", place.Url);
        await DoneAsync("simulate", plan, "--out", Out("alone"));
        await using (var program = RunningProgram.Start(_tiny.Root, "simulate", plan, "--out", Out("killed")))
        {
            await program.UntilAsync(() => Committed(Out("killed")) is { Round: >= 1 }, "a committed round");
            program.Kill();
            await program.ExitAsync();
        }

        await DoneAsync("resume", Out("killed"));
        await DoneAsync("watch", "stored", "--server", place.Url);

        Assert.Equal(Committed(Out("alone"))!.ManifestSha256, Committed(Out("killed"))!.ManifestSha256);
        Assert.Equal(Committed(Out("alone"))!.ManifestSha256, TinyPlan.Committed(_tiny, "stored")!.ManifestSha256);

        RunningProgram Silo(string site, params string[] more) => RunningProgram.Start(
            _tiny.Root, ["silo", "--site", site, "--store", "cluster", "--site-store", $"at-{site}", .. more]);
    }

    private static async Task DoneAsync(params string[] args)
    {
        var ran = await CommandLine.RunAsync(args);
        Assert.True(ran.Code == 0, args[0] + ran.Output + ran.Error);
    }

    private static CurrentRound? Committed(string folder)
    {
        foreach (var file in Directory.Exists(folder) ? Directory.GetFiles(folder, "current.json", SearchOption.AllDirectories) : [])
            return CurrentRound.Parse(File.ReadAllBytes(file), file);
        return null;
    }

    private string Plan(string model)
    {
        var plan = TinyPlan.Write(
            _tiny, 3, string.Join('\n', Sites.Select(static site => TinyPlan.Client($"{site}-0", "one", site))),
            adapter: "{method: lora, rank: 4, alpha: 6}", name: "stored");
        var text = File.ReadAllText(plan);
        Assert.Contains("\nmodel: model\n", text, StringComparison.Ordinal);
        File.WriteAllText(plan, text.Replace("\nmodel: model\n", $"\nmodel: {model}\n", StringComparison.Ordinal));
        return plan;
    }

    private string Out(string name) => Path.Combine(_tiny.Root, $"run-{name}");
}
