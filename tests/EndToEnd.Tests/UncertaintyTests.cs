using System.Text.Json;
using FedRLora.Client.Report;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>What a run ends with says how sure it is, against which reference, and where it began.</summary>
public sealed class UncertaintyTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task The_final_table_has_errors_of_scores_and_paired_errors_of_differences()
    {
        var plan = _tiny.WritePlan();
        File.AppendAllText(plan, "evaluation: {localOnly: true, metric: perplexity}\n");

        var final = Final(await CommandLine.RunAsync("simulate", plan, "--json", "--out", Folder("run")));

        Assert.All(final.EnumerateArray(), static row =>
        {
            var (own, paired) = (row.GetProperty("standardError").GetDouble(), row.GetProperty("differenceError").GetDouble());
            Assert.InRange(own, 1e-9, 1e9);
            Assert.InRange(paired, 1e-9, own); // the same rows are hard for both
            Assert.Equal(5, row.GetProperty("rows").GetInt32());
            Assert.Equal(row.GetProperty("federated").GetDouble() - row.GetProperty("localOnly").GetDouble(),
                row.GetProperty("difference").GetDouble(), 9);
        });
        Assert.NotEmpty(Directory.GetFiles(Folder("run"), "row-scores.json", SearchOption.AllDirectories));
        Assert.Empty(Directory.GetFiles(Path.Combine(Folder("run"), "store", "jobs"), "row-scores.json", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task A_fork_is_held_against_the_frozen_base_and_names_where_it_began()
    {
        var run = Folder("run");
        var before = Final(await CommandLine.RunAsync("simulate", _tiny.WritePlan(strategy: "rounds: 3"), "--json", "--out", run));

        var fork = await CommandLine.RunAsync("fork", run, "--round", "2", "--set", "strategy.rounds=1", "--out", Folder("fork"));

        Assert.Contains($"forked from: {run}, round 2; base is the frozen base", fork.Output, StringComparison.Ordinal);
        Assert.Contains($"<dd>{Markup.Escape(run)}, round 2</dd>", await File.ReadAllTextAsync(Path.Combine(Folder("fork"), "report.html")),
            StringComparison.Ordinal);
        var rounds = await File.ReadAllLinesAsync(Path.Combine(Folder("fork"), "metrics.jsonl"));
        foreach (var (row, client) in before.EnumerateArray()
            .Zip(JsonDocument.Parse(rounds[0]).RootElement.GetProperty("clients").EnumerateArray()))
        {
            Assert.Equal("scored", client.GetProperty("outcome").GetString());
            Assert.Equal(row.GetProperty("base").GetDouble(), client.GetProperty("base").GetProperty("reference").GetDouble());
        }
    }

    [Fact]
    public async Task A_run_that_shares_nothing_says_so()
    {
        var plan = _tiny.WritePlan();
        File.AppendAllText(plan, "sharing: none\n");

        var result = await CommandLine.RunAsync("simulate", plan, "--out", Folder("run"));

        Assert.Contains("unshared", result.Output, StringComparison.Ordinal);
    }

    private string Folder(string name) => Path.Combine(_tiny.Root, name);

    private static JsonElement Final(CommandResult result) => JsonDocument.Parse(
        result.Output.Split('\n').Single(static line => line.StartsWith("{\"final\"", StringComparison.Ordinal))).RootElement
        .GetProperty("final");
}
