using System.Diagnostics;
using System.Globalization;
using FedRLora.Client;
using FedRLora.Training.Tests;

namespace FedRLora.Benchmarks.Scopes;

/// <summary>
/// Which scope suits the heads: whole federations whose arms differ in who owns B, with the same rows, seeds and steps. Scores are
/// those of the last round. A difference is taken client by client within a seed and then averaged over the clients, which gives one
/// number for each seed; its standard error is that of these numbers. Clients of a run are no replications of each other: those of a
/// task are scored on the same test rows, and what is shared among them is one adapter.
/// </summary>
internal static class ScopesTable
{
    private static readonly (ScopeArm One, ScopeArm Other)[] Differences =
    [
        (ScopeArm.ByTask, ScopeArm.Local), (ScopeArm.ByTask, ScopeArm.ByClient), (ScopeArm.ByTask, ScopeArm.All),
        (ScopeArm.Local, ScopeArm.ByClient), (ScopeArm.Local, ScopeArm.All), (ScopeArm.All, ScopeArm.ByClient),
    ];

    /// <param name="args">
    /// The folder with <c>models/stories260k</c> and <c>data</c>; then for a part of the tables <c>--cases a,b</c>, <c>--arms a,b</c>,
    /// <c>--seeds 1,2</c>, and for another budget <c>--steps N</c> of a round and <c>--moments keepHeads</c>.
    /// </param>
    public static async Task RunAsync(string[] args)
    {
        var shared = args.FirstOrDefault() is { } first && !first.StartsWith('-') ? Path.GetFullPath(first) : "";
        var cases = Cases(Path.Combine(CommandLine.Root(), "samples"), shared).ToDictionary(static one => one.Name);
        var arms = CommandLine.Chosen(args, "--arms", [.. ScopeArm.Every.Select(static arm => arm.Name)])
            .Select(static name => ScopeArm.Every.First(arm => arm.Name == name)).ToArray();
        var seeds = (CommandLine.Option(args, "--seeds") ?? "1,2,3").Split(',')
            .Select(static seed => ulong.Parse(seed, CultureInfo.InvariantCulture)).ToArray();
        foreach (var name in CommandLine.Chosen(args, "--cases", [.. cases.Keys]))
        {
            var one = cases[name];
            one = one with { Moments = CommandLine.Option(args, "--moments") ?? one.Moments };
            if (CommandLine.Option(args, "--steps") is { } steps)
                one = one with { Steps = int.Parse(steps, CultureInfo.InvariantCulture) };
            if (!Directory.Exists(one.Model) || !Directory.Exists(one.Data))
            {
                Console.WriteLine($"{name}: skipped, the folder given first has no models/stories260k and data\n");
                continue;
            }

            var clock = Stopwatch.StartNew();
            Print(one, arms, seeds, await MeasureAsync(one, arms, seeds));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"<!-- {arms.Length * seeds.Length} runs in {clock.Elapsed.TotalSeconds:F0} s -->\n"));
        }
    }

    private static ScopeCase[] Cases(string samples, string shared)
    {
        string[] tasks = ["opinion", "topic", "claim", "time"];
        var (model, data) = (Path.Combine(samples, "model"), Path.Combine(samples, "tasks"));
        return
        [
            Sample("mixed", "Four tasks, two clients of each", tasks, 2),
            Sample("one-task", "One task, four clients", ["topic"], 4),
            Sample("four-tasks", "Four tasks, one client of each", tasks, 1),
            new("public", "Four public tasks, two clients of each", Path.Combine(shared, "models", "stories260k"),
                Path.Combine(shared, "data"), ["trec", "ag_news", "sst2", "cola"], 2) { Steps = 40 },
        ];

        ScopeCase Sample(string name, string title, string[] own, int clients) =>
            new(name, title, model, data, own, clients) { Steps = 5 };
    }

    private static async Task<List<ScopeScore>> MeasureAsync(ScopeCase one, ScopeArm[] arms, ulong[] seeds)
    {
        var scores = new List<ScopeScore>();
        foreach (var seed in seeds)
        {
            var folder = Directory.CreateTempSubdirectory("fedrlora-bench-").FullName;
            try
            {
                var clients = one.WriteClients(folder, seed);
                foreach (var arm in arms)
                {
                    var run = await Simulation.RunAsync(one.Plan(arm, seed, clients));
                    if (run.Code != ExitCode.Done)
                        throw new InvalidOperationException($"{one.Name}, {arm.Name}, seed {seed} ended with {run.Code}: {run.Error}");
                    var own = ScopeScore.Of(arm, seed, run.Lines).ToList();
                    if (own.Count != one.Tasks.Length * one.ClientsOfTask)
                        throw new InvalidOperationException($"{one.Name}, {arm.Name}, seed {seed}: {own.Count} clients have a score");
                    scores.AddRange(own);
                    Console.Error.WriteLine($"{one.Name} seed {seed} {arm.Name}: {string.Join(", ", own)}");
                }
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        }

        return scores;
    }

    private static void Print(ScopeCase one, ScopeArm[] arms, ulong[] seeds, List<ScopeScore> scores)
    {
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"### {one.Title}: {ScopeCase.Rounds} rounds of {one.Steps} steps, moments {one.Moments}, seeds {string.Join(", ", seeds)}"));
        (string Name, int Digits, Func<ScopeScore, double> Value)[] measures =
            [("accuracy", 3, static score => score.Accuracy), ("loss", 4, static score => score.Loss)];
        var differences = Differences.Where(pair => arms.Contains(pair.One) && arms.Contains(pair.Other)).ToArray();
        string[] tasks = one.Tasks.Length == 1 ? one.Tasks : [.. one.Tasks, "mean"];
        foreach (var (name, digits, value) in measures)
        {
            Head([name, .. Frame("majority", "base"), .. arms.Select(static arm => arm.Name)]);
            foreach (var task in tasks)
            {
                var own = Of(task);
                Row([task,
                    .. Frame(Text(own.Average(static score => score.Majority)), Text(own.Average(static score => score.Base))),
                    .. arms.Select(arm => Text(own.Where(score => score.Arm == arm).Average(value)))]);
            }

            if (differences.Length > 0)
            {
                Head([$"{name}: one minus other", .. differences.Select(static pair => $"{pair.One.Name} - {pair.Other.Name}")]);
                foreach (var task in tasks)
                    Row([task, .. differences.Select(pair => WithError(ScopeScore.Differences(Of(task), pair.One, pair.Other, value)))]);
            }

            string[] Frame(params string[] cells) => name == "accuracy" ? cells : [];

            string Text(double number) => number.ToString($"F{digits}", CultureInfo.InvariantCulture);

            string WithError(double[] bySeed) => bySeed.Length == 1
                ? Text(bySeed[0]) : $"{Text(Sample.Of(bySeed).Mean)} ± {Text(Sample.Of(bySeed).Error)}";
        }

        Console.WriteLine();

        List<ScopeScore> Of(string task) => [.. scores.Where(score => task == "mean" || score.Task == task)];

        static void Head(string[] cells)
        {
            Console.WriteLine();
            Row(cells);
            Console.WriteLine($"| --- |{string.Concat(cells.Skip(1).Select(static _ => " ---: |"))}");
        }

        static void Row(IEnumerable<string> cells) => Console.WriteLine($"| {string.Join(" | ", cells)} |");
    }
}
