using System.Text.Json;
using FedRLora.Abstractions.Ports;
using Xunit.Abstractions;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>
/// Five seeds on real tasks: plain LoRA beside PEFT, and the method of a plan that names none beside plain LoRA, with the same rate.
/// Minutes, so only with FEDRLORA_SOAK set. <c>make bench-defaults</c> prints the whole table.
/// </summary>
public sealed class DefaultMethodTests(ITestOutputHelper output)
{
    private static readonly int[] Seeds = [1, 2, 3, 4, 5];

    [SharedSoakFact]
    public async Task Plain_lora_reaches_the_loss_of_peft()
    {
        var reference = Reference("trec", 120);
        var own = await LossesAsync(SoloRun.ReferenceLora, "trec", 120, maxRows: null);
        var (mean, error) = (Sample.Of(own), Sample.Of(reference));
        output.WriteLine($"own {mean}, reference {error}");

        // Five seeds scatter as the twenty of the reference do.
        var bound = 3 * error.Error * Math.Sqrt(1 + (double)reference.Count / own.Count);
        Assert.InRange(mean.Mean, error.Mean - bound, error.Mean + bound);
    }

    [SharedSoakTheory]
    [InlineData("trec", 120)]
    [InlineData("sst2", 120)]
    [InlineData("e2e_nlg", 120)]
    [InlineData("trec", 400)]
    public async Task The_default_method_loses_nothing_to_plain_lora(string task, int steps)
    {
        var lora = await LossesAsync(SoloRun.ReferenceLora, task, steps, maxRows: 1000);
        var own = await LossesAsync(SoloRun.ReferenceTraining, task, steps, maxRows: 1000);
        var beyond = Sample.Of([.. own.Zip(lora, static (one, other) => one - other)]);
        output.WriteLine($"{task}, {steps} steps: lora {Sample.Of(lora)}, default {Sample.Of(own)}, difference {beyond}");

        Assert.True(beyond.Mean <= 2 * beyond.Error,
            $"the default method's loss is {beyond.Mean:F4} above plain LoRA's, standard error {beyond.Error:F4}");
    }

    private static async Task<List<double>> LossesAsync(string values, string task, int steps, int? maxRows)
    {
        using var trainer = new LocalTrainer(new LocalTrainerOptions { Root = SharedFolder.Root! });
        var evaluation = maxRows is null ? "{metric: perplexity}" : $"{{metric: perplexity, maxRows: {maxRows}}}";
        var losses = new List<double>();
        foreach (var seed in Seeds)
            losses.Add((await SoloRun.ScoreAsync(trainer, SoloRun.Plan(values, task, steps, seed, evaluation))).Loss);
        return losses;
    }

    private static List<double> Reference(string task, int steps)
    {
        using var document = JsonDocument.Parse(
            File.ReadAllBytes(SharedFolder.Of("models", "stories260k", "reference-training-seeds.json")));
        return [.. document.RootElement.GetProperty("runs").EnumerateArray()
            .Where(run => run.GetProperty("task").GetString() == task && run.GetProperty("steps").GetInt32() == steps)
            .Select(static run => run.GetProperty("loss").GetDouble())];
    }
}
