using System.Globalization;
using FedRLora.Training.Models;

namespace FedRLora.Benchmarks.Training;

/// <summary>What a client's step costs in groups of several sizes: where a pass has enough rows, another member gains nothing.</summary>
internal static class GroupSizes
{
    private static readonly int[] Sizes = [1, 2, 4, 8];
    private static readonly (int Rows, int Tokens)[] Shapes = [(1, 32), (1, 64), (1, 128), (4, 64), (4, 128)];
    private static readonly (int Rows, int Tokens)[] ShapesOfFewLabels = [(1, 32), (4, 64)];

    public static void Run(Settings settings)
    {
        var contest = new Contest(settings.Device, settings.Runs);
        Console.WriteLine($"processor ms of one client's step in a group of {string.Join(", ", Sizes)}, "
            + "and the lowest and highest ratio to a group of one");
        var ratios = Sizes.Skip(1).Select(static size => $"{size} / 1");
        Console.WriteLine(
            $"| model width, layers, vocabulary | client | labelled | {string.Join(" | ", Sizes)} | {string.Join(" | ", ratios)} |");
        Console.WriteLine($"| --- | --- | --- |{string.Concat(Enumerable.Repeat(" ---: |", Sizes.Length * 2 - 1))}");
        foreach (var config in (ModelConfig[])[BenchmarkModel.Config, BenchmarkModel.Small])
        {
            using var model = BenchmarkModel.Create(config, settings.Device);
            var few = ShapesOfFewLabels.Select(static shape => (shape.Rows, shape.Tokens, 0.25));
            foreach (var (rows, tokens, share) in Shapes.Select(static shape => (shape.Rows, shape.Tokens, 1.0)).Concat(few))
            {
                var groups = Sizes.Select(
                    size => (Size: size, Step: new OurStep(model, TrainingBenchmark.Adapter, TrainingBenchmark.Training, size))).ToList();
                var taken = contest.Measure([.. groups.Select(group =>
                {
                    var batches = Batches.Even(group.Size, rows, tokens, share, config.VocabularySize);
                    return (Name(group.Size), (Action)(() => group.Step.Step(batches)));
                })]);
                foreach (var (_, step) in groups) step.Dispose();

                double[] Each(int size) => [.. taken[Name(size)].ProcessorSeconds.Select(seconds => seconds * 1e3 / size)];
                string Ratio(int size)
                {
                    double[] each = [.. Each(size).Zip(Each(1), static (own, alone) => own / alone).Order()];
                    return string.Create(CultureInfo.InvariantCulture, $"{each[0]:F2} to {each[^1]:F2}");
                }

                var milliseconds = Sizes.Select(size => Pairs.Median(Each(size)).ToString("F2", CultureInfo.InvariantCulture));
                string[] cells = [$"{config.HiddenSize}, {config.Layers}, {config.VocabularySize}", $"{rows} x {tokens}",
                    $"{share * 100:0} %"];
                Console.WriteLine($"| {string.Join(" | ", cells.Concat(milliseconds).Concat(Sizes.Skip(1).Select(Ratio)))} |");
            }
        }
    }

    private static string Name(int size) => size.ToString(CultureInfo.InvariantCulture);
}
