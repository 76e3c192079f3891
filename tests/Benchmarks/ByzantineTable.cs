using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Client;
using FedRLora.Federation.Faults;

namespace FedRLora.Benchmarks;

/// <summary>
/// The demo under every attack by every rule of aggregation: two of its eight clients are hostile in every round. A cell is the mean
/// final score of the six honest clients, whose own data and heads are never touched, and the updates that were refused. Quorums are a
/// half, or what the rule needs at the least; a round is tried once.
/// </summary>
internal static class ByzantineTable
{
    private const int Clients = 8;
    private const int HostileClients = 2;
    private static readonly string[] Attacks = ["none", "nan", "huge", "zero", "signFlip", "wrongShape"];

    /// <param name="args"><c>--attacks a,b</c>, <c>--reducers x,y</c> and <c>--rounds N</c> for a part of it.</param>
    public static async Task RunAsync(string[] args)
    {
        var attacks = CommandLine.Chosen(args, "--attacks", Attacks);
        var reducers = CommandLine.Chosen(args, "--reducers", [.. StrategyNames.Aggregations.Keys]);
        var rounds = CommandLine.Option(args, "--rounds") is { } text ? int.Parse(text, CultureInfo.InvariantCulture) : 8;
        var samples = Path.Combine(CommandLine.Root(), "samples");
        Console.WriteLine($"| attack | {string.Join(" | ", reducers)} |\n| --- |{string.Concat(reducers.Select(static _ => " ---: |"))}");
        var clock = Stopwatch.StartNew();
        foreach (var attack in attacks)
        {
            Console.Write($"| {attack} |");
            foreach (var reducer in reducers) Console.Write($" {await CellAsync(samples, attack, reducer, rounds)} |");
            Console.WriteLine();
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"<!-- {rounds} rounds, {attacks.Length * reducers.Length} runs in {clock.Elapsed.TotalSeconds:F0} s -->"));
    }

    private static async Task<string> CellAsync(string samples, string attack, string reducer, int rounds)
    {
        var run = await Simulation.RunAsync(Plan(samples, attack, reducer, rounds));
        return run.Code switch
        {
            ExitCode.Done => Cell(Hostile(samples, rounds), run.Lines),
            ExitCode.Failed when run.Error.Contains("usable of", StringComparison.Ordinal) => "stopped",
            _ => throw new InvalidOperationException($"{attack} against {reducer} ended with {run.Code}: {run.Error}"),
        };
    }

    private static string Cell(HashSet<string> hostile, IReadOnlyList<JsonElement> lines)
    {
        var refused = lines.Where(static line => line.TryGetProperty("round", out _))
            .SelectMany(static line => line.GetProperty("clients").EnumerateArray())
            .Count(static client => client.GetProperty("outcome").GetString() == "failed");
        var score = lines[^1].GetProperty("final").EnumerateArray()
            .Where(client => !hostile.Contains(client.GetProperty("client").GetString()!))
            .Average(static client => client.GetProperty("federated").GetDouble());
        return string.Create(CultureInfo.InvariantCulture, $"{score:F3}{(refused > 0 ? $" ({refused} refused)" : "")}");
    }

    // Drawn from the plan's seed and the clients' ids alone, so the same for every attack and rule.
    private static HashSet<string> Hostile(string samples, int rounds)
    {
        var plan = PlanReader.Require(Plan(samples, "zero", "mean", rounds), "plan.yaml");
        var schedule = new FaultSchedule(plan);
        return plan.Clients.Select(static client => client.Id).Where(client => schedule.Of(client, 1).Any())
            .ToHashSet(StringComparer.Ordinal);
    }

    private static string Plan(string samples, string attack, string reducer, int rounds)
    {
        var terms = StrategyNames.Aggregations[reducer];
        var spec = new AggregationSpec
        {
            Rule = reducer,
            Byzantine = terms.Parameters.Contains("byzantine") ? HostileClients : null,
            Trim = terms.Parameters.Contains("trim") ? HostileClients / (double)Clients : null,
        };
        var aggregation = terms.Values(spec) is { Length: > 0 } values ? $"{{rule: {reducer}, {values}}}" : reducer;
        var quorum = Math.Max(0.5, spec.Fewest / (double)Clients);
        var yaml = File.ReadAllText(Path.Combine(samples, "demo.yaml"));
        Replace("model: model", $"model: {samples}/model");
        Replace("rounds: 8", string.Create(CultureInfo.InvariantCulture,
            $"rounds: {rounds}\n  aggregation: {aggregation}\n  quorum: {quorum}\n  maxAttempts: 1"));
        Replace("everyRounds: 4", "everyRounds: 100000");
        Replace("localOnly: true", "localOnly: false");
        return yaml.Replace("tasks/", $"{samples}/tasks/", StringComparison.Ordinal) + "checkpoints: {export: false}\n"
            + (attack == "none" ? "" : $"faults: [{{kind: {attack}, share: 0.3}}]\n");

        void Replace(string what, string by)
        {
            if (yaml.Split(what).Length != 2) throw new InvalidOperationException($"samples/demo.yaml no longer has one line with {what}");
            yaml = yaml.Replace(what, by, StringComparison.Ordinal);
        }
    }
}
