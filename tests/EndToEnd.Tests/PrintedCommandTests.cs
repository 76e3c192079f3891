using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.EndToEnd.Tests.Pages;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>A command that the program prints runs as it is printed, in the shell from which the program was started.</summary>
public sealed class PrintedCommandTests : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly TinyFederation _tiny = new();

    public void Dispose()
    {
        _tiny.Dispose();
        _scratch.Dispose();
    }

    [Fact]
    public async Task The_way_on_with_a_run_folder_runs_as_printed_whatever_its_name()
    {
        var plan = Federation.TinyPlan.Write(_tiny, 2, Federation.TinyPlan.Client("only", "one"));
        var simulate = $"./fedrlora simulate {plan} --out \"it's a run\"";
        Assert.Equal(0, (await Terminal.RunAsync(_scratch.Folder, simulate)).Code);

        var (code, refusal) = await Terminal.RunAsync(_scratch.Folder, simulate);
        var resumed = await Terminal.RunAsync(_scratch.Folder, Printed(refusal, "continue the run in it with: "));

        Assert.Equal(2, code);
        Assert.True(resumed.Code == 0, resumed.Output);
        Assert.Contains("digest: ", resumed.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_follows_a_call_to_silos_names_the_same_silos()
    {
        var plan = Federation.TinyPlan.Write(_tiny, 5000, Federation.TinyPlan.Client("only", "one"));
        var place = new SiloPlace();
        var options = place.Options;
        await using var silo = RunningProgram.Start(
            _tiny.Root, ["silo", "--site", "local", "--store", "cluster", .. place.Own]);
        await silo.UntilAsync(() => silo.Output.Contains(" serves ", StringComparison.Ordinal), "the silo");

        var submitted = await Terminal.RunAsync(_scratch.Folder, $"./fedrlora submit {plan} {options}");
        var paused = await Terminal.RunAsync(_scratch.Folder, $"./fedrlora pause tiny {options}");
        var resumed = await Terminal.RunAsync(_scratch.Folder, Printed(paused.Output, "continue it with: "));
        var cancelled = await Terminal.RunAsync(_scratch.Folder, $"./fedrlora cancel tiny {options}");
        var watched = await Terminal.RunAsync(_scratch.Folder, Printed(submitted.Output, "follow it with: "));

        Assert.Equal((0, 0, 0, 0), (submitted.Code, paused.Code, resumed.Code, cancelled.Code));
        Assert.Equal(Printed(submitted.Output, "follow it with: "), Printed(resumed.Output, "follow it with: "));
        Assert.Contains("was cancelled", watched.Output, StringComparison.Ordinal);
    }

    private static string Printed(string output, string before) =>
        Assert.Single(output.Split('\n'), line => line.Contains(before, StringComparison.Ordinal)).Split(before)[1].Trim();
}
