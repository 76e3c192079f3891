using FedRLora.Abstractions;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>A silo that was told what may leave its site.</summary>
public sealed class SiteWordTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly SiloPlace _place = new();

    public void Dispose() => _tiny.Dispose();

    private string Store => Path.Combine(_tiny.Root, "cluster");

    private string[] To => _place.To;

    [Fact]
    public async Task A_silo_refuses_plans_that_would_send_more_and_takes_those_that_do_not()
    {
        await using var silo = await StartAsync("--may-send", "job");
        var byTask = Plan("by-task", "{method: fedsa-lora, scopeB: task}");

        var refused = await EndAsync(2, ["submit", byTask, .. To]);

        Assert.Contains("Site north refuses the plan, which would send updates of B (scope task): its administrator lets tensors of scope "
            + "job alone leave the site (--may-send job).", refused, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(Store, Keys.Job("by-task"))));
        foreach (var method in new[] { "lora", "fedsa-lora" })
        {
            await RunningProgram.RunAsync(_tiny.Root, ["submit", Plan(method, method), .. To]);
            await RunningProgram.RunAsync(_tiny.Root, ["watch", method, .. To]);
        }
    }

    [Fact]
    public async Task A_narrower_word_after_a_restart_stops_a_run_and_no_update_of_the_site_is_in_the_store()
    {
        var plan = Plan("run", "lora", rounds: 2000);
        await using (var silo = await StartAsync())
        {
            await RunningProgram.RunAsync(_tiny.Root, ["submit", plan, .. To]);
            await silo.UntilAsync(() => TinyPlan.Committed(_tiny, "run") is { Round: >= 1 }, "round 1");
        } // killed

        var left = Updates();
        await using var restarted = await StartAsync("--may-send", "nothing-but", "A");
        var watched = await EndAsync(1, ["watch", "run", .. To]);

        const string Refusal = "Site north refuses the plan, which would send updates of B (scope job)";
        Assert.Contains(Refusal, watched, StringComparison.Ordinal);
        Assert.Contains(Refusal, await EndAsync(2, ["resume", "run", .. To]), StringComparison.Ordinal);
        Assert.Contains(Refusal, await EndAsync(2, ["extend", "run", "--rounds", "3000", .. To]), StringComparison.Ordinal);
        Assert.Contains(Refusal, await EndAsync(2, ["fork", "run", "--round", "1", "--run", "other", .. To]), StringComparison.Ordinal);
        Assert.Contains(Refusal, await RunningProgram.RunAsync(_tiny.Root, ["runs", .. To]), StringComparison.Ordinal);
        Assert.Subset(left, Updates());
        Assert.False(Directory.Exists(Path.Combine(Store, Keys.Job("other"))));
    }

    private HashSet<string> Updates() =>
    [
        .. Directory.GetFiles(Store, "*.safetensors", SearchOption.AllDirectories)
            .Where(static file => file.Contains("/updates/", StringComparison.Ordinal)),
    ];

    private string Plan(string name, string adapter, int rounds = 1)
    {
        var path = TinyPlan.Write(_tiny, rounds, TinyPlan.Client("only", "one", "north"));
        var text = File.ReadAllText(path).Replace("name: tiny", $"name: {name}", StringComparison.Ordinal)
            .Replace("adapter: {method: r-lora-federated, rank: 4, alpha: 6}", $"adapter: {adapter}", StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(_tiny.Root, $"{name}.yaml"), text);
        return Path.Combine(_tiny.Root, $"{name}.yaml");
    }

    private async Task<RunningProgram> StartAsync(params string[] more)
    {
        var silo = RunningProgram.Start(_tiny.Root, ["silo", "--site", "north", "--store", "cluster", "--site-store", "north",
            "--resend-after", "1", .. _place.Own, .. more]);
        await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "the silo");
        return silo;
    }

    private async Task<string> EndAsync(int code, string[] command)
    {
        await using var program = RunningProgram.Start(_tiny.Root, command);
        var ended = await program.ExitAsync();
        Assert.True(ended == code, $"{command[0]} ended with {ended}:\n{program.Output}");
        return program.Output;
    }
}
