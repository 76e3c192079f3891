using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Report;
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

    [Fact]
    public async Task A_task_of_two_clients_has_errors_that_its_rows_together_do_not_exceed()
    {
        var samples = Path.Combine(Repository.Root, "samples");
        _tiny.Write("tasks.yaml",
        [
            "name: tasks", "seed: 3", $"model: {samples}/model", "adapter: {method: r-lora-federated, rank: 4}",
            "training: {steps: 6, batchSize: 4, maxTokens: 96, threads: 1}", "strategy: {rounds: 1}",
            "evaluation: {localOnly: true, maxRows: 60}", "clients:",
            Client("few", "opinion", 16), Client("many", "opinion", 200), Client("topic", "topic", 50),
        ]);

        var result = await CommandLine.RunAsync("simulate", Folder("tasks.yaml"), "--json", "--out", Folder("run"));

        var final = Line(result);
        var tasks = final.GetProperty("tasks").EnumerateArray().ToList();
        Assert.Equal(["opinion", "topic"], tasks.Select(static task => task.GetProperty("task").GetString()));
        var (run, alone) = (await BitsAsync("tasks"), await BitsAsync("tasks.local-only"));
        double[] score = [.. run["few"].Zip(run["many"], static (few, many) => (few + many) / 2)];
        double[] difference = [.. score.Select((value, row) => value - (alone["few"][row] + alone["many"][row]) / 2)];
        Assert.Equal(score.Average(), Value(tasks[0], "federated"), 9);
        Assert.Equal(difference.Average(), Value(tasks[0], "localOnlyDifference"), 9);
        Assert.Equal(Value(tasks[0], "federated") - Value(tasks[0], "base"), Value(tasks[0], "baseDifference"), 9);
        Assert.InRange(Value(tasks[0], "standardError"), Error(score) - 1e-12, Math.Sqrt(2) * Error(score));
        Assert.InRange(Value(tasks[0], "localOnlyError"), Error(difference) - 1e-12, Math.Sqrt(2) * Error(difference) + 1e-12);
        Assert.True(Value(tasks[0], "baseError") > 0);
        Assert.Equal(Error(run["topic"]), Value(tasks[1], "standardError"), 9); // of one client it is the client's

        Assert.Contains("\n1,opinion,2,2,2,accuracy,", await File.ReadAllTextAsync(Path.Combine(Folder("run"), "metrics-by-task.csv")),
            StringComparison.Ordinal);
        Assert.Contains("By task (accuracy)", await File.ReadAllTextAsync(Path.Combine(Folder("run"), "report.html")),
            StringComparison.Ordinal);

        string Client(string id, string task, int rows) => $"  - {{id: {id}, task: {task}, data: "
            + $"{{train: {samples}/tasks/{task}/train.jsonl, test: {samples}/tasks/{task}/test.jsonl, rows: {rows}}}}}";

        static double Value(JsonElement task, string name) => task.GetProperty(name).GetDouble();

        static double Error(double[] rows) => Math.Sqrt(
            rows.Sum(value => Math.Pow(value - rows.Average(), 2)) / (rows.Length - 1) / rows.Length);

        async Task<Dictionary<string, double[]>> BitsAsync(string job)
        {
            var bits = new Dictionary<string, double[]>();
            foreach (var client in new[] { "few", "many", "topic" })
            {
                var file = Path.Combine(Folder("run"), "store", Keys.RowScores(job, "local", client));
                var right = JsonDocument.Parse(await File.ReadAllTextAsync(file)).RootElement.GetProperty("Right").GetString()!;
                bits.Add(client, [.. right.Select(static bit => (double)(bit - '0'))]);
            }

            return bits;
        }
    }

    private string Folder(string name) => Path.Combine(_tiny.Root, name);

    private static JsonElement Final(CommandResult result) => Line(result).GetProperty("final");

    private static JsonElement Line(CommandResult result) => JsonDocument.Parse(
        result.Output.Split('\n').Single(static line => line.Contains("\"final\":", StringComparison.Ordinal))).RootElement;
}
