using System.Globalization;
using FedRLora.Abstractions.Ports;
using FedRLora.Training;
using FedRLora.Training.Tests;

namespace FedRLora.Benchmarks;

/// <summary>
/// What one client reaches on public tasks with a small pretrained model: the method of a plan that names none beside plain LoRA. Arms
/// with one seed train on the same batches, so the difference is taken seed by seed.
/// </summary>
internal static class Defaults
{
    private static readonly (string Name, string Values)[] Usual =
    [
        ("lora", SoloRun.ReferenceLora),
        ("default", SoloRun.ReferenceTraining),
    ];

    /// <param name="args">
    /// The folder with <c>models/stories260k</c> and <c>data</c>; then for a part of the table <c>--tasks a,b</c>, <c>--steps 120,400</c>,
    /// <c>--seeds 1,2</c>, <c>--rows N</c> (test rows) and <c>--metric perplexity</c> (the loss alone). <c>--arm "name: values"</c>, once
    /// for each, compares other sections <c>adapter</c> and <c>training</c>; the first is what the others are held against.
    /// </param>
    public static async Task RunAsync(string[] args)
    {
        if (args.FirstOrDefault() is not { } root || !Directory.Exists(Path.Combine(root, "models", "stories260k")))
        {
            Console.WriteLine("defaults: skipped, the folder given first has no models/stories260k");
            return;
        }

        var given = args.Index().Where(item => item.Item == "--arm" && item.Index + 1 < args.Length)
            .Select(item => args[item.Index + 1].Split(':', 2)).ToArray();
        (string Name, string Values)[] arms = given.Length == 0 ? Usual : [.. given.Select(static arm => (arm[0], arm[1].Trim()))];
        var evaluation = $"{{metric: {Option(args, "--metric", "auto")}, maxRows: {Option(args, "--rows", "1000")}}}";
        using var trainer = new LocalTrainer(new() { Root = root });
        Console.WriteLine(
            "| task | steps | values | loss | accuracy | loss minus the first's |\n| --- | ---: | --- | ---: | ---: | ---: |");
        foreach (var task in Option(args, "--tasks", "trec,sst2,e2e_nlg").Split(','))
        {
            foreach (var steps in Numbers(args, "--steps", "120,400"))
            {
                var results = arms.Select(static _ => new List<EvaluationResult>()).ToArray();
                foreach (var seed in Numbers(args, "--seeds", "1,2,3,4,5"))
                {
                    foreach (var (arm, own) in arms.Zip(results))
                    {
                        own.Add(await SoloRun.ScoreAsync(trainer, SoloRun.Plan(arm.Values, task, steps, seed, evaluation)));
                        Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
                            $"{task} {steps} seed {seed} {arm.Name}: loss {own[^1].Loss:F4}, {own[^1].Metric} {own[^1].Score:F3}"));
                    }
                }

                foreach (var (arm, own) in arms.Zip(results))
                    Console.WriteLine($"| {task} | {steps} | {arm.Name} | {Cells(own, results[0])} |");
            }
        }
    }

    private static string Cells(List<EvaluationResult> own, List<EvaluationResult> first)
    {
        var accuracy = own[0].Metric == "accuracy" ? Text(own.Select(static result => result.Score), 3) : "-";
        var difference = own == first ? "" : Text(own.Zip(first, static (one, other) => one.Loss - other.Loss), 4);
        return $"{Text(own.Select(static result => result.Loss), 4)} | {accuracy} | {difference}";
    }

    private static string Text(IEnumerable<double> values, int digits)
    {
        var sample = Sample.Of([.. values]);
        return $"{sample.Mean.ToString($"F{digits}", CultureInfo.InvariantCulture)} ± "
            + $"{sample.Error.ToString($"F{digits}", CultureInfo.InvariantCulture)}";
    }

    private static int[] Numbers(string[] args, string option, string all) =>
        [.. Option(args, option, all).Split(',').Select(static number => int.Parse(number, CultureInfo.InvariantCulture))];

    private static string Option(string[] args, string option, string otherwise) =>
        CommandLine.Option(args, option) ?? otherwise;
}
